"""The SDK with what is made of many files: folders and zips of DICOM slices, WFDB headers. Slow: it trains twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import migrated
from tests.datasets.given_series import put, series_of, wfdb
from tests.datasets.test_cells_series import named, table

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.once]
HOME = Path(__file__).resolve().parents[2]
STORY = """
import json, sys
from pathlib import Path
import ai_mass as am

work = Path(sys.argv[1])
QUICK = dict(candidates=["linear"], scaling="zscore", imputation="median", outliers="none", normalisation="none",
             feature_selection="none", time_budget=5, quiet=True)
out = {}
version = am.train(str(work / "scans") + "/", **QUICK)
am.current().post(f"model-versions/{version.id}/confirm/", {"reason": "best"})
out["columns"] = {c["name"]: c["kind"] for c in version.data["columns"] if c["role"] == "feature"}
out["values"] = am.inference([str(work / "new" / "ill") + "/", str(work / "ill.zip"), work / "new" / "healthy"])
signal = am.train(str(work / "table.csv"), "label", files=str(work / "ecg.zip"), dataset="Signals", **QUICK)
out["signal"] = am.inference([str(work / "new.hea"), {"ecg": str(work / "new.hea")}], model=signal.id)
print(json.dumps(out))
"""


def test_folders_zips_and_headers(tmp_path: Path) -> None:
    from tests.datasets.test_cells_intake import zipped

    rows, recordings = [["ecg", "label"]], {}
    for number in range(36):  # the portal deals them by a salt of its own: enough are left to train on
        ill = number % 2
        files = series_of(4, patient=f"P{number}", bright=3500 if ill else 1300)
        put(tmp_path / "scans" / ("ill" if ill else "healthy"), named(files, f"p{number}/s1"))
        recordings |= wfdb(beat=(0.4 if ill else 1.0) + number / 500, name=f"e{number}")
        rows.append([f"e{number}", "ill" if ill else "healthy"])
    put(tmp_path / "new" / "ill", named(series_of(4, bright=3500)))
    put(tmp_path / "new" / "healthy", named(series_of(4, bright=1300)))
    put(tmp_path, wfdb(beat=0.4, name="new") | {"table.csv": table(rows)})
    (tmp_path / "ill.zip").write_bytes(zipped(named(series_of(4, bright=3500))).getvalue())
    (tmp_path / "ecg.zip").write_bytes(zipped(recordings).getvalue())
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIMASS_", "DJANGO_", "DATABASE_URL", "SECRET_KEY"))}
    migrated.copy_to(tmp_path / "data" / "aimass.sqlite3")  # test_embedded begins with nothing
    environment |= {"AIMASS_DATA_DIR": str(tmp_path / "data"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)}
    done = subprocess.run(
        [sys.executable, "-c", STORY, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = json.loads(done.stdout.strip().splitlines()[-1])
    assert out["columns"] == {"volume": "volume"}
    assert out["values"] == ["ill", "ill", "healthy"]
    assert out["signal"] == ["ill", "ill"]
