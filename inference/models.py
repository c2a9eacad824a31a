"""Diagnoses, their batches and their reviews."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, Organisation
from accounts.scoping import OrganisationQuerySet
from datasets.models import Record
from training.models import ModelVersion


class Batch(models.Model):
    """Many diagnoses asked for at once: all or nothing."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="batches")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="batches")
    record_count = models.PositiveIntegerField()
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.record_count} · {self.created_at:%Y-%m-%d %H:%M}"


class Diagnosis(models.Model):
    """One prediction for one record: what went in, what came out, from which version. Never changed afterwards."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="diagnoses", db_index=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="diagnoses", db_index=False)
    batch = models.ForeignKey(Batch, null=True, blank=True, on_delete=models.PROTECT, related_name="diagnoses")
    position = models.PositiveIntegerField(default=0, help_text="place in its batch")
    patient_key = models.CharField(max_length=100, blank=True)
    inputs = models.JSONField(help_text="column name → value, as given")
    value = models.CharField(max_length=200, help_text="the decided class, or the number as text")
    probability = models.FloatField(null=True, help_text="calibrated, of the decided class")
    output = models.JSONField(help_text="probabilities, interval, prediction set, out-of-distribution flag, warnings")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    api_key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["organisation", "-created_at"], name="diagnosis_newest"),
            models.Index(fields=["model_version", "-created_at"], name="diagnosis_version"),
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
    record = models.ForeignKey(Record, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="the labelled record made of it")
    reviewed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    reviewed_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(verdict="corrected") | ~models.Q(corrected_value=""), name="review_correction_has_value"
            ),
            models.CheckConstraint(condition=~models.Q(verdict="rejected") | ~models.Q(reason=""), name="review_rejection_has_reason"),
        ]

    def __str__(self) -> str:
        return self.verdict
