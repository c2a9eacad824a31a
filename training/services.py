"""Starting runs, confirming champions, rolling back, publishing: each one transaction with its audit event."""

import hashlib
import json
from datetime import date
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import audit
from accounts.actor import Actor
from datasets.models import Dataset, DatasetVersion
from datasets.versions import FreezeRefused, columns_of, discard, filling, freeze
from jobs.models import Job
from jobs.services import LIVE, live_job, submit
from training import preflight, problems, recipes
from training.errors import ChangeRefused, RunRefused
from training.models import ChampionChange, Model, ModelVersion, TrainingRun
from training.queries import HEAVY, can_serve
from training.signals import model_changed

__all__ = [
    "ChangeRefused",
    "RunRefused",
    "confirm_champion",
    "publish",
    "repeat_run",
    "roll_back",
    "start_run",
    "unpublish",
]

TASK = "training.tasks.run_training"
AT_ONCE = 20_000  # more records are frozen and looked over by the job: a request must not take minutes, nor their memory


def start_run(
    *,
    actor: Actor,
    dataset: Dataset,
    target: str | None = None,
    options: dict[str, Any] | None = None,
    trigger: str = "manual",
    day: date | None = None,
) -> TrainingRun:
    """Freeze the data, look it over, and queue a run. The same run that is still under way is returned instead.

    Raises RunRefused with every problem, in plain words, before anything starts.
    """
    preflight.refuse_archived(dataset)
    options = dict(options or {})
    recipe = recipes.resolve(dataset, target, options)
    if dataset.record_count > AT_ONCE:
        return launch_large(
            actor=actor,
            dataset=dataset,
            recipe=recipe,
            trigger=trigger,
            profile=options.get("profile"),
            day=day,
        )
    known = _frozen_before(dataset)
    try:
        version = freeze(actor=actor, dataset=dataset)
    except FreezeRefused as error:
        code = "busy" if dataset.record_count else "no_records"
        raise RunRefused([problems.make(code)]) from error
    try:
        return launch(
            actor=actor,
            version=version,
            recipe=recipe,
            trigger=trigger,
            profile=options.get("profile"),
            day=day,
        )
    except RunRefused:
        _take_back(actor, version, known)
        raise


def _frozen_before(dataset: Dataset) -> set[UUID]:
    """The versions that others have frozen: a refused run must leave them."""
    return set(dataset.versions.values_list("pk", flat=True))


@transaction.atomic
def _take_back(actor: Actor, version: DatasetVersion, known: set[UUID], but: TrainingRun | None = None) -> None:
    """Nothing learns from what was frozen for a refused run: it would only forbid choosing the patient column.

    It stays while another run may have taken it up. `but`: the refused run itself.
    """
    dataset = Dataset.objects.select_for_update().get(pk=version.dataset_id)
    reading = dataset.training_runs.filter(version=None, job__state__in=LIVE)
    if but is not None:
        reading = reading.exclude(pk=but.pk)
    if version.pk in known or version.training_runs.exists() or reading.exists():
        return
    discard(actor=actor, version=version)


def repeat_run(*, actor: Actor, run: TrainingRun) -> TrainingRun:
    """The same recipe on the same frozen records: the same numbers. Raises RunRefused when they have been erased."""
    preflight.refuse_archived(run.dataset)
    profile = run.summary.get("wanted_profile")
    if run.version is None:
        return launch_large(
            actor=actor,
            dataset=run.dataset,
            recipe=run.recipe,
            trigger=TrainingRun.Trigger.REPEAT,
            profile=profile,
            repeat_of=run,
        )
    return launch(
        actor=actor,
        version=run.version,
        recipe=run.recipe,
        trigger=TrainingRun.Trigger.REPEAT,
        profile=profile,
        repeat_of=run,
    )


def launch(
    *,
    actor: Actor,
    version: DatasetVersion,
    recipe: dict[str, Any],
    trigger: str,
    profile: str | None = None,
    repeat_of: TrainingRun | None = None,
    day: date | None = None,
) -> TrainingRun:
    """Queue a run of a recipe on a frozen version, unless the same is under way."""
    key = run_key(version, recipe)
    if (same := _under_way(actor, key)) is not None:
        return same
    found = preflight.refuse_errors(preflight.usable(version))
    name, memory = preflight.profile_for(version.columns, version.record_count, recipe, profile)
    found = preflight.refuse_errors([*found, *memory, *preflight.examine(version, recipe)])
    try:
        return _create(
            actor, version.dataset_id, version, recipe, trigger, name, profile, found, key, repeat_of, day
        )
    except _Twice as twice:
        return twice.run


