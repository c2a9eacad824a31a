"""Which model fits what a person said matters, why, and for each other one why not.

score = Σ weight × goodness(worse end of the 95% interval) / Σ weight, over the metrics of the model's task.
goodness: shares (0..1, higher is better) as they are; r2 is cut at 0; errors with an upper bound U: 1 - error / U;
errors without one: 1 / (1 + error). An undefined metric counts as 0. Floors are held against the same worse end, so that
a floor of 0.95 means that the model very likely has it, not that it once measured so.
"""

from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import choices
from accounts.models import Organisation, Preference, User
from accounts.notifications import notify
from training import metrics, queries
from training.models import Model, ModelVersion, Recommendation

MOST_VERSIONS = 200  # looked at, the newest first
MOST_EXPLAINED = 20  # of the others, the best first


@dataclass(frozen=True)
class Scored:
    """A version with its score, and the floors that it misses: [{metric, floor, end, n}]."""

    version: ModelVersion
    score: float
    missed: list[dict[str, Any]]
    shortfall: float


def known_outcomes(organisation: Organisation | None) -> list[tuple[str, str]]:
    """(value, label) of what published models and the organisation's own predict, for the registration's form."""
    models = (
        queries.visible_models(organisation)
        if organisation
        else Model.objects.filter(published_at__isnull=False)
    )
    found: dict[str, str] = {}
    for target, name in (
        models.filter(champion__isnull=False).order_by("target", "name").values_list("target", "name")
    ):
        found.setdefault(target, _("%(target)s (%(model)s)") % {"target": target, "model": name})
    return list(found.items())


def metric_choices() -> list[dict[str, Any]]:
    """The metrics that can be weighed and given floors, for the registration's form."""
    return [
        {"name": m.name, "label": metrics.label(m.name), "better": m.better, "low": m.lower, "high": m.upper,
         "description": metrics.meaning(m.name), "numeric": "regression" in m.tasks}
        for m in metrics.known().values()
    ]  # fmt: skip


def goodness(name: str, metric: dict[str, Any] | None) -> float:
    """The worse end of the interval on a scale from 0 (worst) to 1 (best); 0 when it is not defined."""
    end, spec = metrics.pessimistic(name, metric), metrics.known().get(name)
    if end is None or spec is None:
        return 0.0
    if spec.better == "higher":
        return min(1.0, max(0.0, end))
    if spec.upper is not None:
        return float(min(1.0, max(0.0, 1.0 - end / spec.upper)))
    return float(1.0 / (1.0 + max(0.0, end)))


def score(version: ModelVersion, weights: dict[str, float], floors: dict[str, float]) -> Scored | None:
    """The version's score; None when none of the weighed metrics belongs to its task."""
    own = metrics.names_of(version.model.task)
    counted = {name: w for name, w in weights.items() if name in own and w > 0}
    if not counted:
        return None
    total = sum(counted.values())
    value = sum(w * goodness(name, version.metrics.get(name)) for name, w in counted.items()) / total
    missed: list[dict[str, Any]] = []
    shortfall = 0.0
    for name, floor in sorted(floors.items()):
        end = metrics.pessimistic(name, version.metrics.get(name))
        if name in own and not metrics.reaches(name, end, floor):
            n = (version.metrics.get(name) or {}).get("n")
            missed.append({"metric": name, "floor": floor, "end": end, "n": n})
            shortfall += 1.0 if end is None else abs(floor - end) / max(abs(floor), 1e-9)
    return Scored(version, value, missed, shortfall)


def matches(model: Model, outcome: str) -> bool:
    """Whether a model answers the outcome of interest: by its id, its target or its name; an empty outcome is any."""
    wanted, target, name = outcome.strip().casefold(), model.target.casefold(), model.name.casefold()
    if not wanted or wanted in (str(model.pk), target):
        return True
    return len(wanted) >= 3 and (
        wanted in name or wanted in target or (len(target) >= 3 and target in wanted)
    )


def versions_for(organisation: Organisation, outcome: str) -> list[ModelVersion]:
    """What could be recommended: own versions that may serve, and the champions of others' published models."""
    rows = (
        queries.visible_versions(organisation)
        .filter(gate_passed=True, retired_at=None)
        .filter(Q(model__organisation=organisation) | Q(pk=F("model__champion")))
        .defer(*queries.HEAVY)
        .select_related("model")
        .order_by("-created_at")[:MOST_VERSIONS]
    )
    return [v for v in rows if matches(v.model, outcome)]


def preferences(organisation: Organisation, user: User) -> tuple[str, dict[str, float], dict[str, float]]:
    """(outcome, weights, floors); who has not chosen has the weights that their preferences page shows."""
    row = Preference.objects.filter(organisation=organisation, user=user).first()
    weights = {k: float(v) for k, v in (row.weights if row else {}).items() if v > 0} or choices.default_weights()
    return (row.outcome if row else "", weights, dict(row.floors) if row else {})


def compute(organisation: Organisation, user: User) -> Recommendation:
    """What would be recommended now; not saved, nobody is told."""
    outcome, weights, floors = preferences(organisation, user)
    scored = [s for v in versions_for(organisation, outcome) if (s := score(v, weights, floors)) is not None]
    fitting = sorted((s for s in scored if not s.missed), key=lambda s: (-s.score, -s.version.number))
    failing = sorted((s for s in scored if s.missed), key=lambda s: (s.shortfall, -s.score))
    best = fitting[0] if fitting else None
    nearest = failing[0] if failing and best is None else None
    return Recommendation(
        organisation=organisation, user=user, outcome=outcome, weights=weights, floors=floors,
        version=best.version if best else None, nearest=nearest.version if nearest else None,
        reasons=explain(best, nearest, [*fitting, *failing], weights),
    )  # fmt: skip


