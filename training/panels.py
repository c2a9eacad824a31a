"""What a data set's page shows of training: its models, and how many records are new since the champion learned."""

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from accounts.actor import actor_of
from accounts.permissions import Permission
from datasets.models import Dataset
from training.models import Model, TrainingRun


def new_since(dataset: Dataset, run: TrainingRun) -> int:
    """Records that came after the run's data were frozen.

    From the counters, which do not grow slower with the data: what is there now, less what of the frozen is still there.
    """
    version = run.frozen
    return max(0, dataset.record_count - (version.record_count - version.erased_count))


def new_in_test(dataset: Dataset, run: TrainingRun, new: int) -> int | None:
    """How many of the new ones were dealt to the locked test; None where erasures since have made the counters unsure."""
    version = run.frozen
    if version.erased_count:
        return None
    return min(new, max(0, dataset.test_count - version.test_count))


def line_of(model: Model, dataset: Dataset) -> dict[str, Any]:
    """A model with what is new since its champion learned."""
    if model.champion is None:
        return {"model": model, "new": None}
    new = new_since(dataset, model.champion.run)
    test = new_in_test(dataset, model.champion.run, new)
    return {"model": model, "new": new, "test": test, "train": None if test is None else new - test}


def dataset_panel(request: HttpRequest, dataset: Dataset) -> SafeString | str:
    """Registered with datasets.panels."""
    actor = actor_of(request)
    if not actor.may(Permission.VIEW_MODELS):
        return ""
    models = Model.objects.for_organisation(actor.organisation).filter(dataset=dataset)
    lines = [
        line_of(m, dataset)
        for m in models.select_related("champion__run__version").defer(
            "champion__report", "champion__schema"
        )[:10]
    ]
    runs = (
        TrainingRun.objects.for_organisation(actor.organisation)
        .filter(dataset=dataset)
        .select_related("job")[:3]
    )
    return render_to_string(
        "training/_dataset_panel.html", {"dataset": dataset, "lines": lines, "runs": runs}, request=request
    )