def launch_large(
    *,
    actor: Actor,
    dataset: Dataset,
    recipe: dict[str, Any],
    trigger: str,
    profile: str | None = None,
    repeat_of: TrainingRun | None = None,
    day: date | None = None,
) -> TrainingRun:
    """Queue a run whose job freezes the records first. What a sample shows to be wrong is refused at once."""
    key = run_key(dataset, recipe)
    if (same := _under_way(actor, key)) is not None:
        return same
    if filling(dataset):
        raise RunRefused([problems.make("busy")])
    name, memory = preflight.profile_for(columns_of(dataset), dataset.record_count, recipe, profile)
    found = preflight.refuse_errors([*memory, *preflight.examine_sample(dataset, recipe)])
    try:
        return _create(actor, dataset.pk, None, recipe, trigger, name, profile, found, key, repeat_of, day)
    except _Twice as twice:
        return twice.run


def freeze_for(*, run: TrainingRun) -> list[dict[str, Any]]:
    """Inside the job of a large run: what it learns from, frozen now, and what is found in all of it.

    Sets `run.version` unsaved. Raises RunRefused, or FreezeRefused while records are still being added.
    """
    actor = Actor(user=run.requested_by, organisation=run.organisation)
    known = _frozen_before(run.dataset)
    run.version = freeze(actor=actor, dataset=run.dataset)
    try:
        return preflight.refuse_errors(preflight.examine(run.version, run.recipe))
    except RunRefused:
        _take_back(actor, run.version, known, but=run)
        raise


def run_key(source: DatasetVersion | Dataset, recipe: dict[str, Any]) -> str:
    """Two live runs never share it: a double click does not start two."""
    text = json.dumps([str(source.pk), recipe], sort_keys=True, default=str)
    return f"train:{hashlib.sha256(text.encode()).hexdigest()}"


def _under_way(actor: Actor, key: str) -> TrainingRun | None:
    live = live_job(actor, key)
    return TrainingRun.objects.filter(pk=live.payload.get("run")).first() if live is not None else None