def last_of(organisation: Organisation, user: User) -> Recommendation | None:
    """The last one that was kept."""
    rows: Any = Recommendation.objects.for_organisation(organisation).filter(user=user)
    found: Recommendation | None = (
        rows.select_related("version__model", "nearest__model").order_by("-pk").first()
    )
    return found


def current(organisation: Organisation, user: User) -> Recommendation:
    """What is recommended now, for reading: the kept one when it still holds, else an unsaved one."""
    made, last = compute(organisation, user), last_of(organisation, user)
    if last is not None and same(last, made):
        return last
    made.created_at = timezone.now()
    return made


def recommend(*, organisation: Organisation, user: User) -> Recommendation:
    """Make the recommendation; the last one is returned when nothing has changed. A new best version is notified."""
    made, last = compute(organisation, user), last_of(organisation, user)
    if last is not None and same(last, made):
        return last
    made.save()
    tell(last, made)
    return made


def same(last: Recommendation, made: Recommendation) -> bool:
    """Whether nothing has changed since the last one."""
    names = ("outcome", "weights", "floors", "version_id", "nearest_id", "reasons")
    return all(getattr(last, name) == getattr(made, name) for name in names)


def explain(
    best: Scored | None, nearest: Scored | None, everyone: list[Scored], weights: dict[str, float]
) -> dict[str, Any]:
    """JSON: why this one, and why not the others, as codes and numbers that are worded when they are shown."""
    chosen = best or nearest
    if chosen is None:
        return {"state": "none", "why": [], "missed": [], "score": None, "others": []}
    own = metrics.names_of(chosen.version.model.task)
    why = [
        {"metric": name, "weight": w, "end": metrics.pessimistic(name, chosen.version.metrics.get(name))}
        for name, w in sorted(weights.items(), key=lambda item: -item[1])
        if name in own
    ]
    others = [why_not(s, chosen, best is not None) for s in everyone if s is not chosen][:MOST_EXPLAINED]
    return {
        "state": "best" if best else "nearest", "why": why, "missed": chosen.missed, "score": round(chosen.score, 6),
        "others": others,
    }  # fmt: skip


def why_not(other: Scored, chosen: Scored, reached: bool) -> dict[str, Any]:
    """One other version: which floors it misses, or by how much its score is lower."""
    code = "floors" if other.missed else "score"
    if not reached and other.missed:
        code = "further"
    v = other.version
    return {
        "version": str(v.pk), "number": v.number, "model": v.model.name, "candidate": v.candidate, "code": code,
        "score": round(other.score, 6), "behind": round(chosen.score - other.score, 6), "missed": other.missed,
    }  # fmt: skip


def missed_text(missed: dict[str, Any]) -> str:
    """One missed floor in words."""
    wanted = metrics.floor_text(missed["metric"], missed["floor"])
    if missed["end"] is None:
        return _("You want %(wanted)s, but it could not be measured.") % {"wanted": wanted}
    return _("You want %(wanted)s; the worse end of its 95%% interval is %(end).3f.") % {
        "wanted": wanted,
        "end": missed["end"],
    }


def other_text(other: dict[str, Any]) -> str:
    """Why not this one, in words."""
    if other["code"] == "score":
        return _("It reaches your floors, but its score %(score).3f is %(behind).3f lower.") % other
    return " ".join(missed_text(m) for m in other["missed"])


def tell(last: Recommendation | None, made: Recommendation) -> None:
    """Notify when another version is recommended, or the recommended one is so no longer."""
    before = (last.version_id, last.nearest_id) if last else (None, None)
    if (made.version_id, made.nearest_id) == before:
        return
    notify(
        organisation=made.organisation, users=[made.user], key=f"recommendation:{made.pk}", title=lambda: told(made)[0],
        body=lambda: told(made)[1], url=reverse("training:recommendation"), level="info",
    )  # fmt: skip


def told(made: Recommendation) -> tuple[str, str]:
    """(title, body) of the notification, in the language that is active."""
    chosen = made.version or made.nearest
    if chosen is None:
        return _("No model matches what you are looking for any more"), ""
    what = {"model": chosen.model.name, "number": chosen.number}
    if made.version is not None:
        return _("Recommended for you: %(model)s, version %(number)d") % what, _(
            "It fits best what you said matters, judged by the worse end of each 95% interval. The page says why."
        )
    return (
        _("No model reaches your floors yet"),
        _("The nearest is %(model)s, version %(number)d. The page says what is missing.") % what,
    )


def remake_for(organisations: Any = None) -> int:
    """Make the recommendation of everyone with preferences again (of these organisations only, when given)."""
    rows = Preference.objects.filter(user__memberships__organisation=F("organisation")).select_related(
        "organisation", "user"
    )
    if organisations is not None:
        rows = rows.filter(organisation__in=organisations)
    count = 0
    for row in rows.distinct():
        recommend(organisation=row.organisation, user=row.user)
        count += 1
    return count
