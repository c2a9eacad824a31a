"""The report's subgroups on the page of a version: one sentence, and a table for who wants it."""

from typing import Any

from django.utils.translation import override

from training import subgroups


def entry(value: float) -> dict[str, Any]:
    return {"roc_auc": {"value": value, "low": value - 0.1, "high": value + 0.05, "n": 90}}


REPORT = {
    "groups": {"sex": {"f": {"n": 90, "patients": 80, "metrics": entry(0.91)},
                       "m": {"n": 90, "patients": 85, "metrics": entry(0.78)},
                       "": {"n": 3, "patients": 3, "metrics": {}, "too_few": 20}}},
    "gaps": [{"column": "sex", "metric": "roc_auc", "best": "f", "worst": "m", "difference": 0.13, "low": 0.02, "high": 0.24,
              "compared": 2}],
}  # fmt: skip


def test_rows_and_the_widest_gap() -> None:
    with override("en"):
        table = subgroups.table(REPORT)
    assert table is not None
    assert [(row["value"], row["too_few"]) for row in table["rows"]] == [("f", False), ("m", False), ("(missing)", True)]
    assert "0.13 [0.02, 0.24]" in table["gap"]
    with override("zh-hans"):
        assert (subgroups.table(REPORT) or {})["gap"].startswith("差距最大的是“sex”")
    assert subgroups.table({"groups": {}, "gaps": []}) is None
    assert subgroups.table({}) is None


def test_the_page_shows_them(version: Any, dana: Any, client_of: Any) -> None:
    page = client_of(dana).get(f"/models/versions/{version.pk}/").content.decode()
    assert "Subgroups" not in page  # this data set has no column to divide by
    version.report |= REPORT
    type(version).objects.filter(pk=version.pk).update(report=version.report)
    page = client_of(dana).get(f"/models/versions/{version.pk}/").content.decode()
    assert "The widest gap is in “sex”" in page
    assert "too few to say" in page
