"""What people hand to the SDK, and how reports print."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ai_mass as am
from ai_mass import data
from ai_mass.progress import Progress, seconds_text
from ai_mass.report import Metrics


def test_a_path_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_bytes(b"a,b\n1,2\n")
    name, stream = data.as_upload(str(path))
    with stream:
        assert (name, stream.read()) == ("patients.csv", b"a,b\n1,2\n")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(am.AIMassError, match=r"nowhere\.csv"):
        data.as_upload(tmp_path / "nowhere.csv")


def test_a_data_frame_becomes_csv_without_its_index() -> None:
    name, stream = data.as_upload(pd.DataFrame({"age": [63, None], "note": ["a,b", "胸痛"]}, index=[7, 9]))
    assert name == "data.csv"
    assert stream.read().decode() == 'age,note\n63.0,"a,b"\n,胸痛\n'


def test_dictionaries_with_different_keys_become_one_table() -> None:
    _name, stream = data.as_upload([{"age": 63}, {"age": 50, "sex": "f"}])
    assert stream.read().decode().splitlines() == ["age,sex", "63,", "50,f"]


def test_records_are_plain_json_values() -> None:
    frame = pd.DataFrame(
        {"age": np.array([63, 50]), "chol": [np.nan, 1.5], "seen": pd.to_datetime(["2026-01-02", None])}
    )
    assert data.as_records(frame) == [
        {"age": 63, "chol": None, "seen": "2026-01-02T00:00:00"},
        {"age": 50, "chol": 1.5, "seen": None},
    ]
    assert data.as_records(["chest pain", {"when": date(2026, 1, 2)}]) == [
        "chest pain",
        {"when": "2026-01-02"},
    ]


def test_an_input_of_another_sort_is_named_by_its_place() -> None:
    with pytest.raises(am.AIMassError, match="Input 1 is int"):
        data.as_records(["text", 5])


@pytest.mark.parametrize("value", [float("inf"), np.float64("-inf"), b"x", {1, 2}], ids=repr)
def test_a_value_that_json_cannot_carry_is_named_by_its_place_and_column(value: Any) -> None:
    with pytest.raises(am.AIMassError, match="Input 1, “age” is"):
        data.as_records([{"age": 63}, {"age": value}])


def test_metrics_print_with_interval_and_n() -> None:
    metrics = Metrics({
        "roc_auc": {"value": 0.9, "low": 0.85, "high": 0.94, "n": 184},
        "pr_auc": {"value": None, "low": None, "high": None, "n": 0, "reason": "only one class"},
    })  # fmt: skip
    lines = [line.split("  ") for line in metrics.text().splitlines()]
    assert [part.strip() for part in lines[2] if part] == ["roc_auc", "0.900", "0.850 – 0.940", "184"]
    assert [part.strip() for part in lines[3] if part] == ["pr_auc", "undefined", "only one class", "0"]


def test_a_report_shows_the_confusion_matrix() -> None:
    report = am.Report({
        "model_version": {"name": "Heart v3"},
        "report": {
            "n_records": 10, "n_patients": 9, "metrics": {"accuracy": {"value": 0.9, "low": 0.7, "high": 1.0, "n": 10}},
            "confusion": {"classes": ["absent", "present"], "counts": [[4, 1], [0, 5]]},
        },
    })  # fmt: skip
    text = str(report)
    assert "Heart v3 on 10 records of 9 patients" in text
    assert "present" in text.splitlines()[-1] and text.splitlines()[-1].split()[-2:] == ["0", "5"]
    assert report["accuracy"] == 0.9


def test_progress_in_a_log_is_one_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    progress = Progress("Training Heart", stream=sys.stderr)
    progress.show(0.1, "linear")
    progress.show(0.2, "linear")
    progress.show(0.5, "boosting", 65)
    progress.close("done")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["Training Heart: 10% linear", "Training Heart: 50% boosting"]
    assert lines[2].startswith("Training Heart: done")


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (4.6, "5 s"), (125, "2 min 5 s"), (-3, "0 s")])
def test_time_left_in_words(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


def test_the_package_stands_alone() -> None:
    """Importing it needs httpx and nothing of the portal."""
    import subprocess
    import sys

    portal = {"django", "torch", "pandas", "engine", "aimass_site"}
    code = f"import sys, ai_mass; print([m for m in sys.modules if m.split('.')[0] in {portal}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
