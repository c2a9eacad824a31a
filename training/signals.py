"""What training tells the apps above it."""

from django.dispatch import Signal

# sender=ModelVersion, version=<ModelVersion>. Sent after the commit that made it, at least once.
model_version_created = Signal()
# sender=Model, model=<Model>. Sent after a champion was confirmed or rolled back, or a publication changed.
model_changed = Signal()
