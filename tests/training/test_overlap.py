"""Scoring records that the model has learned from says so, and tells outsiders nothing of whom it learned from."""

from typing import Any

import pytest

from ai_mass.report import Report
from datasets.models import Record
from tests.training.conftest import COLUMNS


def rows_of(dataset: Any, split: str, count: int) -> list[dict[str, Any]]:
    rows = Record.objects.filter(dataset=dataset, split=split).order_by("id")[:count]
    return [{name: row.values[name] for name in (*COLUMNS, "finding")} for row in rows]


@pytest.fixture
def score(api_of: Any, version: Any) -> Any:
    def go(user: Any, rows: list[dict[str, Any]]) -> Any:
        answer = api_of(user).post(f"/api/v1/model-versions/{version.pk}/evaluate/", {"records": rows})
        assert answer.status_code == 200, answer.content
        return answer.json()

    return go


def test_it_counts_the_training_records_and_not_the_locked_ones(dataset: Any, dana: Any, score: Any) -> None:
    learned, locked = rows_of(dataset, "train", 25), rows_of(dataset, "test", 40)
    answer = score(dana, learned + locked)
    assert answer["report"]["seen_in_training"] == 25
    assert "learned from 25 of these 65 records" in str(Report(answer))
    assert score(dana, locked)["report"]["seen_in_training"] == 0


def test_the_same_values_written_otherwise_are_recognised(dataset: Any, dana: Any, score: Any) -> None:
    as_text = [{name: f" {value} " for name, value in row.items()} for row in rows_of(dataset, "train", 30)]
    assert score(dana, as_text)["report"]["seen_in_training"] == 30
    for row in as_text:
        row["finding"] = "benign" if "malignant" in row["finding"] else "malignant"
    assert score(dana, as_text)["report"]["seen_in_training"] == 0


def test_outsiders_do_not_learn_whom_a_published_model_has_seen(
    dataset: Any, version: Any, dana: Any, charlie: Any, score: Any
) -> None:
    from tests.conftest import actor
    from training.services import confirm_champion, publish

    confirm_champion(actor=actor(dana), version=version)
    publish(actor=actor(dana), model=version.model, name="Narrowing")
    assert score(charlie, rows_of(dataset, "train", 30))["report"]["seen_in_training"] is None
