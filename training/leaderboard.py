"""The leaderboard: a model's versions by a metric, with the same rank for those that a paired test cannot separate."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Case, F, FloatField, QuerySet, Value, When
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from accounts.actor import Actor
from accounts.models import Preference
from training import comparisons, metrics, queries
from training.models import Model, ModelVersion, Ranking

TESTED = 30  # the best of each metric are tested in pairs; below them the order is that of the values
PAGE = 20


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard. `rank` is None for a version on which the metric is not defined."""

    version: ModelVersion
    rank: int | None
    tied: bool
    value: float | None
    low: float | None
    high: float | None
    n: int | None

    @property
    def metric(self) -> dict[str, Any]:
        """For components/metric.html."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}

    @property
    def is_champion(self) -> bool:
        """Whether this version serves."""
        return self.version.model.champion_id == self.version.pk


def ordered(model: Model, metric: str) -> QuerySet[ModelVersion]:
    """The model's versions, the best value first, undefined ones last; without their large fields."""
    number = Cast(KeyTextTransform("value", KeyTransform(metric, "metrics")), FloatField())
    # SQLite reads a JSON null as the text "null", which would sort as 0.
    undefined = When(**{f"metrics__{metric}__value": None}, then=Value(None, output_field=FloatField()))
    value = Case(undefined, default=number, output_field=FloatField())
    direction = (
        F("sorting").desc(nulls_last=True)
        if metrics.higher_is_better(metric)
        else F("sorting").asc(nulls_last=True)
    )
    versions = ModelVersion.objects.filter(model=model).annotate(sorting=value).order_by(direction, "-number")
    light: QuerySet[ModelVersion] = versions.defer(*queries.HEAVY).select_related("model")
    return light


def rows(model: Model, metric: str, start: int = 0, count: int = PAGE) -> list[Row]:
    """Some lines of the leaderboard, from `start`."""
    if metric not in metrics.known():
        return []
    ranking = Ranking.objects.filter(model=model, metric=metric).first()
    ranks: dict[str, int] = ranking.ranks if ranking else {}
    shares = list(ranks.values())
    found = []
    for position, version in enumerate(ordered(model, metric)[start : start + count], start + 1):
        measured = version.metrics.get(metric) or {}
        rank = ranks.get(str(version.pk), position) if measured.get("value") is not None else None
        found.append(
            Row(
                version,
                rank,
                shares.count(rank) > 1 if rank else False,
                *(measured.get(k) for k in ("value", "low", "high", "n")),
            )
        )
    return found


def test_sets_differ(model: Model, metric: str) -> bool:
    """Whether the values of the model's versions come from different test records.

    They do when the runs learned from different frozen versions of the data set, or judged a different number.
    """
    if metric not in metrics.known():
        return False
    judged = ModelVersion.objects.filter(model=model).order_by()
    found = judged.values_list("run__version", f"metrics__{metric}__n", f"metrics__{metric}__value")
    return len({(frozen, n) for frozen, n, value in found if value is not None}) > 1


def test_sets_note() -> str:
    """What to bear in mind when `test_sets_differ`."""
    return _(
        "These versions were judged on different test records, because the data set changed between their runs. Each value "
        "and interval comes from the version's own test records, so they are not directly comparable; ranks compare two "
        "versions on the test records that both were judged on, where there are enough of them."
    )


def rebuild(model: Model) -> None:
    """Make the ranks of every metric again; the paired tests made before are kept and used."""
    versions = list(ModelVersion.objects.filter(model=model).defer(*queries.HEAVY).order_by("-number")[:200])
    names = {name for v in versions for name, m in v.metrics.items() if m.get("value") is not None}
    loaded: dict[Any, Any] = {}
    for metric in sorted(names & set(metrics.known())):
        ranks = rank(list(ordered(model, metric)[:TESTED]), metric, loaded)
        Ranking.objects.update_or_create(model=model, metric=metric, defaults={"ranks": ranks})


def rank(versions: list[ModelVersion], metric: str, loaded: dict[Any, Any]) -> dict[str, int]:
    """Standard competition ranks (1, 1, 3): a version shares the rank of the best one above it that it can't be told from.

    Each is tested against the first of the group above it, so that a group never chains further apart than one test.
    """
    ranks: dict[str, int] = {}
    leader: ModelVersion | None = None
    current = 1
    for position, version in enumerate(versions, 1):
        if (version.metrics.get(metric) or {}).get("value") is None:
            continue
        if leader is None or not tied(leader, version, metric, loaded):
            leader, current = version, position
        ranks[str(version.pk)] = current
    return ranks


def tied(leader: ModelVersion, version: ModelVersion, metric: str, loaded: dict[Any, Any]) -> bool:
    """Whether a paired test leaves it open which is better; without shared records, whether their intervals overlap."""
    separate = comparisons.separates(comparisons.compare(leader, version, metric, loaded))
    if separate is not None:
        return not separate
    a, b = leader.metrics[metric], version.metrics[metric]
    if a["value"] == b["value"]:
        return True
    if None in (a.get("low"), a.get("high"), b.get("low"), b.get("high")):
        return False
    return bool(a["low"] <= b["high"] and b["low"] <= a["high"])


def choices(model: Model) -> list[tuple[str, str]]:
    """(name, label) of the metrics that this model can be ordered by."""
    return [(name, metrics.label(name)) for name in metrics.names_of(model.task)]


def default_metric(model: Model, actor: Actor) -> str:
    """What the leaderboard starts with: what weighs most for the person, else the metric that the newest run chose by."""
    chosen = Preference.objects.for_organisation(actor.organisation).filter(user=actor.user).first()
    own = metrics.names_of(model.task)
    weights: dict[str, float] = {name: w for name, w in (chosen.weights if chosen else {}).items() if name in own}
    if weights:
        return max(weights, key=lambda name: weights[name])
    first = model.versions.order_by("-number").values_list("classes", "run__summary").first()
    if first is None:
        return metrics.default_for(model.task, 2)
    metric: str = (first[1] or {}).get("metric", "")
    return metric if metric in metrics.known() else metrics.default_for(model.task, len(first[0]))
