"""The app's registration with Django, and with the apps below."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = _("Training")

    def ready(self) -> None:
        from accounts.signals import preferences_changed
        from datasets import erasure, panels
        from training import receivers
        from training.erasure import VersionsTouch
        from training.signals import model_changed, model_version_created

        erasure.register(VersionsTouch())
        panels.register("training.panels.dataset_panel")
        preferences_changed.connect(receivers.on_preferences_changed, dispatch_uid="training.preferences")
        model_version_created.connect(receivers.on_version_created, dispatch_uid="training.version")
        model_changed.connect(receivers.on_model_changed, dispatch_uid="training.model")