class _Twice(Exception):
    """Another request was faster: its run, while ours is rolled back."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__()
        self.run = run


@transaction.atomic
def _create(
    actor: Actor,
    dataset_id: UUID,
    version: DatasetVersion | None,
    recipe: dict[str, Any],
    trigger: str,
    profile: str,
    wanted: str | None,
    found: list[dict[str, Any]],
    key: str,
    repeat_of: TrainingRun | None,
    day: date | None,
) -> TrainingRun:
    dataset = Dataset.objects.select_for_update().get(pk=dataset_id)
    if version is not None and not dataset.versions.filter(pk=version.pk).exists():
        raise RunRefused([problems.make("busy")])  # another run's refusal took it back meanwhile
    number = (dataset.training_runs.aggregate(Max("number"))["number__max"] or 0) + 1
    run = TrainingRun.objects.create(
        organisation_id=dataset.organisation_id, dataset=dataset, version=version, number=number, target=recipe["target"],
        recipe=recipe, trigger=trigger, trigger_day=day, repeat_of=repeat_of, problems=found, requested_by=actor.user,
        summary={"profile": profile, "wanted_profile": wanted},
    )  # fmt: skip
    what = {"target": recipe["target"], "dataset": dataset.name}
    job = submit(
        actor=actor, task=TASK, title=gettext_noop("Train “%(target)s” on %(dataset)s"), title_params=what,
        payload={"run": str(run.pk)}, profile=profile, key=key, subject_url=reverse("training:run", args=[run.pk]),
    )  # fmt: skip
    if job.payload.get("run") != str(run.pk):
        raise _Twice(TrainingRun.objects.get(pk=job.payload["run"]))
    run.job = job
    run.save(update_fields=["job"])
    frozen = str(version.pk) if version is not None else ""
    audit.record(actor, "run.started", run, dataset=str(dataset.pk), version=frozen, trigger=trigger)
    return run


def adopt_job(*, run: TrainingRun, job: Job) -> None:
    """A retried job takes the place of the one before."""
    if run.job_id != job.pk:
        run.job = job
        run.save(update_fields=["job"])


@transaction.atomic
def confirm_champion(*, actor: Actor, version: ModelVersion, reason: str = "") -> ChampionChange | None:
    """Make the version serve. Raises ChangeRefused when it failed the gate or is retired. None: it was already."""
    model = Model.objects.select_for_update().get(pk=version.model_id)
    if not version.gate_passed:
        raise ChangeRefused("gate-failed", _("This version did not pass the gate, so it cannot serve."))
    if version.retired_at is not None:
        raise ChangeRefused("retired", _("This version is retired, so it cannot serve."))
    if model.champion_id == version.pk:
        return None
    return _change(actor, model, version, "confirm", reason)


def _change(actor: Actor, model: Model, version: ModelVersion, kind: str, reason: str) -> ChampionChange:
    change = ChampionChange.objects.create(
        model=model,
        version=version,
        previous_id=model.champion_id,
        kind=kind,
        reason=reason[:300],
        changed_by=actor.user,
    )
    action = "champion.confirmed" if kind == "confirm" else "champion.rolled_back"
    previous = str(model.champion_id or "")
    model.champion = version
    model.save(update_fields=["champion"])
    audit.record(actor, action, version, model=str(model.pk), previous=previous, reason_given=bool(reason))
    _tell(model)
    return change


def _tell(model: Model) -> None:
    transaction.on_commit(lambda: model_changed.send_robust(Model, model=model), robust=True)


def before_champion(model: Model) -> ModelVersion | None:
    """What rolling back would bring back: the champion confirmed before this one that can still serve."""
    stack: list[ModelVersion] = []
    for change in (
        model.champion_changes.select_related("version")
        .defer(*(f"version__{n}" for n in HEAVY))
        .order_by("pk")
    ):
        while change.kind == "rollback" and stack and change.version in stack and stack[-1] != change.version:
            stack.pop()
        if not stack or stack[-1] != change.version:
            stack.append(change.version)
    return next((v for v in reversed(stack[:-1]) if can_serve(v) and v.pk != model.champion_id), None)


@transaction.atomic
def roll_back(*, actor: Actor, model: Model, reason: str = "", to: str | None = None) -> ChampionChange:
    """Bring back the champion before this one. Raises ChangeRefused when there is none.

    `to`: the version that the person was offered; refused when rolling back would bring back another one by now.
    """
    model = Model.objects.select_for_update().get(pk=model.pk)
    version = before_champion(model)
    if version is None:
        raise ChangeRefused("no-previous", _("There is no earlier champion that could serve again."))
    if to is not None and to != str(version.pk):
        raise ChangeRefused(
            "champion-changed",
            _("The champion has changed since you opened the page, so nothing was rolled back. Look again."),
        )
    return _change(actor, model, version, "rollback", reason)


def tells_data_set(name: str, model: Model) -> bool:
    """Whether the name holds that of the data set, and is not just what the model tells."""
    dataset = model.dataset.name.casefold()
    return dataset in name.casefold() and dataset not in model.target.casefold()


@transaction.atomic
def publish(*, actor: Actor, model: Model, name: str = "") -> Model:
    """Let all organisations see and use the model's champion, under a new name if one is given.

    Raises ChangeRefused when it has no champion ("no-champion"), or when its name would tell others what the data set is
    called ("name-tells-data-set"): a new model is named after it, and not even its existence is anybody else's business.
    """
    model = Model.objects.select_for_update(of=("self",)).select_related("dataset").get(pk=model.pk)
    if model.champion_id is None:
        raise ChangeRefused(
            "no-champion", _("Confirm a champion first: only a model with a champion can be published.")
        )
    name = name.strip() or model.name
    if tells_data_set(name, model):
        raise ChangeRefused(
            "name-tells-data-set",
            _("All organisations would see the data set's name in “%(name)s”. Give the model a name without it.")
            % {"name": name},
        )
    if model.published_at is None:
        model.published_at, model.published_by, model.name = timezone.now(), actor.user, name
        model.save(update_fields=["published_at", "published_by", "name"])
        audit.record(actor, "model.published", model, champion=str(model.champion_id))
        _tell(model)
    return model


@transaction.atomic
def unpublish(*, actor: Actor, model: Model) -> Model:
    """Make the model private again. Diagnoses that others have made keep naming it."""
    model = Model.objects.select_for_update().get(pk=model.pk)
    if model.published_at is not None:
        model.published_at = model.published_by = None
        model.save(update_fields=["published_at", "published_by"])
        audit.record(actor, "model.unpublished", model)
        _tell(model)
    return model


@transaction.atomic
def set_nightly(*, actor: Actor, model: Model, nightly: bool) -> Model:
    """Whether the model is retrained every night when there are new records."""
    if model.nightly != nightly:
        model.nightly = nightly
        model.save(update_fields=["nightly"])
        audit.record(actor, "model.changed", model, nightly=nightly)
    return model


def nightly_run(
    *, actor: Actor, model: Model, recipe_options: dict[str, Any], day: date
) -> TrainingRun | None:
    """The model's run of that night; None when it has had one."""
    if TrainingRun.objects.filter(
        dataset=model.dataset_id, target=model.target, trigger="nightly", trigger_day=day
    ).exists():
        return None
    try:
        return start_run(
            actor=actor,
            dataset=model.dataset,
            target=model.target,
            options=recipe_options,
            trigger="nightly",
            day=day,
        )
    except IntegrityError:
        return None
