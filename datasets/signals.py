"""What the apps above hear from datasets."""

from django.dispatch import Signal

# Sent after the commit that added records: sender=Dataset, dataset=<Dataset>, count=<int, above 0>.
records_added = Signal()

# Sent after the commit of an erasure: sender=Dataset, dataset=<Dataset>, count=<int records removed>.
patient_erased = Signal()
