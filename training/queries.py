"""Reading models and versions: what an organisation may see."""

from typing import Any

from django.db.models import F, Q, QuerySet

from accounts.models import Organisation
from training.models import Model, ModelVersion, TrainingRun

HEAVY = ("report", "schema", "lineage")


def visible_models(organisation: Organisation | None) -> QuerySet[Model]:
    """The organisation's own models and those that others have published."""
    if organisation is None:
        return Model.objects.none()
    return Model.objects.filter(Q(organisation=organisation) | Q(published_at__isnull=False))


def visible_versions(organisation: Organisation | None) -> QuerySet[ModelVersion]:
    """All versions of one's own models; of others' published models the champion alone."""
    if organisation is None:
        return ModelVersion.objects.none()
    own = Q(model__organisation=organisation)
    published = Q(model__published_at__isnull=False, model__champion=F("pk"))
    return ModelVersion.objects.filter(own | published)


def is_own(organisation: Organisation | None, model: Model) -> bool:
    """Whether lineage, runs and data of this model may be shown."""
    return organisation is not None and model.organisation_id == organisation.pk


def can_serve(version: ModelVersion) -> bool:
    """Passed the gate and not retired."""
    return version.gate_passed and version.retired_at is None


def last_run(model: Model) -> TrainingRun | None:
    """The newest run of the model's target that ended well."""
    runs = TrainingRun.objects.filter(dataset=model.dataset_id, target=model.target, versions__isnull=False)
    return runs.select_related("version").order_by("-number").first()


def current_job(run: TrainingRun) -> Any:
    """The run's job, or the newest retry of it."""
    job = run.job
    while job is not None and (later := job.retries.order_by("-created_at").first()) is not None:
        job = later
    return job
