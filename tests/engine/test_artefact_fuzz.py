"""Stored models under attack: whatever is in the folder, it is refused in words, or it is a model; nothing is executed."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import ArtefactError
from tests.engine import tiny
from tests.engine.artefact_attacks import ATTACKS

HOME = Path(__file__).resolve().parents[2]
LIMIT = 1000  # MB of the attacked process
HARMLESS = {"tree_bitset"}  # looked at for categorical splits only, and those are refused


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All attacks on one small model of each candidate, in a process of their own."""
    root = tmp_path_factory.mktemp("attacked")
    models = root / "models"
    models.mkdir()
    for name, task in tiny.PAIRS:
        if task == "classification" or name == "boosting":
            drop = [] if name == "linear" else ["note"]  # one with a text is enough; it makes loading slow
            frame = tiny.table(name, task).drop(columns=drop, errors="ignore")
            kinds = tiny.recipe(name, task).columns
            recipe = tiny.recipe(name, task, columns={c: kind for c, kind in kinds.items() if c not in drop})
            fitted = engine.fit(frame, recipe)
            engine.save(fitted, models / f"{name}-{task}", report={"n": 3})
    command = [sys.executable, "-m", "tests.engine.artefact_attacks", str(models), str(root / "outcomes")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=HOME, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        ended = f"ended with {done.returncode}: {done.stderr[-2000:]}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        ended = "hangs"
    told = [json.loads(line) for line in (root / "outcomes").read_text().splitlines()]
    assert not ended, f"the attack after {told[-1:]} {ended}"
    return told


pytestmark = pytest.mark.slow  # thousands of damaged models are loaded


def test_every_attack_ends_in_an_artefact_error_or_in_a_model(outcomes: list[dict[str, Any]]) -> None:
    wrong = [o for o in outcomes if o["outcome"].startswith("WRONG") or o["outcome"] == "message"]
    assert not wrong, f"{len(wrong)} of {len(outcomes)}, such as {wrong[:5]}"
    assert len(outcomes) > 400


def test_nothing_is_ever_executed(outcomes: list[dict[str, Any]]) -> None:
    assert not [o for o in outcomes if o["canary"] or o["executed"]]


def test_memory_stays_bounded(outcomes: list[dict[str, Any]]) -> None:
    worst = max(outcomes, key=lambda outcome: outcome["memory"])
    assert worst["memory"] < LIMIT, worst


def test_what_was_changed_after_sealing_never_loads(outcomes: list[dict[str, Any]]) -> None:
    files = [o for o in outcomes if o["kind"] == "changed" and not o["what"].startswith("manifest.json")]
    assert set(Counter(o["outcome"] for o in files)) == {"artefact_hash"}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_forged_model_is_refused(name: str, outcomes: list[dict[str, Any]]) -> None:
    found = {o["model"]: o["outcome"] for o in outcomes if o["what"] == name}
    assert "boosting-classification" in found
    if name in HARMLESS:
        return
    if "linear-classification" in found:  # what one of the two does not have can't be forged in it
        assert set(found.values()) - {"loaded"}, found
    else:
        assert "loaded" not in found.values(), found


def test_a_folder_that_cannot_be_read_is_an_artefact_error() -> None:
    for folder in ("/nonexistent", "a" * 5000, "nul\0"):
        with pytest.raises(ArtefactError):
            engine.load(folder)
