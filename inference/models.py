"""Diagnoses, their batches and their reviews."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, Organisation
from accounts.scoping import OrganisationQuerySet
from datasets.models import Record
from inference.identifiers import uuid7
from training.models import Model, ModelVersion


class Batch(models.Model):
    """Many diagnoses asked for at once: all or nothing."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="batches")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="batches")
    record_count = models.PositiveIntegerField()
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.record_count} · {self.created_at:%Y-%m-%d %H:%M}"


class Diagnosis(models.Model):
    """One prediction for one record: what went in, what came out, from which version. Never changed afterwards.

    Two things alone are written later: `verdict`, a copy of the latest review's for the list's filter, and the blanking
    of an erased patient's values. `id` grows with time, so the order of ids is the order of asking.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No database constraint on what every diagnosis of a ward shares: PostgreSQL would lock those rows at each insert,
    # and workers would meet at them (ADR 10). Django still protects them.
    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="diagnoses", db_index=False, db_constraint=False
    )
    model = models.ForeignKey(
        Model, on_delete=models.PROTECT, related_name="diagnoses", db_index=False, db_constraint=False
    )
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="diagnoses", db_index=False, db_constraint=False
    )
    batch = models.ForeignKey(
        Batch, null=True, blank=True, on_delete=models.PROTECT, related_name="diagnoses", db_index=False
    )
    position = models.PositiveIntegerField(default=0, help_text="place in its batch")
    patient_key = models.CharField(max_length=100, blank=True)
    inputs = models.JSONField(help_text="column name → value, as given")
    value = models.CharField(max_length=200, help_text="the decided class, or the number as text")
    probability = models.FloatField(null=True, help_text="calibrated, of the decided class")
    output = models.JSONField(
        help_text="probabilities, interval, prediction set, out-of-distribution flag, warnings"
    )
    verdict = models.CharField(
        max_length=10, blank=True, default="", help_text="of the latest review; empty: not reviewed"
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False, db_constraint=False
    )
    api_key = models.ForeignKey(
        ApiKey, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False, db_constraint=False
    )
    created_at = models.DateTimeField(default=timezone.now)
    erased_at = models.DateTimeField(
        null=True, blank=True, help_text="the patient was erased: inputs and output are gone"
    )
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "diagnoses"
        indexes = [
            models.Index(fields=["organisation", "-id"], name="diagnosis_newest"),
            models.Index(fields=["organisation", "model", "-id"], name="diagnosis_model"),
            models.Index(fields=["organisation", "verdict", "-id"], name="diagnosis_verdict"),
            models.Index(fields=["organisation", "value", "-id"], name="diagnosis_value"),
            models.Index(
                fields=["organisation", "patient_key", "-id"],
                condition=~models.Q(patient_key=""),
                name="diagnosis_patient",
            ),
            models.Index(
                fields=["batch", "position"], condition=models.Q(batch__isnull=False), name="diagnosis_batch"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.value}"

    @property
    def audit_label(self) -> str:
        """Never the value: the audit log holds no patient data."""
        return f"diagnosis {self.pk}"


class Review(models.Model):
    """What the clinician said of a diagnosis; the latest one counts."""

    organisation_path = "diagnosis__organisation"

    class Verdict(models.TextChoices):
        CONFIRMED = "confirmed", _("confirmed")
        CORRECTED = "corrected", _("corrected")
        REJECTED = "rejected", _("rejected")

    diagnosis = models.ForeignKey(Diagnosis, on_delete=models.PROTECT, related_name="reviews")
    verdict = models.CharField(max_length=10, choices=Verdict.choices)
    corrected_value = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    record = models.ForeignKey(
        Record, null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="the labelled record made of it",
    )  # fmt: skip
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    reviewed_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(verdict="corrected") | ~models.Q(corrected_value=""),
                name="review_correction_has_value",
            ),
            models.CheckConstraint(
                condition=~models.Q(verdict="rejected") | ~models.Q(reason=""), name="review_rejection_has_reason"
            ),
        ]

    def __str__(self) -> str:
        return self.verdict


# The files of diagnoses: Django finds a model when this module is read, and theirs refers to those above, so it comes last.
import inference.files  # noqa: E402, F401
