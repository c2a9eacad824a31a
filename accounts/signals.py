"""What this app tells the apps above it."""

from django.dispatch import Signal

# sender=Preference, organisation=Organisation, user=User; sent after commit, receivers' errors are logged.
preferences_changed = Signal()
