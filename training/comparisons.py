"""Paired tests of versions on the test records that both were judged on; each is computed once and kept."""

from typing import Any

from training import artefacts
from training.models import ModelVersion, PairedTest

SEED = 0
FEWEST_SHARED = 10
MOST_SHARED = 20_000  # of more, evenly spaced ones are compared: the intervals are narrow by then
FEWEST_RESAMPLES, MOST_RESAMPLES, MOST_CELLS = 200, 2000, 4_000_000  # records times resamples


def shared(a: dict[str, Any], b: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], int] | None:
    """The two predictions cut to the records that both have, in the same order; None when they are too few.

    A record whose label has been corrected between the two counts for neither.
    """
    if a["report"].get("classes") != b["report"].get("classes"):
        return None
    where = {record: i for i, record in enumerate(b["records"])}
    pairs = [(i, where[r]) for i, r in enumerate(a["records"]) if r in where]
    pairs = [(i, j) for i, j in pairs if a["report"]["true"][i] == b["report"]["true"][j]]
    if len(pairs) < FEWEST_SHARED:
        return None
    pairs = pairs[:: -(-len(pairs) // MOST_SHARED)]
    first, second = [i for i, _ in pairs], [j for _, j in pairs]
    return cut(a["report"], first), cut(b["report"], second), len(pairs)


def cut(report: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """A report's predictions of some rows."""
    per_row = ("true", "patient", "decided", "probabilities")
    return {k: [v[i] for i in rows] if k in per_row else v for k, v in report.items()}


def compare(
    first: ModelVersion, second: ModelVersion, metric: str, loaded: dict[Any, Any] | None = None
) -> PairedTest | None:
    """The kept test of first minus second, made when it is missing. None: they share too few test records."""
    kept: PairedTest | None = PairedTest.objects.filter(first=first, second=second, metric=metric).first()
    if kept is not None:
        return kept
    loaded = {} if loaded is None else loaded
    for version in (first, second):
        if version.pk not in loaded:
            loaded[version.pk] = artefacts.predictions(version)
    if not loaded[first.pk] or not loaded[second.pk]:
        return None
    both = shared(loaded[first.pk], loaded[second.pk])
    if both is None:
        return None
    return _test(first, second, metric, *both)


def _test(
    first: ModelVersion, second: ModelVersion, metric: str, a: dict[str, Any], b: dict[str, Any], records: int
) -> PairedTest | None:
    import engine

    try:
        resampled = max(FEWEST_RESAMPLES, min(MOST_RESAMPLES, MOST_CELLS // records))
        found = engine.compare(a, b, metric, seed=SEED, resampled=resampled)
    except engine.EngineError:
        return None
    test, _created = PairedTest.objects.get_or_create(
        first=first, second=second, metric=metric, defaults={**found, "records": records}
    )
    return test


def separates(test: PairedTest | None) -> bool | None:
    """Whether the 95% interval of the difference leaves out zero; None when it cannot be told."""
    if test is None or test.low is None or test.high is None:
        return None
    return test.low > 0 or test.high < 0
