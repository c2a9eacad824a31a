"""Datasets, their columns, records, files, uploads and frozen versions."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet
from jobs.models import Job


class Kind(models.TextChoices):
    NUMBER = "number", _("number")
    CATEGORY = "category", _("category")
    TEXT = "text", _("text")
    IMAGE = "image", _("image")
    VOLUME = "volume", _("volume")
    VIDEO = "video", _("video")
    SIGNAL = "signal", _("signal")
    DATE = "date", _("date")


class Role(models.TextChoices):
    FEATURE = "feature", _("feature")
    TARGET = "target", _("target")
    PATIENT = "patient", _("patient")
    IGNORE = "ignore", _("ignore")


class Split(models.TextChoices):
    TRAIN = "train", _("training")
    TEST = "test", _("locked test")


class StoredFile(models.Model):
    """A content-addressed file: the name in storage is its hash, the client's name is only shown."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    path = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    kept_at = models.DateTimeField(
        default=timezone.now, help_text="when the content came last; what points to it may be a day behind (see sweeping)"
    )
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "sha256"], name="file_once_per_organisation")
        ]

    def __str__(self) -> str:
        return self.sha256[:12]


class Dataset(models.Model):
    """A table of patients' records. The salt fixes, for ever, which patients are in the locked test split."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(_("name"), max_length=150)
    description = models.TextField(_("description"), blank=True)
    test_fraction = models.FloatField(default=0.2)
    split_salt = models.CharField(max_length=32)
    record_count = models.BigIntegerField(default=0)
    test_count = models.BigIntegerField(default=0)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "name"], condition=Q(archived_at=None), name="dataset_name_once"
            ),
            models.CheckConstraint(
                condition=Q(test_fraction__gte=0.05, test_fraction__lte=0.5), name="dataset_test_fraction"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Column(models.Model):
    """A column of a dataset: its kind, role and what has been seen in it."""

    organisation_path = "dataset__organisation"
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="columns")
    position = models.PositiveIntegerField()
    name = models.CharField(_("name"), max_length=200)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.FEATURE)
    minimum = models.FloatField(
        null=True, blank=True, help_text=_("least possible value; below it a row is refused")
    )
    maximum = models.FloatField(
        null=True, blank=True, help_text=_("largest possible value; above it a row is refused")
    )
    identifies = models.BooleanField(
        _("tells who the patient is"), default=False, help_text=_("its values are masked in the texts of the same record")
    )
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="column_name_once"),
            models.UniqueConstraint(fields=["dataset"], condition=Q(role="target"), name="column_one_target"),
            models.UniqueConstraint(
                fields=["dataset"], condition=Q(role="patient"), name="column_one_patient"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Upload(models.Model):
    """A file on its way in: kept as it came, previewed, then imported by a job. Ends in exactly one state."""

    class State(models.TextChoices):
        PREVIEW = "preview", _("waiting for your confirmation")
        IMPORTING = "importing", _("being imported")
        IMPORTED = "imported", _("imported")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")
        DISCARDED = "discarded", _("discarded")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="uploads")
    dataset = models.ForeignKey(
        Dataset, null=True, blank=True, on_delete=models.CASCADE, related_name="uploads"
    )
    file = models.ForeignKey(StoredFile, on_delete=models.PROTECT, related_name="uploads")
    original_name = models.CharField(max_length=255)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PREVIEW)
    options = models.JSONField(
        default=dict, help_text="how the file is read: format, encoding, delimiter, decimal, columns"
    )
    preview = models.JSONField(default=dict, help_text="inferred columns, first rows, warnings")
    report = models.JSONField(default=dict, help_text="what became of the rows")
    refused_file = models.ForeignKey(
        StoredFile, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    rows_read = models.BigIntegerField(default=0)
    rows_added = models.BigIntegerField(default=0)
    rows_duplicate = models.BigIntegerField(default=0)
    rows_refused = models.BigIntegerField(default=0)
    # Its records have ids in this range; other uploads' may lie between them.
    record_from = models.BigIntegerField(null=True, blank=True)
    record_to = models.BigIntegerField(null=True, blank=True)
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.original_name

    @property
    def audit_label(self) -> str:
        """Never the client's file name, which can hold a patient's: the audit log holds no patient data."""
        return f"upload {self.pk}"


class RowField(models.JSONField):
    """JSON without SQLite's check of every row: what is written here has been made by a JSON encoder."""

    def db_check(self, connection: Any) -> None:
        return None


class Record(models.Model):
    """One row: one visit, examination or note of a patient. `row_hash` makes uploading it again harmless."""

    organisation_path = "dataset__organisation"

    class Source(models.TextChoices):
        UPLOAD = "upload", _("upload")
        API = "api", _("API")
        REVIEW = "review", _("reviewed diagnosis")

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="records", db_index=False)
    # No index and no constraint: an import would pay for them with every row. An upload knows the range of its records.
    upload = models.ForeignKey(
        Upload,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="records",
        db_index=False,
        db_constraint=False,
    )
    row_number = models.BigIntegerField(null=True, blank=True)
    values = RowField(default=dict, help_text="column name → number, text, ISO date or null")
    patient_key = models.CharField(
        max_length=100,
        blank=True,
        help_text="value of the patient column; empty: each row is its own patient",
    )
    target = models.CharField(
        max_length=200, null=True, blank=True, help_text="the label as text, for filtering"
    )
    row_hash = models.CharField(max_length=32)
    split = models.CharField(max_length=5, choices=Split.choices)
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.UPLOAD)
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["dataset", "row_hash"], name="record_once")]
        indexes = [
            # Ascending, so that new records go to the end; newest first is read backwards.
            models.Index(fields=["dataset", "id"], name="record_in_order"),
            models.Index(fields=["dataset", "patient_key", "id"], name="record_by_patient"),
            models.Index(fields=["dataset", "target", "id"], name="record_by_target"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class RecordChange(models.Model):
    """The history of a record: a corrected label or value, by whom, when, why."""

    organisation_path = "record__dataset__organisation"
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="changes")
    column = models.CharField(max_length=200)
    old_value = models.JSONField(null=True)
    new_value = models.JSONField(null=True)
    reason = models.CharField(max_length=300, blank=True)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    changed_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.column}: {self.changed_at:%Y-%m-%d}"


class DatasetVersion(models.Model):
    """A frozen list of records with a content hash, kept as a Parquet file that the engine reads."""

    organisation_path = "dataset__organisation"
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    content_hash = models.CharField(max_length=64)
    state = models.CharField(
        max_length=64, blank=True, help_text="what the data set was like: equal state, equal content"
    )
    columns = models.JSONField(help_text="[{name, kind, role}] at the time of freezing")
    record_count = models.BigIntegerField()
    test_count = models.BigIntegerField()
    patient_count = models.BigIntegerField()
    file = models.ForeignKey(
        StoredFile, null=True, on_delete=models.PROTECT, related_name="+", help_text="null once erased"
    )
    erased_count = models.BigIntegerField(
        default=0, help_text="rows removed since, because a patient was erased"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="version_number_once")]

    def __str__(self) -> str:
        return f"{self.dataset} v{self.number}"


# The rooms' own models: Django finds a model when this module is read, and theirs refer to those above, so they come last.
import datasets.arrivals.models  # noqa: E402
import datasets.cells.models  # noqa: E402
import datasets.dicom.models  # noqa: E402
import datasets.importing.models  # noqa: E402
import datasets.receiving.models  # noqa: E402
import datasets.tus.models  # noqa: E402, F401
