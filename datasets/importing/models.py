"""Importers, their runs, and what each run delivered. See datasets.models."""

import json
import uuid
from typing import Any

from cryptography.fernet import InvalidToken
from django.conf import settings as site
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.mfa import cipher
from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet
from jobs.models import Job


class Schedule(models.TextChoices):
    ON_DEMAND = "", _("only when somebody asks")
    MINUTES = "minutes", _("every so many minutes")
    HOURS = "hours", _("every so many hours")
    DAILY = "daily", _("once a day")


class Treatment(models.TextChoices):
    """What is made of files; rows have only one way."""

    ROWS = "rows", _("rows of a data set")
    ARRIVAL = "arrival", _("sort them out by what they are (DICOM, pictures, texts, tables)")
    TABLES = "tables", _("each file is a table: its rows go into a data set")
    CELLS = "cells", _("each file is a picture, volume, video or signal: it becomes a record of a data set")


class Importer(models.Model):
    """Where data come from by themselves: its source, where they go, when, and how far it has read."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="importers")
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(max_length=20)
    settings = models.JSONField(default=dict, help_text="what the source's form holds, without its secrets")
    secret = models.TextField(blank=True, help_text="the form's secrets, encrypted")
    treatment = models.CharField(max_length=10, choices=Treatment.choices, default=Treatment.ROWS)
    dataset = models.ForeignKey(
        "datasets.Dataset", null=True, blank=True, on_delete=models.SET_NULL, related_name="importers"
    )
    options = models.JSONField(default=dict, help_text="the mapping that a person has confirmed; {}: none yet")
    revision = models.PositiveIntegerField(default=0, help_text="counts changes of all that a run stands on")
    look = models.JSONField(default=dict, help_text="what the last connection test and preview found")
    looked_at = models.DateTimeField(null=True, blank=True)
    look_job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    schedule = models.CharField(max_length=10, choices=Schedule.choices, default=Schedule.ON_DEMAND, blank=True)
    every = models.PositiveSmallIntegerField(default=1)
    at = models.TimeField(null=True, blank=True)
    zone = models.CharField(max_length=50, help_text="of the time of day, as Europe/Berlin")
    next_run_at = models.DateTimeField(null=True, blank=True)
    paused = models.BooleanField(default=False)
    quiet_days = models.PositiveSmallIntegerField(null=True, blank=True, help_text="tell when nothing came for so long")
    quiet_told_at = models.DateTimeField(null=True, blank=True)
    cursor = models.JSONField(default=dict)
    came_at = models.DateTimeField(default=timezone.now, help_text="when something new came last; at first, its making")
    failing_since = models.DateTimeField(null=True, blank=True)
    failing_told_at = models.DateTimeField(null=True, blank=True, help_text="told of its failing last, at first or as a reminder")
    sign_ins_refused = models.PositiveSmallIntegerField(default=0, help_text="in a row: it waits longer after each (clock)")
    created_by = models.ForeignKey(
        site.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["organisation", "name"], name="importer_name_once")]
        indexes = [
            models.Index(fields=["next_run_at"], condition=Q(paused=False), name="importer_due"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def secrets(self) -> dict[str, Any]:
        """In clear; {} also when they were made under a key that is gone, so that they are asked for again."""
        try:
            return dict(json.loads(cipher().decrypt(self.secret.encode()))) if self.secret else {}
        except InvalidToken:
            return {}

    @secrets.setter
    def secrets(self, values: dict[str, Any]) -> None:
        self.secret = cipher().encrypt(json.dumps(values).encode()).decode() if values else ""

    @property
    def plan(self) -> str:
        """When it runs, in words."""
        if self.schedule == Schedule.DAILY and self.at is not None:
            return str(_("every day at %(time)s (%(zone)s)")) % {"time": f"{self.at:%H:%M}", "zone": self.zone}
        if self.schedule == Schedule.MINUTES:
            return ngettext("every minute", "every %(count)d minutes", self.every) % {"count": self.every}
        if self.schedule == Schedule.HOURS:
            return ngettext("every hour", "every %(count)d hours", self.every) % {"count": self.every}
        return str(Schedule.ON_DEMAND.label)

    @property
    def needs_dataset(self) -> bool:
        return self.treatment != Treatment.ARRIVAL

    @property
    def ready(self) -> bool:
        """Whether it knows what to do with what comes."""
        return not self.needs_dataset or bool(self.options.get("columns"))


class ImporterRun(models.Model):
    """One look for what is new. It ends when all that it delivered has been imported."""

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        DONE = "done", _("imported")
        NOTHING = "nothing", _("nothing new")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    organisation_path = "importer__organisation"
    importer = models.ForeignKey(Importer, on_delete=models.CASCADE, related_name="runs")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    rows_read = models.BigIntegerField(default=0)
    rows_added = models.BigIntegerField(default=0)
    rows_duplicate = models.BigIntegerField(default=0)
    rows_refused = models.BigIntegerField(default=0)
    rows_same = models.BigIntegerField(default=0, help_text="of a file whose very content was imported before")
    rows_erased = models.BigIntegerField(default=0, help_text="of patients who were erased: left out")
    files = models.BigIntegerField(default=0)
    faulty_count = models.BigIntegerField(default=0)
    faulty = models.JSONField(default=list, help_text="[{where, reason}], the first of them")
    notes = models.JSONField(default=list, help_text="fields of the source that the mapping does not know")
    waiting = models.JSONField(default=dict, help_text="of what the source does not give yet, how much for which reason")
    error_code = models.CharField(max_length=50, blank=True)
    error_text = models.TextField(blank=True)
    cursor_before = models.JSONField(default=dict)
    cursor_after = models.JSONField(default=dict)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["importer", "job"], name="importer_run_of_job_once"),
        ]
        indexes = [models.Index(fields=["importer", "-id"], name="importer_runs_in_order")]

    def __str__(self) -> str:
        return f"{self.importer} {self.started_at:%Y-%m-%d %H:%M}"

    @property
    def level(self) -> str:
        """Of its badge."""
        levels = {"running": "info", "done": "success", "failed": "danger", "cancelled": "warning"}
        return levels.get(self.state, "secondary")


class Delivery(models.Model):
    """What a run made of a piece: an upload or an arrival, in the transaction that moved the cursor."""

    organisation_path = "run__importer__organisation"
    run = models.ForeignKey(ImporterRun, on_delete=models.CASCADE, related_name="deliveries")
    upload = models.ForeignKey(
        "datasets.Upload", null=True, blank=True, on_delete=models.CASCADE, related_name="deliveries"
    )
    arrival = models.ForeignKey(
        "datasets.Arrival", null=True, blank=True, on_delete=models.CASCADE, related_name="deliveries"
    )
    superseded = models.BooleanField(default=False, help_text="what failed of it is read again from the source")
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.run}: {self.pk}"


class ErasedPatient(models.Model):
    """That a patient of a data set was erased, as a keyed hash: no importer brings them back."""

    organisation_path = "dataset__organisation"
    dataset = models.ForeignKey("datasets.Dataset", on_delete=models.CASCADE, related_name="+")
    key_hash = models.CharField(max_length=32)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "key_hash"], name="erased_patient_once")]

    def __str__(self) -> str:
        return self.key_hash[:8]
