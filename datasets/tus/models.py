"""A file that is still on its way, piece by piece. Imported by datasets.models."""

import uuid
from collections.abc import Sequence
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet

ERASED = "[erased]"


class TransferQuerySet(OrganisationQuerySet):
    """What is on its way, and what has been left lying."""

    def on_the_way(self) -> Self:
        """Those that can go on."""
        return self.filter(state=Transfer.State.RECEIVING, expires_at__gt=timezone.now())

    def forget(self, uploads: Sequence[Any]) -> int:
        """Clear what the transfers that these uploads came by tell of the file: names are often patients'. How many."""
        return self.filter(upload__in=uploads).update(name=ERASED, metadata="")


class Transfer(models.Model):
    """A file that is received in pieces. Its bytes lie in a part file named by the id; `offset` of them are durable."""

    class State(models.TextChoices):
        RECEIVING = "receiving", _("on its way")
        FINISHED = "finished", _("arrived")
        REFUSED = "refused", _("refused")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="transfers")
    dataset = models.ForeignKey(
        "datasets.Dataset", null=True, blank=True, on_delete=models.CASCADE, related_name="transfers"
    )
    name = models.CharField(max_length=255, help_text="the client's name of the file: shown, never a path")
    metadata = models.TextField(blank=True, help_text="Upload-Metadata as it was sent, to be sent back")
    length = models.BigIntegerField(help_text="bytes of the whole file")
    offset = models.BigIntegerField(default=0, help_text="bytes that are on disk and synced")
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECEIVING)
    code = models.CharField(max_length=50, blank=True, help_text="why it was refused, for programs")
    reason = models.TextField(blank=True, help_text="why it was refused, for the person")
    upload = models.ForeignKey(
        "datasets.Upload", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(help_text="moved on by each piece; afterwards it is removed")
    finished_at = models.DateTimeField(null=True, blank=True)
    objects = TransferQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["expires_at"], name="transfer_expiry")]
        constraints = [
            models.CheckConstraint(
                condition=Q(offset__gte=0, offset__lte=F("length")), name="transfer_offset_in_length"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def audit_label(self) -> str:
        """Never the client's file name, which can hold a patient's: the audit log holds no patient data."""
        return f"transfer {self.pk}"

    @property
    def is_whole(self) -> bool:
        """All bytes are here."""
        return self.offset == self.length

    @property
    def percent(self) -> int:
        """How much of it is here, rounded down: 100 only when all is."""
        return 100 * self.offset // self.length if self.length else 100
