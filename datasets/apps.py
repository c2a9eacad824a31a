"""The app's registration with Django."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DatasetsConfig(AppConfig):
    name = "datasets"
    verbose_name = _("Datasets")

    def ready(self) -> None:
        from datasets import erasure
        from datasets.arrivals import preparing
        from datasets.arrivals.erasing import Arrived
        from datasets.dicom.erasing import PatientKeys
        from datasets.importing import receivers
        from datasets.importing.erased import FromImporters
        from datasets.joining.erasing import JoinedInstances
        from datasets.receiving.erasing import ReceivedInstances
        from jobs.signals import job_settled

        erasure.register(PatientKeys())
        erasure.register(Arrived())
        erasure.register(ReceivedInstances())
        erasure.register(JoinedInstances())
        erasure.register(FromImporters())
        job_settled.connect(receivers.on_job_settled, dispatch_uid="datasets.importing")
        preparing.register("dicom", "datasets.dicom.services.prepare")
