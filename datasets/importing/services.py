"""What people do with importers: set one up, test it, map its fields, let it run, pause it, change it, remove it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import time
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import audit
from accounts.actor import Actor
from datasets import intake
from datasets.importing import opening, pending, together
from datasets.importing.base import Delivers
from datasets.importing.clock import next_time
from datasets.importing.models import Importer, Schedule, Treatment
from datasets.models import Dataset
from jobs import services as jobs
from jobs.models import Job

MOST = 500  # importers of an organisation


class ImporterRefused(ValueError):
    """What was asked cannot be done; the text says why and what to do. `code` is for programs."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@transaction.atomic
def add_importer(
    *, actor: Actor, name: str, kind: str, settings: Mapping[str, Any], treatment: str, dataset: Dataset | None, zone: str
) -> Importer:
    """A new importer and its first look. `settings` are those that the source's form has cleaned. Raises ValidationError."""
    if Importer.objects.for_organisation(actor.organisation).count() >= MOST:
        raise ValidationError({"name": _("At most %(limit)d importers can be set up.") % {"limit": MOST}})
    row = Importer(organisation=actor.organisation, kind=kind, zone=zone, created_by=actor.user)
    _put(row, name, settings, treatment, dataset)
    _saved(row)
    audit.record(actor, "importer.added", row, kind=kind, treatment=row.treatment, dataset=str(dataset.pk) if dataset else "")
    submit_look(actor=actor, importer=row)
    return row


@transaction.atomic
def change_importer(
    *, actor: Actor, importer: Importer, name: str, settings: Mapping[str, Any], treatment: str, dataset: Dataset | None,
    from_beginning: bool = False,
) -> Importer:  # fmt: skip
    """Other settings, and a look with them. The mapping is asked for anew where the rows go elsewhere. Raises ValidationError."""
    row: Importer = Importer.objects.select_for_update().get(pk=importer.pk)
    before = (row.treatment, row.dataset_id)
    old = {**row.settings, **row.secrets}
    changed = sorted(key for key in {*old, *settings} if old.get(key) != settings.get(key))
    _put(row, name, settings, treatment, dataset)
    if (row.treatment, row.dataset_id) != before:
        row.options = {}
    if from_beginning:
        row.cursor = {}
        pending.supersede(row)
    row.revision += 1
    _try_at_once(row)
    _saved(row)
    audit.record(actor, "importer.changed", row, fields=changed, from_beginning=from_beginning)
    submit_look(actor=actor, importer=row)
    return row


def _put(row: Importer, name: str, settings: Mapping[str, Any], treatment: str, dataset: Dataset | None) -> None:
    source = opening.kind_of(row.kind)
    row.name, row.dataset = name.strip(), dataset
    row.treatment = treatment if source.delivers == Delivers.FILES else Treatment.ROWS
    row.settings = {key: value for key, value in settings.items() if key not in source.secrets}
    row.secrets = {key: settings[key] for key in source.secrets if settings.get(key) not in (None, "")}
    row.look, row.looked_at = {}, None


def _try_at_once(row: Importer) -> None:
    """A person has seen to it: what was refused before counts no more."""
    if row.sign_ins_refused:
        row.sign_ins_refused, row.next_run_at = 0, None
        row.next_run_at = next_time(row, timezone.now())


def _saved(row: Importer) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise ValidationError({"name": _("Your organisation has an importer of this name already.")}) from error


@transaction.atomic
def submit_look(*, actor: Actor, importer: Importer) -> Job:
    """Queue the connection test with its preview. What was found before is forgotten."""
    job = jobs.submit(
        actor=actor,
        task="datasets.importing.tasks.look",
        title=gettext_noop("Testing an importer's connection"),
        payload={"importer": str(importer.pk)},
        key=f"importer-look:{importer.pk}:{importer.revision}",
        subject_url=reverse("datasets:importer_look", args=[importer.pk]),
        max_attempts=1,
    )
    Importer.objects.filter(pk=importer.pk).update(look={}, looked_at=None, look_job=job)
    importer.look, importer.look_job = {}, job
    return job


