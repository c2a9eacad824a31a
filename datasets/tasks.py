"""The background work of this app: importing an upload, and what follows its end."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets.cells.store import forget_unused
from datasets.importers.after import without_rows
from datasets.importers.run import Import, remove_rows
from datasets.models import Dataset, Upload
from datasets.readers.base import ReadError
from datasets.signals import records_added
from jobs.handlers import JobContext, JobError, handler
from jobs.models import Job
from jobs.models import State as JobState


def counts(upload: Upload) -> dict[str, Any]:
    """What became of the rows: the job's result."""
    return {
        "upload": str(upload.pk),
        "dataset": str(upload.dataset_id),
        "read": upload.rows_read,
        "added": upload.rows_added,
        "duplicate": upload.rows_duplicate,
        "refused": upload.rows_refused,
    }


@handler(settle="datasets.tasks.settle_import")
def import_upload(context: JobContext) -> dict[str, Any]:
    """Import the confirmed upload `payload["upload"]`. A killed attempt resumes after its last whole batch."""
    upload = (
        Upload.objects.for_organisation(context.job.organisation)
        .select_related("dataset", "file", "organisation")
        .filter(pk=context.payload["upload"])
        .first()
    )
    if upload is None or upload.dataset is None:
        raise JobError(_("The upload or its data set no longer exists."))
    if upload.state == Upload.State.IMPORTED:
        return counts(upload)  # a killed attempt had finished but not said so
    try:
        Import(context, upload).run()
    except ReadError as error:
        raise JobError(str(error), engineer=f"{error.code}: {error}") from error
    return counts(upload)


def settle_import(job: Job) -> None:
    """After the end: announce what came in; or take out again what a failed or cancelled import had brought in."""
    upload = (
        Upload.objects.filter(pk=job.payload.get("upload"), job=job)
        .select_related("dataset", "organisation")
        .first()
    )
    if upload is None:  # gone, or retried by another job
        return
    if job.state == JobState.DONE:
        _announce(upload, job)
    elif upload.state == Upload.State.IMPORTING:
        while remove_rows(upload):
            pass
        _end(upload, job)


def _announce(upload: Upload, job: Job) -> None:
    if upload.report.get("announced"):
        return
    if upload.rows_added:
        records_added.send(Dataset, dataset=upload.dataset, count=upload.rows_added)
    with transaction.atomic():
        row = Upload.objects.select_for_update().get(pk=upload.pk)
        if not row.report.get("announced"):
            row.report = {**row.report, "announced": True}
            row.save(update_fields=["report"])
            _audit(row, job, "upload.imported", "ok")


def _end(upload: Upload, job: Job) -> None:
    with transaction.atomic():
        row = Upload.objects.select_for_update().get(pk=upload.pk)
        if row.state != Upload.State.IMPORTING:
            return
        cancelled = job.state == JobState.CANCELLED
        row.state = Upload.State.CANCELLED if cancelled else Upload.State.FAILED
        row.report = {**row.report, "removed": row.rows_added}
        row.rows_added, row.finished_at, row.preview = 0, timezone.now(), without_rows(row.preview)
        row.save(update_fields=["state", "report", "rows_added", "finished_at", "preview"])
        _audit(
            row, job, "upload.cancelled" if cancelled else "upload.failed", "ok" if cancelled else "failed"
        )


def _audit(upload: Upload, job: Job, action: str, outcome: str) -> None:
    person = Actor(user=job.requested_by, organisation=upload.organisation)
    detail = {key: value for key, value in counts(upload).items() if key != "upload"}
    audit.record(person, action, upload, outcome=outcome, **detail)


def forget_unused_files() -> int:
    """The schedule's: files that came for a record or a diagnosis which never pointed to them; how many."""
    return forget_unused()
