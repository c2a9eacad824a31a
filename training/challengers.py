"""A nightly challenger never replaces the champion by itself: those who may confirm are told when it is better."""

from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.notifications import notify
from accounts.permissions import Permission
from training import comparisons, metrics, queries
from training.models import ModelVersion, TrainingRun


def better_than_champion(version: ModelVersion, metric: str) -> bool:
    """Whether a paired test on the test records of both says so."""
    champion = version.model.champion
    if champion is None or champion.pk == version.pk or not queries.can_serve(version):
        return False
    test = comparisons.compare(version, champion, metric)
    if test is None or test.low is None or test.high is None:
        return False
    return test.low > 0 if metrics.higher_is_better(metric) else test.high < 0


def tell_if_better(run: TrainingRun, versions: list[ModelVersion]) -> None:
    """After any run: tell once when its chosen version beats the champion."""
    from training.settling import holders

    chosen = next((v for v in versions if v.chosen), None)
    metric = run.summary.get("metric")
    if chosen is None or metric not in metrics.known() or not better_than_champion(chosen, metric):
        return
    what = {"version": chosen.number, "model": chosen.model.name}
    notify(
        organisation=run.organisation,
        users=holders(run.organisation, Permission.CONFIRM_MODEL),
        key=f"challenger:{chosen.pk}",
        title=lambda: _("A better version of %(model)s is waiting for you") % what,
        body=lambda: (
            _(
                "Version %(version)d is better than the champion in %(metric)s, by a paired test on the same test records. "
                "The champion keeps serving until you confirm another."
            )
            % {**what, "metric": metrics.label(metric)}
        ),
        url=reverse("training:model", args=[chosen.model_id]),
        level="info",
    )
