"""Real rows for the tests of data sets: breast cancer patients of the Wisconsin study, from scikit-learn."""

from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer

from datasets.models import Dataset, Record
from datasets.records import add_records
from datasets.services import create_dataset
from tests.conftest import actor
from tests.datasets.tus_calls import TABLE, Tus

NAMES = ["mean radius", "mean texture", "mean smoothness"]
COLUMNS: list[dict[str, Any]] = [
    {"name": "mrn", "kind": "category", "role": "patient"},
    *({"name": name, "kind": "number"} for name in NAMES),
    {"name": "diagnosis", "kind": "category", "role": "target"},
]


def rows(count: int = 120) -> list[dict[str, Any]]:
    """Real patients; every tenth one has two rows."""
    data = load_breast_cancer(as_frame=True)
    frame = data.frame[NAMES].head(count)
    return [
        {
            "mrn": f"P{i - 1 if i % 10 == 9 else i:04d}",
            **{n: float(frame[n].iloc[i]) for n in NAMES},
            "diagnosis": str(data.target_names[data.target.iloc[i]]),
        }
        for i in range(count)
    ]


@pytest.fixture
def cancer(dana: Any) -> Dataset:
    """120 records of 108 patients, added through the service."""
    who = actor(dana)
    dataset = create_dataset(actor=who, name="Breast cancer", columns=COLUMNS)
    add_records(actor=who, dataset=dataset, rows=rows(), source=Record.Source.API)
    dataset.refresh_from_db()
    return dataset


@pytest.fixture
def tus(dana: Any, api_of: Any) -> Tus:
    """Dana, over a key."""
    return Tus(api_of(dana))


@pytest.fixture
def half(tus: Tus) -> str:
    """The address of a transfer of TABLE, of which 100 bytes are here."""
    address = str(tus.begin(len(TABLE)).headers["Location"])
    assert tus.piece(address, 0, TABLE[:100]).status_code == 204
    return address
