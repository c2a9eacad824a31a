"""What follows a run's end: rows for its versions, ranks, people told. Each step may be repeated without doubles."""

from typing import Any

from django.db import transaction
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import audit
from accounts.actor import Actor
from accounts.models import User
from accounts.notifications import notify
from accounts.permissions import ROLES, Permission
from datasets.models import Dataset, DatasetVersion
from jobs.models import Job, State
from training import artefacts, challengers, erasure, leaderboard
from training.models import Model, ModelVersion, TrainingRun
from training.signals import model_version_created


def settle(job: Job) -> None:
    """The settle step of training.tasks.run_training."""
    run = (
        TrainingRun.objects.select_related("dataset", "version", "requested_by", "organisation")
        .filter(pk=job.payload["run"])
        .first()
    )
    if run is None:
        return
    artefacts.clear_unfinished_of(run)
    if job.state == State.DONE:
        versions = create_versions(run, job.result or {})
        for version in versions:
            if version.erased_at is not None:
                erasure.forget_gone(version)
        leaderboard.rebuild(versions[0].model) if versions else None
        for version in versions:
            model_version_created.send_robust(ModelVersion, version=version)
        challengers.tell_if_better(run, versions)
    else:
        sweep(run)
    tell_requester(run, job)


def sweep(run: TrainingRun) -> None:
    """Remove artefacts that no version row will ever name."""
    from engine import registry

    kept = {str(pk) for pk in run.versions.values_list("pk", flat=True)}
    for candidate in registry.describe():
        pk = artefacts.version_id(run, candidate["name"])
        if str(pk) not in kept:
            artefacts.remove(run.organisation_id, pk)


@transaction.atomic
def create_versions(run: TrainingRun, result: dict[str, Any]) -> list[ModelVersion]:
    """The rows of what the run laid down; those that exist already are returned as they are."""
    described = [
        artefacts.read_json(artefacts.folder_of(run.organisation_id, made["id"]) / "version.json")
        for made in result.get("versions", [])
    ]
    if not described or None in described:
        return list(run.versions.select_related("model"))
    # An erasure holds this lock too: it either sees the new rows and flags them, or has been counted before them.
    Dataset.objects.select_for_update().get(pk=run.dataset_id)
    Model.objects.get_or_create(
        dataset=run.dataset,
        target=run.target,
        defaults={
            "organisation": run.organisation,
            "task": result["task"],
            "name": f"{run.dataset.name}: {run.target}"[:200],
        },
    )
    model = Model.objects.select_for_update().get(dataset=run.dataset, target=run.target)
    versions = [create_version(run, model, row) for row in described]
    summary = {k: result.get(k) for k in ("best", "metric", "task", "unlabelled", "baseline")}
    run.summary = {**run.summary, **summary}
    run.save(update_fields=["summary"])
    return versions


def create_version(run: TrainingRun, model: Model, row: dict[str, Any]) -> ModelVersion:
    """One row, once."""
    existing: ModelVersion | None = (
        ModelVersion.objects.select_related("model").filter(run=run, candidate=row["candidate"]).first()
    )
    if existing is not None:
        return existing
    number = (model.versions.aggregate(Max("number"))["number__max"] or 0) + 1
    version = ModelVersion.objects.create(
        model=model, number=number, run=run, **row, **erased_meanwhile(run, row)
    )
    actor = Actor(user=run.requested_by, organisation=run.organisation)
    audit.record(actor, "version.created", version, run=str(run.pk), gate_passed=version.gate_passed)
    return version


def erased_meanwhile(run: TrainingRun, row: dict[str, Any]) -> dict[str, Any]:
    """A patient erased while the run learned from them: the version is flagged and retired, as older ones were."""
    now = DatasetVersion.objects.values_list("erased_count", flat=True).get(pk=run.frozen.pk)
    if now == row["lineage"].get("erased_before", now):
        return {}
    return {"erased_at": timezone.now(), "retired_at": timezone.now()}


def holders(organisation: Any, permission: Permission) -> list[User]:
    """The organisation's people whose role allows it."""
    roles = [role.name for role in ROLES.values() if permission in role.permissions]
    return list(
        User.objects.filter(
            memberships__organisation=organisation, memberships__role__in=roles, is_active=True
        ).distinct()
    )


def tell_requester(run: TrainingRun, job: Job) -> None:
    """Tell who asked for it how it ended; for a nightly run that failed, those who train."""
    if job.state == State.CANCELLED or (run.requested_by is None and job.state == State.DONE):
        return
    users = [run.requested_by] if run.requested_by else holders(run.organisation, Permission.TRAIN)
    passed = run.versions.filter(gate_passed=True).count() if job.state == State.DONE else 0
    level = "danger" if job.state != State.DONE else "success" if passed else "warning"
    notify(
        organisation=run.organisation, users=users, key=f"run:{run.pk}:{job.pk}",
        title=lambda: how_it_ended(run, job, passed)[0], body=lambda: how_it_ended(run, job, passed)[1],
        url=reverse("training:run", args=[run.pk]), level=level,
    )  # fmt: skip


def how_it_ended(run: TrainingRun, job: Job, passed: int) -> tuple[str, str]:
    """(title, body) of the notification, in the language that is active."""
    what = {"target": run.target, "dataset": run.dataset.name}
    if job.state != State.DONE:
        return _("Training of “%(target)s” on %(dataset)s has failed") % what, job.error_person
    title = _("Training of “%(target)s” on %(dataset)s has finished") % what
    if not passed:
        return title, _("No version passed the gate. The run's page says what was missing.")
    body = ngettext(
        "%(count)d version passed the gate. Look at it on the leaderboard.",
        "%(count)d versions passed the gate. Compare them on the leaderboard.",
        passed,
    )
    return title, body % {"count": passed}
