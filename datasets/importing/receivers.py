"""What importers hear of other rooms."""

from typing import Any

from datasets.importing.models import ImporterRun
from jobs.models import Job


def on_job_settled(sender: Any, job: Job, **_more: Any) -> None:
    """The end of an upload's import, or of an arrival's sorting out, may be the end of its importer's run."""
    if job.task == "datasets.tasks.import_upload":
        of = {"deliveries__upload": job.payload.get("upload")}
    elif job.task == "datasets.arrivals.tasks.sort_out":
        of = {"deliveries__arrival": job.payload.get("arrival")}
    else:
        return
    runs = ImporterRun.objects.filter(**of).values_list("pk", flat=True)
    if found := list(runs.distinct()):
        from datasets.importing.tasks import conclude  # its module imports what reads files

        for pk in found:
            conclude(pk)
