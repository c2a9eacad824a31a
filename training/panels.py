"""What a data set's page shows of training: its models, and how many records are new since the champion learned."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from accounts.actor import actor_of
from accounts.permissions import Permission
from datasets.models import Dataset, Record
from training.models import Model, TrainingRun


def new_since(dataset: Dataset, run: TrainingRun) -> int:
    """Records that came after the run's data were frozen."""
    return Record.objects.filter(dataset=dataset, created_at__gt=run.frozen.created_at).count()


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
