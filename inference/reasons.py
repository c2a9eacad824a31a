"""What spoke for and against: asked of the engine when somebody looks, always the same for the same diagnosis."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.utils.translation import gettext as _

from accounts.models import Organisation
from datasets.cells.folder import at_hand
from inference import serving
from inference.errors import DiagnosisRefused
from inference.models import Diagnosis
from inference.predictions import finite
from training.models import ModelVersion

CACHE_SECONDS = 3600
MOST_REGIONS = 512  # of one file


class NoReasons(DiagnosisRefused):
    """The inputs are gone, because the patient was erased."""

    def __init__(self) -> None:
        super().__init__("erased", _("This patient was erased; the reasons went with the values."))


def cache_name(diagnosis_id: UUID) -> str:
    return f"reasons:{diagnosis_id}"


def reasons_for(diagnosis: Diagnosis) -> dict[str, Any]:
    """{explained, base, score, unit, contributions: [{column, value, contribution, direction, words: [[term, weight]]}],
    regions: {column of files: where in the file (engine.regions)}}.

    Contributions are log odds of the decided class (units of the target for regression); the strongest come first.
    Raises ModelUnavailable and NoReasons.
    """
    if diagnosis.erased_at is not None:
        raise NoReasons()
    held: dict[str, Any] | None = cache.get(cache_name(diagnosis.pk))
    if held is None:
        held = explain(diagnosis.organisation, diagnosis.model_version, [diagnosis.inputs], [diagnosis.value])[0]
        cache.set(cache_name(diagnosis.pk), held, CACHE_SECONDS)
    return held


def explain(
    organisation: Organisation, version: ModelVersion, records: Sequence[dict[str, Any]], values: Sequence[str]
) -> list[dict[str, Any]]:
    """The reasons of several records of one version for their decided `values`; not cached.

    `organisation`: whose the files of the records are.
    """
    import engine

    fitted = serving.fitted_of(version)
    with at_hand(organisation, records, list(serving.servable(version.pk).columns.files)) as ready:
        found = engine.explain(fitted, ready)
    return [_plain(reasons.to_dict(), value) for reasons, value in zip(found, values, strict=True)]


def _plain(data: dict[str, Any], decided: str) -> dict[str, Any]:
    """The engine's reasons, strongest first, as for or against what was decided.

    With two classes the engine explains the positive one; when the other was decided, every sign is turned.
    """
    turned = data["explained"] is not None and data["explained"] != decided
    sign = -1.0 if turned else 1.0
    contributions = [
        {
            "column": c["column"],
            "value": finite(c["value"]),
            "contribution": sign * float(c["contribution"]),
            "direction": "for" if sign * c["contribution"] >= 0 else "against",
            "words": [[term, sign * float(weight)] for term, weight in data["words"].get(c["column"], [])],
        }
        for c in data["contributions"]
    ]
    contributions.sort(key=lambda c: -abs(c["contribution"]))
    return {
        "explained": decided if data["explained"] is not None else None,
        "base": sign * data["base"],
        "score": sign * data["score"],
        "unit": data["unit"],
        "contributions": contributions,
        "regions": {name: _turned(found, sign) for name, found in data.get("regions", {}).items()},
    }


def _turned(regions: dict[str, Any], sign: float) -> dict[str, Any]:
    """Where in a file the reasons lie: {kind, method, axes, regions: [{ranges, contribution}]}, the strongest first."""
    own = [{"ranges": r["ranges"], "contribution": sign * float(r["contribution"])} for r in regions["regions"]]
    return {**regions, "regions": own[:MOST_REGIONS]}
