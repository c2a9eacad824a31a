"""A real data set (breast cancer, 569 patients), runs on it, and versions without a run for what needs only rows."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.conftest import actor

COLUMNS = ("mean radius", "mean texture", "mean smoothness", "worst concavity", "worst symmetry")
QUICK = {"candidates": ["linear"], "time_budget": 1.0, "scaling": "zscore", "normalisation": "none", "imputation": "median",
         "outliers": "none", "feature_selection": "none"}  # fmt: skip


@cache
def patients() -> tuple[dict[str, Any], ...]:
    """What is known of each patient: some columns, and the finding in words."""
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    findings = frame["target"].map({0: "malignant", 1: "benign"})
    rows = frame[list(COLUMNS)].to_dict("records")
    return tuple({**row, "finding": finding} for row, finding in zip(rows, findings, strict=True))


def make_dataset(
    user: Any, name: str = "Breast cancer", rows: int = 569, labels: Callable[[int, str], Any] | None = None
) -> Any:
    """The data set with its records, dealt into the locked split as an upload would."""
    from datasets import records, services

    columns = [{"name": "mrn", "kind": "category", "role": "patient"}]
    columns += [{"name": c, "kind": "number", "role": "feature"} for c in COLUMNS]
    columns += [{"name": "finding", "kind": "category", "role": "target"}]
    dataset = services.create_dataset(actor=actor(user), name=name, columns=columns)
    values = []
    for i, row in enumerate(patients()[:rows]):
        finding = labels(i, row["finding"]) if labels else row["finding"]
        values.append({"mrn": f"p{i:04d}", **row, "finding": finding})
    for start in range(0, len(values), 500):
        records.add_records(
            actor=actor(user), dataset=dataset, rows=values[start : start + 500], source="api"
        )
    dataset.refresh_from_db()
    return dataset


@pytest.fixture
def dataset(dana: Any) -> Any:
    return make_dataset(dana)


@pytest.fixture
def train(dana: Any, run_jobs: Any, django_capture_on_commit_callbacks: Any) -> Callable[..., Any]:
    """`train(dataset, **options)`: a finished run, through the queue's own entry point."""
    from training.services import start_run

    def go(dataset: Any, user: Any = None, **options: Any) -> Any:
        run = start_run(actor=actor(user or dana), dataset=dataset, options={**QUICK, **options})
        run_jobs()
        run.refresh_from_db()
        return run

    return go


@pytest.fixture
def run(dataset: Any, train: Any) -> Any:
    return train(dataset)


@pytest.fixture
def version(run: Any) -> Any:
    return run.versions.select_related("model").get(chosen=True)
