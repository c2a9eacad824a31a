"""What importers hear of other rooms."""

from typing import Any

from datasets.importing.models import ImporterRun
from jobs.models import Job


def on_job_settled(sender: Any, job: Job, **_more: Any) -> None:
    """The end of an upload's import may be the end of its importer's run."""
    if job.task != "datasets.tasks.import_upload":
        return
    runs = ImporterRun.objects.filter(deliveries__upload=job.payload.get("upload")).values_list("pk", flat=True)
    if found := list(runs.distinct()):
        from datasets.importing.tasks import conclude  # its module imports what reads files

        for pk in found:
            conclude(pk)
