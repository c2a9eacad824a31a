"""The background work: a run of an importer, the test of its connection, and what follows the end of each."""

from typing import Any

from django.db import transaction
from django.db.models import Count, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets.arrivals.models import ArrivedFile, Outcome
from datasets.arrivals.services import CONFIRMABLE
from datasets.importing import alarms, clock, looking, pending
from datasets.importing.models import Importer, ImporterRun
from datasets.importing.running import Run
from datasets.models import Upload
from jobs.handlers import JobContext, JobError, handler
from jobs.models import TERMINAL, Job
from jobs.models import State as JobState

RUN = ImporterRun.State
NOT_TAKEN = ("all_faulty", "all_quarantined")
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
            reports = uploads.values_list("report", flat=True)
            row.rows_erased = sum(report.get("erased_rows", 0) for report in reports)
        over = row.job is None or row.job.state in TERMINAL
        before, waits = row.state, pending.waiting(row.deliveries).exists()
        came = arrived(row)
        if over and not waits and before in (RUN.RUNNING, RUN.FAILED):
            _end(row, came)
        row.save()
        if row.state != before and row.state != RUN.NOTHING:  # that it looked is in the log of jobs, every few minutes perhaps
            _audit(row)
        if row.state != RUN.RUNNING:
            _streak(row, something=row.state != before and bool(row.rows_added or came["taken"]), ended=before == RUN.RUNNING)


def arrived(row: ImporterRun) -> dict[str, int]:
    """Of the files that were sorted out: how many were taken (or wait for a person's eyes alone), and how many held back."""
    files = ArrivedFile.objects.filter(arrival__deliveries__run=row, discarded_at=None)
    quarantined = Q(outcome=Outcome.QUARANTINED)
    seen = quarantined & Q(code__in=CONFIRMABLE)
    unpacked = Q(kind="archive", outcome=Outcome.IMPORTED)  # counts by its members
    return files.exclude(unpacked).aggregate(
        taken=Count("pk", filter=Q(outcome=Outcome.IMPORTED) | seen),
        held=Count("pk", filter=quarantined & ~Q(code__in=CONFIRMABLE)),
    )


def _end(row: ImporterRun, came: dict[str, int]) -> None:
    row.finished_at = row.finished_at or timezone.now()
    if row.job is not None and row.job.state == JobState.FAILED:
        row.state, row.error_text = RUN.FAILED, row.error_text or row.job.error_person
    elif row.job is not None and row.job.state == JobState.CANCELLED:
        row.state = RUN.CANCELLED
    elif pending.broken(row.deliveries).exists():
        _fail(row, "import_failed")
    elif row.faulty_count and not (row.files or row.rows_read):
        _fail(row, "all_faulty")
    elif came["held"] and not came["taken"]:
        _fail(row, "all_quarantined")
    else:
        brought = row.rows_added or row.rows_refused or row.faulty_count or came["taken"]
        row.state, row.error_code, row.error_text = (RUN.DONE if brought else RUN.NOTHING), "", ""


def _fail(row: ImporterRun, code: str) -> None:
    row.state, row.error_code, row.error_text = RUN.FAILED, code, str(alarms.OWN[code])


def fails(importer: Importer, newest: ImporterRun) -> bool:
    """Whether its newest run failed, or something that came is not taken in yet."""
    if newest.state == RUN.FAILED or pending.broken(pending.of(importer)).exists():
        return True
    # What could not be taken does not come again: that a later run found nothing does not mend it.
    mended = importer.runs.filter(state=RUN.DONE).order_by("-pk").values_list("pk", flat=True).first() or 0
    return bool(importer.runs.filter(state=RUN.FAILED, error_code__in=NOT_TAKEN, pk__gt=mended).exists())


def _streak(row: ImporterRun, *, something: bool, ended: bool) -> None:
    """The importer's standing after this run, and its alarms: once when a streak of failures begins, once when it ends.

    An old run whose upload has been imported after all ends no streak while the newest run fails or works still.
    """
    importer = Importer.objects.select_for_update().get(pk=row.importer_id)
    newest = importer.runs.exclude(state=RUN.CANCELLED).order_by("-pk").first() or row
    if fails(importer, newest):
        if importer.failing_since is None:
            importer.failing_since = importer.failing_told_at = timezone.now()
            alarms.tell_failed(row)
    elif (
        importer.failing_since is not None
        and newest.state in (RUN.DONE, RUN.NOTHING)
        and not pending.waiting(pending.of(importer)).exists()
    ):
        importer.failing_since = importer.failing_told_at = None
        alarms.tell_works(newest)
    if something:
        importer.came_at, importer.quiet_told_at = timezone.now(), None
    if ended:
        _hold_back(importer, row)
    changed = ["failing_since", "failing_told_at", "came_at", "quiet_told_at", "sign_ins_refused", "next_run_at"]
    importer.save(update_fields=changed)


def _hold_back(importer: Importer, row: ImporterRun) -> None:
    """A password that was refused is not tried at each turn of the schedule."""
    if row.state == RUN.FAILED and row.error_code == "sign_in":
        importer.sign_ins_refused += 1
        importer.next_run_at = clock.after_refusal(importer, timezone.now())
    elif row.state in (RUN.DONE, RUN.NOTHING):
        importer.sign_ins_refused = 0


def _audit(row: ImporterRun) -> None:
    person = Actor(user=row.job.requested_by if row.job is not None else None, organisation=row.importer.organisation)
    counts = {name.removeprefix("rows_"): getattr(row, name) for name in ("rows_read", *SUMS, "rows_erased")}
    outcome = "failed" if row.state == RUN.FAILED else "ok"
    detail = {"run": row.pk, "state": row.state, "files": row.files, "faulty": row.faulty_count, "code": row.error_code}
    audit.record(person, "importer.ran", row.importer, outcome=outcome, **detail, **counts)
