"""One upload of any number of files, and what became of each of them."""

import json
import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.mfa import cipher
from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet
from datasets.arrivals import reasons
from jobs.models import Job


class Outcome(models.TextChoices):
    """What became of a file; "" while it waits. Nothing else is possible, and nothing is left out."""

    IMPORTED = "imported", _("imported")
    DUPLICATE = "duplicate", _("duplicate")
    QUARANTINED = "quarantined", _("quarantined")


class ArrivedKind(models.TextChoices):
    """What a file is, told by its content (see datasets.arrivals.found.Shape)."""

    TABLE = "table", _("table")
    TEXT = "text", _("text")
    IMAGE = "image", _("image")
    SLICE = "slice", _("slice of a series")
    VOLUME = "volume", _("volume")
    VIDEO = "video", _("video")
    SIGNAL = "signal", _("signal")
    PART = "part", _("samples of a recording")
    INDEX = "index", _("list of files")
    ARCHIVE = "archive", _("archive")


class Arrival(models.Model):
    """Any number of files that were sent together. A job sorts them out; a report says what became of each."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="arrivals")
    dataset = models.ForeignKey(
        "datasets.Dataset", null=True, blank=True, on_delete=models.SET_NULL, related_name="arrivals"
    )
    # The patient's identifiers that the sender gave to be masked: encrypted, and forgotten once nothing waits for them.
    secret = models.TextField(blank=True)
    hold_texts = models.BooleanField(
        default=False, help_text="texts wait until a person has seen what is masked in them"
    )
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    notes = models.JSONField(
        default=dict, help_text="what a person should know: files that an index lists and did not come"
    )
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"arrival {self.pk}"

    @property
    def known(self) -> list[str]:
        """The identifiers to mask, decrypted."""
        return list(json.loads(cipher().decrypt(self.secret.encode()))) if self.secret else []

    @known.setter
    def known(self, values: list[str]) -> None:
        self.secret = cipher().encrypt(json.dumps(values).encode()).decode() if values else ""


class ArrivedFile(models.Model):
    """One file of an arrival, or one member of an archive in it. `number` is its place there, which makes a second run
    of the job find it again."""

    organisation_path = "arrival__organisation"
    arrival = models.ForeignKey(Arrival, on_delete=models.CASCADE, related_name="files")
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="members",
        help_text="its archive",
    )
    number = models.BigIntegerField()
    name = models.CharField(
        max_length=500, help_text="as the sender called it, with folders; never a path here"
    )
    size = models.BigIntegerField(null=True, blank=True)
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the content as it came")
    kind = models.CharField(max_length=10, choices=ArrivedKind.choices, blank=True)
    format = models.CharField(max_length=20, blank=True)
    facts = models.JSONField(default=dict)
    outcome = models.CharField(max_length=12, choices=Outcome.choices, blank=True)
    code = models.CharField(max_length=40, blank=True, help_text="why it is quarantined")
    reason_facts = models.JSONField(default=dict)
    # As it came, while it waits or is quarantined; and what records may use, once what identifies a patient is removed.
    original = models.ForeignKey(
        "datasets.StoredFile", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    file = models.ForeignKey(
        "datasets.StoredFile", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    upload = models.ForeignKey(
        "datasets.Upload", null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="a table goes on as an upload, with its preview",
    )  # fmt: skip
    part_of = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="parts",
        help_text="the header of the recording that these samples belong to",
    )  # fmt: skip
    masked = models.JSONField(
        default=dict, help_text="how much of what was removed: {kind: count}; no values"
    )
    discarded_at = models.DateTimeField(null=True, blank=True)
    discarded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    changed_at = models.DateTimeField(auto_now=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            # Two, as SQLite takes two empty parents for different ones.
            models.UniqueConstraint(
                fields=["arrival", "number"], condition=Q(parent=None), name="arrived_file_once"
            ),
            models.UniqueConstraint(fields=["parent", "number"], name="arrived_member_once"),
            models.CheckConstraint(
                condition=Q(outcome__in=["", *Outcome.values])
                & (Q(code="") | Q(outcome=Outcome.QUARANTINED))
                & (~Q(outcome=Outcome.QUARANTINED) | ~Q(code="")),
                name="arrived_file_reason",
            ),
        ]
        indexes = [
            models.Index(fields=["arrival", "outcome", "id"], name="arrived_by_outcome"),
            models.Index(fields=["sha256"], name="arrived_by_content", condition=Q(outcome=Outcome.IMPORTED)),
        ]

    def __str__(self) -> str:
        return f"file {self.pk}"

    @property
    def audit_label(self) -> str:
        """Never the sender's file name, which can hold a patient's."""
        return f"arrived file {self.pk}"

    @property
    def reason(self) -> str:
        """Why it is quarantined, in the reader's language; "" when it is not."""
        return reasons.text(self.code, self.reason_facts) if self.code else ""
