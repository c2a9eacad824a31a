"""The background work: a run of an importer, the test of its connection, and what follows the end of each."""

from typing import Any

from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets.importing import alarms, looking
from datasets.importing.models import Importer, ImporterRun
from datasets.importing.running import Run
from datasets.models import Upload
from jobs.handlers import JobContext, JobError, handler
from jobs.models import TERMINAL, Job
from jobs.models import State as JobState

RUN = ImporterRun.State
SUMS = ("rows_added", "rows_duplicate", "rows_refused")


def _importer(context: JobContext) -> Importer:
    rows = Importer.objects.for_organisation(context.job.organisation).select_related("organisation", "dataset")
    found: Importer | None = rows.filter(pk=context.payload["importer"]).first()
    if found is None:
        raise JobError(_("This importer no longer exists."))
    return found


@handler(settle="datasets.importing.tasks.settle_run")
def run(context: JobContext) -> dict[str, Any]:
    """Take what is new from the source of `payload["importer"]`. A killed attempt goes on after what it has delivered."""
    return Run(context, _importer(context)).perform()


@handler()
def look(context: JobContext) -> dict[str, Any]:
    """Try the connection and read the first of what would come; nothing is taken."""
    return looking.look(context, _importer(context))


def settle_run(job: Job) -> None:
    """After the run's own job; its uploads may be imported still."""
    row = ImporterRun.objects.filter(job=job).first()
    if row is None:
        row = _never_begun(job)
    if row is not None:
        conclude(row.pk)


def _never_begun(job: Job) -> ImporterRun | None:
    """A job that was killed or cancelled before it wrote its run."""
    importer = Importer.objects.filter(pk=job.payload.get("importer"), organisation=job.organisation).first()
    if importer is None:
        return None
    row, _made = ImporterRun.objects.get_or_create(importer=importer, job=job)
    return row


def conclude(pk: int) -> None:
    """Count what the run's uploads brought; once all have ended, say how the run ended and tell whoever must know.

    Safe to repeat; also called when an upload is imported again later.
    """
    with transaction.atomic():
        row = ImporterRun.objects.select_for_update(of=("self",)).select_related("importer__organisation", "job").get(pk=pk)
        uploads = Upload.objects.filter(deliveries__run=row)
        found = uploads.aggregate(**{name: Sum(name) for name in SUMS})
        for name in SUMS:
            setattr(row, name, found[name] or 0)
        row.rows_duplicate += row.rows_same
        if row.importer.needs_dataset and row.files:
            row.rows_read = (uploads.aggregate(read=Sum("rows_read"))["read"] or 0) + row.rows_same
        over = row.job is None or row.job.state in TERMINAL
        before, importing = row.state, uploads.filter(state=Upload.State.IMPORTING).exists()
        if over and not importing and before in (RUN.RUNNING, RUN.FAILED):
            _end(row, uploads)
        row.save()
        if row.state != before:
            if row.state != RUN.NOTHING:  # that it looked is in the log of jobs, every few minutes perhaps
                _audit(row)
            if row.state != RUN.CANCELLED:
                _streak(row)


def _end(row: ImporterRun, uploads: Any) -> None:
    row.finished_at = row.finished_at or timezone.now()
    failed = uploads.filter(Q(state=Upload.State.FAILED) | Q(state=Upload.State.CANCELLED))
    if row.job is not None and row.job.state == JobState.FAILED:
        row.state, row.error_text = RUN.FAILED, row.error_text or row.job.error_person
    elif row.job is not None and row.job.state == JobState.CANCELLED:
        row.state = RUN.CANCELLED
    elif failed.exists():
        row.state, row.error_code = RUN.FAILED, "import_failed"
        row.error_text = _("What came was kept, but its import failed. Open it below and try the job again.")
    elif row.faulty_count and not (row.files or row.rows_read):
        row.state, row.error_code = RUN.FAILED, "all_faulty"
        row.error_text = _("Nothing of what came could be taken. The reasons are listed below.")
    else:
        brought = row.rows_added or row.rows_refused or row.faulty_count or row.deliveries.exclude(arrival=None).exists()
        row.state, row.error_code, row.error_text = (RUN.DONE if brought else RUN.NOTHING), "", ""


def _streak(row: ImporterRun) -> None:
    """The importer's standing after this run, and its alarms: once when a streak of failures begins, once when it ends."""
    importer = Importer.objects.select_for_update().get(pk=row.importer_id)
    failing = importer.failing_since is not None
    if row.state == RUN.FAILED:
        importer.failing_since = importer.failing_since or timezone.now()
        if not failing:
            alarms.tell_failed(row)
    elif failing:
        importer.failing_since = None
        alarms.tell_works(row)
    if row.rows_added or row.deliveries.exclude(arrival=None).exists():
        importer.came_at, importer.quiet_told_at = timezone.now(), None
    importer.save(update_fields=["failing_since", "came_at", "quiet_told_at"])


def _audit(row: ImporterRun) -> None:
    person = Actor(user=row.job.requested_by if row.job is not None else None, organisation=row.importer.organisation)
    counts = {name.removeprefix("rows_"): getattr(row, name) for name in ("rows_read", *SUMS, "rows_erased")}
    outcome = "failed" if row.state == RUN.FAILED else "ok"
    detail = {"run": row.pk, "state": row.state, "files": row.files, "faulty": row.faulty_count, "code": row.error_code}
    audit.record(person, "importer.ran", row.importer, outcome=outcome, **detail, **counts)