@transaction.atomic
def confirm_mapping(
    *, actor: Actor, importer: Importer, columns: Sequence[Mapping[str, Any]] = (), new_dataset_name: str = "",
    keep_good_rows: bool = True,
) -> Importer:  # fmt: skip
    """Say which field goes into which column. Raises ImporterRefused, IntakeRefused or ValidationError."""
    row: Importer = Importer.objects.select_for_update().get(pk=importer.pk)
    preview = row.look.get("preview")
    if not row.needs_dataset or not preview or row.look.get("revision") != row.revision:
        raise ImporterRefused("no_preview", _("Test the connection first: the preview that this was made for is gone."))
    intake.apply_columns(preview, columns)
    included = [column for column in preview["columns"] if column["include"]]
    if not included:
        raise intake.IntakeRefused("no_columns", _("Choose at least one column to keep."))
    if row.dataset is not None and (why := together.refused(row.kind, row.dataset, included)):
        raise ImporterRefused("patients_named_otherwise", why)
    row.dataset = intake.dataset_for(actor=actor, dataset=row.dataset, columns=included, name=new_dataset_name or row.name)
    row.options = {
        "columns": intake.reading(included), "telling": intake.telling(preview["columns"]),
        "keep_good_rows": bool(keep_good_rows), "layout": row.look.get("layout", {}),
        "settings": row.look.get("options", {}).get("settings", {}),
    }  # fmt: skip
    row.revision += 1
    kept = {"found": row.look.get("found", ""), "said": {"found": row.look.get("said", {}).get("found", "")}}
    row.look = {"state": "found", **kept, "mapped": True}  # the preview holds patients' values
    row.save()
    audit.record(actor, "importer.mapped", row, dataset=str(row.dataset.pk), columns=len(included))
    return row


@transaction.atomic
def set_schedule(
    *, actor: Actor, importer: Importer, schedule: str, every: int = 1, at: time | None = None, zone: str = "",
    quiet_days: int | None = None,
) -> Importer:  # fmt: skip
    """When it runs by itself, and after how many days without anything new somebody is told."""
    row: Importer = Importer.objects.select_for_update().get(pk=importer.pk)
    row.schedule, row.every, row.at, row.zone, row.quiet_days = schedule, every, at, zone or row.zone, quiet_days
    if schedule == Schedule.DAILY and at is None:
        raise ValidationError({"at": _("Give the time of day.")})
    row.quiet_told_at, row.next_run_at = None, None
    row.next_run_at = next_time(row, timezone.now())
    row.save(update_fields=["schedule", "every", "at", "zone", "quiet_days", "quiet_told_at", "next_run_at"])
    audit.record(actor, "importer.scheduled", row, schedule=schedule or "on demand", every=every, quiet_days=quiet_days)
    return row


def submit_run(*, actor: Actor, importer: Importer) -> Job:
    """Queue a run; the one that waits or runs already is returned instead."""
    return jobs.submit(
        actor=actor,
        task="datasets.importing.tasks.run",
        title=gettext_noop("Import from a source"),
        payload={"importer": str(importer.pk)},
        key=f"importer:{importer.pk}",
        subject_url=reverse("datasets:importer", args=[importer.pk]),
    )


@transaction.atomic
def run_now(*, actor: Actor, importer: Importer) -> Job:
    """A run that somebody asks for. Raises ImporterRefused: paused, or nobody has mapped its fields."""
    if importer.paused:
        raise ImporterRefused("paused", _("This importer is paused: let it go on first."))
    if not importer.ready:
        raise ImporterRefused("not_mapped", _("Nobody has said yet which field goes into which column. Do that first."))
    row: Importer = Importer.objects.select_for_update().defer("cursor").get(pk=importer.pk)
    _try_at_once(row)
    row.save(update_fields=["sign_ins_refused", "next_run_at"])
    job = submit_run(actor=actor, importer=importer)
    audit.record(actor, "importer.asked_to_run", importer, job=str(job.pk))
    return job


def pause(*, actor: Actor, importer: Importer, paused: bool) -> Importer:
    """Stop it from running, or let it go on. What waits is cancelled, what runs stops. Doing it twice is harmless."""
    row = _paused(actor, importer, paused)
    if paused:
        _cancel(actor, f"importer:{row.pk}")
    return row


def _cancel(actor: Actor, key: str) -> None:
    """Not within a lock on the importer: its run locks the job first."""
    if (job := jobs.live_job(actor, key)) is not None:
        with suppress(jobs.NotPossible):  # it has just ended
            jobs.cancel(actor=actor, job=job)


@transaction.atomic
def _paused(actor: Actor, importer: Importer, paused: bool) -> Importer:
    row: Importer = Importer.objects.select_for_update().get(pk=importer.pk)
    if row.paused != paused:
        row.paused = paused
        if not paused:  # its silence is counted from now
            row.came_at, row.quiet_told_at, row.next_run_at = timezone.now(), None, None
            row.next_run_at = next_time(row, timezone.now())
        row.save(update_fields=["paused", "came_at", "quiet_told_at", "next_run_at"])
        audit.record(actor, "importer.paused" if paused else "importer.resumed", row)
    return row


def remove_importer(*, actor: Actor, importer: Importer) -> None:
    """It runs no more, its secrets and history are gone; what it brought stays. Doing it twice is harmless."""
    for key in (f"importer:{importer.pk}", f"importer-look:{importer.pk}:{importer.revision}"):
        _cancel(actor, key)
    with transaction.atomic():
        row = Importer.objects.select_for_update().filter(pk=importer.pk).first()
        if row is not None:
            audit.record(actor, "importer.removed", row, runs=row.runs.count())
            row.delete()
