"""The app's registration with Django."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InferenceConfig(AppConfig):
    name = "inference"
    verbose_name = _("Inference")

    def ready(self) -> None:
        from datasets import erasure
        from inference.erasure import DiagnosesTouch, OtherDiagnosesTouch

        erasure.register(DiagnosesTouch())
        erasure.register(OtherDiagnosesTouch())
