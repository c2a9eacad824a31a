"""The nightly retraining: the same recipe with the current data, only when new records have arrived, once a night."""

import logging
from datetime import date
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.actor import Actor
from accounts.notifications import notify
from accounts.permissions import Permission
from jobs.traces import describe
from training import erasure, panels, problems, queries, recipes
from training.errors import RunRefused
from training.models import Model, TrainingRun
from training.services import nightly_run

logger = logging.getLogger(__name__)


def retrain_all(day: date | None = None) -> int:
    """Start what is due. One model's failure never keeps the others from their run."""
    day = day or timezone.localdate()
    started = 0
    erasure.forget_leftovers()
    models = Model.objects.filter(nightly=True, dataset__archived_at=None).select_related(
        "dataset", "organisation"
    )
    for model in models.iterator():
        try:
            started += retrain(model, day) is not None
        except Exception as error:  # its message may quote a patient's value: type and frames alone are logged
            logger.error("Nightly retraining of model %s could not be started:\n%s", model.pk, describe(error))
    return started


def retrain(model: Model, day: date) -> TrainingRun | None:
    """The model's run of this night; None when nothing is new, or it has had one."""
    last = queries.last_run(model)
    if last is None or new_records(model, last) == 0:
        return None
    actor = Actor(organisation=model.organisation)
    try:
        return nightly_run(actor=actor, model=model, recipe_options=options_of(last), day=day)
    except RunRefused as refused:
        tell_refused(model, day, refused)
        return None


def new_records(model: Model, last: TrainingRun) -> int:
    """How many records have come since the last run's data were frozen."""
    return panels.new_since(model.dataset, last)


def options_of(run: TrainingRun) -> dict[str, Any]:
    """The person's options within a recipe; what follows from the columns is resolved again."""
    names = {c.name for c in run.dataset.columns.all()}
    options = {k: v for k, v in run.recipe.items() if k in recipes.OPTIONS}
    options["ignore"] = [n for n in options.get("ignore", []) if n in names]
    return options


def tell_refused(model: Model, day: date, refused: RunRefused) -> None:
    """Those who train learn why the model was not retrained."""
    from training.settling import holders

    notify(
        organisation=model.organisation,
        users=holders(model.organisation, Permission.TRAIN),
        key=f"nightly-refused:{model.pk}:{day}",
        title=lambda: _("%(model)s was not retrained tonight") % {"model": model.name},
        body=lambda: "\n".join(problems.retold(p)["message"] for p in refused.problems),
        url=reverse("training:model", args=[model.pk]),
        level="warning",
    )
