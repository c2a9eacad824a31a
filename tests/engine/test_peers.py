"""The comparison with peers: same rows for all, scores as scikit-learn's, a peer that breaks is shown as broken."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from bench.peers import sets
from bench.peers.__main__ import error_of, load_runs, run
from bench.peers.report import report
from bench.peers.scores import paired, scores


def test_splits_are_written_once_and_groups_stay_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame({"x": range(90), "who": [i // 3 for i in range(90)], "target": ["a", "b", "b"] * 30})
    made = sets.DataSet(frame, "classification", group="who")
    monkeypatch.setitem(sets.SETS, "made", ("made", lambda _folder: made))
    folder = sets.split_folder("made", 3, tmp_path)
    train, test = pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv")
    assert len(train) + len(test) == 90 and not set(train["who"]) & set(test["who"])
    monkeypatch.setitem(sets.SETS, "made", ("made", lambda _folder: 1 / 0))  # never made again
    assert sets.split_folder("made", 3, tmp_path) == folder


def test_scores_are_those_of_scikit_learn_whatever_the_order_of_the_classes() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 80)
    truth = [["a", "b", "c"][rng.choice(3, p=row)] for row in p]
    found = scores("classification", truth, p[:, [2, 0, 1]], ["c", "a", "b"])
    assert found["score"] == pytest.approx(roc_auc_score(truth, p, multi_class="ovr"))
    assert found["loss"] == pytest.approx(log_loss(truth, p, labels=["a", "b", "c"]))
    lost = scores("classification", truth, p[:, :2], ["a", "b"])  # a peer that has dropped a class
    assert lost["loss"] > found["loss"]


def test_differences_are_paired_with_students_interval() -> None:
    ours, theirs = {0: 0.8, 1: 0.82, 2: 0.9, 5: 0.1}, {0: 0.79, 1: 0.8, 2: 0.86}
    mean, half, n = paired(ours, theirs)
    interval = stats.ttest_rel([0.8, 0.82, 0.9], [0.79, 0.8, 0.86]).confidence_interval()
    assert (mean - half, mean + half, n) == (pytest.approx(interval.low), pytest.approx(interval.high), 3)


def test_the_error_of_a_broken_peer_is_its_first_line() -> None:
    output = "noise\nTraceback (most recent call last):\n  File x\n    line\nValueError: no Chinese\n\nmore\n"
    assert error_of(output) == "ValueError: no Chinese"
    assert error_of("") == "no message"


@pytest.mark.slow  # two processes that import scikit-learn and fit
def test_a_run_is_measured_and_a_broken_one_is_told(tmp_path: Path) -> None:
    import sys

    folder = sets.split_folder("diabetes", 0, tmp_path)
    key = {
        "set": "diabetes",
        "seed": 0,
        "peer": "linear",
        "budget": 5.0,
        "versions": {},
        "commit": None,
        "python": sys.executable,
    }
    good = run(key, folder, 1, 0)
    assert (
        good["status"] == "done"
        and 0.2 < good["score"] < 0.6
        and good["peak_mb"] > 50
        and good["one_row_ms"] > 0
    )
    (folder / "train.csv").write_text("target\n")
    broken = run({**key, "peer": "boosted"}, folder, 1, 0)
    assert broken["status"] == "broken" and "Error" in broken["error"]
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps(good) + "\n" + json.dumps(broken) + "\n")
    told = report(load_runs(file))
    assert "scikit-learn linear" in told and "broke 1 of 1" in told
