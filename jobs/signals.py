"""What jobs tell the apps above them."""

from django.dispatch import Signal

# Sent with `job` after a job has ended and its side effects are done. Sent at least once; receivers must be idempotent.
job_settled = Signal()
