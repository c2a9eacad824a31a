"""What spoke for and against: asked of the engine when somebody looks, always the same for the same diagnosis."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.utils.translation import gettext as _

from inference import serving
from inference.errors import DiagnosisRefused
from inference.models import Diagnosis
from inference.predictions import finite
from training.models import ModelVersion

CACHE_SECONDS = 3600


class NoReasons(DiagnosisRefused):
    """The inputs are gone, because the patient was erased."""

    def __init__(self) -> None:
        super().__init__("erased", _("This patient was erased; the reasons went with the values."))


def cache_name(diagnosis_id: UUID) -> str:
    return f"reasons:{diagnosis_id}"


def reasons_for(diagnosis: Diagnosis) -> dict[str, Any]:
    """{base, value, unit, contributions: [{column, value, contribution, direction, words: [[term, contribution]]}]}.

    Contributions are log odds of the decided class (units of the target for regression); the strongest come first.
    Raises ModelUnavailable and NoReasons.
    """
    if diagnosis.erased_at is not None:
        raise NoReasons()
    held: dict[str, Any] | None = cache.get(cache_name(diagnosis.pk))
    if held is None:
        held = explain(diagnosis.model_version, [diagnosis.inputs])[0]
        cache.set(cache_name(diagnosis.pk), held, CACHE_SECONDS)
    return held


def explain(version: ModelVersion, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reasons of several records of one version, not cached."""
    import engine

    fitted = serving.fitted_of(version)
    return [_plain(reasons) for reasons in engine.explain(fitted, list(records))]


def _plain(reasons: Any) -> dict[str, Any]:
    """The engine's reasons as JSON, strongest first."""
    data: dict[str, Any] = reasons if isinstance(reasons, dict) else reasons.to_dict()
    contributions = [
        {
            "column": c["column"],
            "value": finite(c.get("value")),
            "contribution": float(c["contribution"]),
            "direction": c["direction"],
            "words": [[term, float(weight)] for term, weight in c.get("words") or []],
        }
        for c in data["contributions"]
    ]
    contributions.sort(key=lambda c: -abs(c["contribution"]))
    return {**{k: v for k, v in data.items() if k != "contributions"}, "contributions": contributions}
