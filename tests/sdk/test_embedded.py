"""The SDK with neither address nor key: the portal of this checkout in the same process, jobs in subprocesses.

Run in a process of its own, because this one has a Django already. Marked slow: it trains.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.once]
HOME = Path(__file__).resolve().parents[2]
STORY = """
import asyncio, json, sys
import ai_mass as am
from sklearn.datasets import load_breast_cancer

frame = load_breast_cancer(as_frame=True).frame
frame["diagnosis"] = frame.pop("target").map({0: "malignant", 1: "benign"})
out = {}
version = am.train(frame, "diagnosis", dataset="Cancer", candidates=["linear"], time_budget=10, C=0.5, quiet=True)
out["candidate"], out["auc"] = version.candidate, version.metrics["roc_auc"]["value"]
out["setting"] = version.data["lineage"]["hyperparameters"]["C"]
try:
    am.inference([{"mean radius": 20}])
except am.ConflictError as error:
    out["without champion"] = str(error)
am.current().post(f"model-versions/{version.id}/confirm/", {"reason": "best"})
rows = frame.drop(columns="diagnosis").head(30)


async def in_a_notebook():  # a notebook's cells run inside an event loop, in which Django refuses the database
    return am.inference(rows)


out["values"] = asyncio.run(in_a_notebook())
out["details"] = sorted(am.inference(rows.head(1), details=True)[0])
out["evaluated"] = am.evaluate(frame.head(100))["roc_auc"]
try:
    leaky = frame[["diagnosis"]].assign(mrn=[f"p{i}" for i in range(len(frame))], copy=frame["diagnosis"])
    am.train(leaky, "diagnosis", dataset="Leaky", quiet=True)
except am.TrainingRefused as error:
    out["refused"] = [p["code"] for p in error.problems if p["severity"] == "error"]
try:
    am.train(dataset="Cancer", colour="blue", quiet=True)
except am.AIMassError as error:
    out["unknown"] = str(error)
print(json.dumps(out))
"""


def test_train_evaluate_and_inference(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIMASS_", "DJANGO_", "DATABASE_URL", "SECRET_KEY"))}
    environment |= {"AIMASS_DATA_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)}
    done = subprocess.run(
        [sys.executable, "-c", STORY], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = json.loads(done.stdout.strip().splitlines()[-1])
    assert out["candidate"] == "linear"
    assert out["setting"] == 0.5
    assert 0.9 < out["auc"] <= 1
    assert "No model has a champion yet" in out["without champion"]
    assert len(out["values"]) == 30
    assert out["values"].count("malignant") > 20, "the first thirty patients of the study are mostly malignant"
    assert {"value", "probability", "interval", "warnings", "id"} <= set(out["details"])
    assert out["evaluated"] > 0.9
    assert out["refused"] == ["only_leaks"]
    assert "colour" in out["unknown"]
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0
