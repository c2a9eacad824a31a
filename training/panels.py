"""What a data set's page shows of training: its models, and how many records are new since the champion learned."""

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


def dataset_panel(request: HttpRequest, dataset: Dataset) -> SafeString | str:
    """Registered with datasets.panels."""
    actor = actor_of(request)
    if not actor.may(Permission.VIEW_MODELS):
        return ""
    models = Model.objects.for_organisation(actor.organisation).filter(dataset=dataset)
    lines = [
        {"model": m, "new": new_since(dataset, m.champion.run) if m.champion else None}
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
