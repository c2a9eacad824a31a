"""Training runs and candidates; models, their versions, champions; the gate; recommendations."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet
from datasets.models import Dataset, DatasetVersion
from jobs.models import Job


class Gate(models.Model):
    """The least that a model must reach on the locked test split to enter the repository (dataset null: for all)."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="gates")
    dataset = models.ForeignKey(
        Dataset, null=True, blank=True, on_delete=models.CASCADE, related_name="gates"
    )
    floors = models.JSONField(
        default=dict, help_text=_("metric name → least (or, for errors, largest) value")
    )
    updated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    updated_at = models.DateTimeField(auto_now=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "dataset"], name="gate_once"),
            models.UniqueConstraint(
                fields=["organisation"], condition=Q(dataset=None), name="gate_default_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organisation}: {self.floors}"


class TrainingRun(models.Model):
    """One execution of a recipe on a frozen version. Its state is its job's."""

    class Trigger(models.TextChoices):
        MANUAL = "manual", _("by hand")
        NIGHTLY = "nightly", _("nightly")
        REPEAT = "repeat", _("repeated")
        API = "api", _("API")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="training_runs")
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="training_runs")
    version = models.ForeignKey(
        DatasetVersion, null=True, on_delete=models.PROTECT, related_name="training_runs",
        help_text="what it learns from; null until the job of a large run has frozen it",
    )  # fmt: skip
    number = models.PositiveIntegerField()
    target = models.CharField(max_length=200, blank=True, default="")
    recipe = models.JSONField()
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="training_runs")
    trigger = models.CharField(max_length=10, choices=Trigger.choices, default=Trigger.MANUAL)
    trigger_day = models.DateField(null=True, blank=True, help_text="of a nightly run: at most one a day")
    repeat_of = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="repeats"
    )
    problems = models.JSONField(default=list)
    summary = models.JSONField(default=dict)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="run_number_once"),
            models.UniqueConstraint(
                fields=["dataset", "target", "trigger_day"],
                condition=Q(trigger="nightly"),
                name="run_nightly_once_a_day",
            ),
        ]

    def __str__(self) -> str:
        return _("%(dataset)s · run %(number)d") % {"dataset": self.dataset, "number": self.number}

    @property
    def frozen(self) -> DatasetVersion:
        """What it learns from, once that has been frozen, as it has been for every run that has versions."""
        if self.version is None:
            raise ValueError("the records of this run have not been frozen yet")
        return self.version


class Candidate(models.Model):
    """One model that a run tried, with its validation score and curve."""

    organisation_path = "run__organisation"
    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="candidates")
    name = models.CharField(max_length=50)
    status = models.CharField(max_length=10)
    reason = models.CharField(max_length=300, blank=True)
    hyperparameters = models.JSONField(default=dict)
    preprocessing = models.JSONField(default=dict)
    metric = models.CharField(max_length=40, blank=True)
    validation_score = models.FloatField(null=True)
    validation_low = models.FloatField(null=True)
    validation_high = models.FloatField(null=True)
    fit_seconds = models.FloatField(null=True)
    curve = models.JSONField(default=dict)
    chosen = models.BooleanField(default=False, help_text="best by validation; the test split had no say")
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="candidate_once")]

    def __str__(self) -> str:
        return self.name


class Model(models.Model):
    """A named diagnostic model: what is learned for one target of one dataset. One of its versions may be champion."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="models")
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="models")
    target = models.CharField(max_length=200)
    task = models.CharField(max_length=20)
    name = models.CharField(max_length=200)
    champion = models.ForeignKey(
        "ModelVersion", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    published_at = models.DateTimeField(null=True, blank=True)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    nightly = models.BooleanField(default=True, help_text=_("retrain every night when there are new records"))
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["dataset", "target"], name="model_once")]

    def __str__(self) -> str:
        return self.name


class ModelVersion(models.Model):
    """An immutable fitted model with its artefact, report and lineage. Written once by a finished run."""

    organisation_path = "model__organisation"
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    run = models.ForeignKey(TrainingRun, on_delete=models.PROTECT, related_name="versions")
    candidate = models.CharField(max_length=50)
    chosen = models.BooleanField(default=False, help_text="the best of its run by validation")
    artefact = models.CharField(max_length=200, help_text="folder under DATA_DIR/models")
    artefact_hash = models.CharField(max_length=64)
    artefact_bytes = models.BigIntegerField()
    schema = models.JSONField(help_text="the columns that the diagnosis form is made from")
    classes = models.JSONField(default=list)
    report = models.JSONField(help_text="metrics with intervals and n, curves; no patient values")
    metrics = models.JSONField(help_text="name → {value, low, high, n}, copied from the report for sorting")
    operating_point = models.JSONField(default=dict)
    latency_ms = models.FloatField(null=True)
    fit_seconds = models.FloatField(null=True)
    gate_passed = models.BooleanField()
    gate_reasons = models.JSONField(default=list)
    lineage = models.JSONField(help_text="data hash, recipe, seed, code version, requester, library versions")
    retired_at = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="when a patient whose records it learned from or was tested on was erased",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["model", "number"], name="model_version_number_once"),
            models.UniqueConstraint(fields=["run", "candidate"], name="model_version_of_run_once"),
        ]

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"


class PairedTest(models.Model):
    """Whether two versions can be told apart by a metric on the test records that both were judged on. Never changes."""

    organisation_path = "first__model__organisation"
    first = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="+")
    metric = models.CharField(max_length=40)
    difference = models.FloatField(null=True, help_text="first minus second")
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)
    p = models.FloatField(null=True)
    records = models.PositiveIntegerField(help_text="test records that both were judged on")
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["first", "second", "metric"], name="paired_test_once")]

    def __str__(self) -> str:
        return f"{self.first_id} · {self.second_id} · {self.metric}"


class Ranking(models.Model):
    """The leaderboard's ranks by one metric, made when versions arrive, so that the page stays quick."""

    organisation_path = "model__organisation"
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="rankings")
    metric = models.CharField(max_length=40)
    ranks = models.JSONField(
        default=dict, help_text="version id → rank; those that a paired test cannot separate share one"
    )
    updated_at = models.DateTimeField(auto_now=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "metric"], name="ranking_once")]

    def __str__(self) -> str:
        return f"{self.model} · {self.metric}"


class ChampionChange(models.Model):
    """Who made which version the champion, when and why; rolling back is another such row."""

    organisation_path = "model__organisation"
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="champion_changes")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    previous = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(
        max_length=10, choices=[("confirm", _("confirmed")), ("rollback", _("rolled back"))]
    )
    reason = models.CharField(max_length=300, blank=True)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    changed_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.version}"


class Recommendation(models.Model):
    """What was recommended to a person by their preferences, why, and why not the others."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="recommendations")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="recommendations"
    )
    outcome = models.CharField(max_length=200)
    weights = models.JSONField(default=dict)
    floors = models.JSONField(default=dict)
    version = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    nearest = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    reasons = models.JSONField(default=dict, help_text="why this one; for each other one why not")
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.user}: {self.version}"
