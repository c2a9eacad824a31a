"""The SDK with files: a folder of pictures, a table with its pictures, and diagnoses of paths. Slow: it trains twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import migrated

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.once]
HOME = Path(__file__).resolve().parents[2]
STORY = """
import csv, json, shutil, sys
from pathlib import Path
import ai_mass as am

source, work = Path(sys.argv[1]), Path(sys.argv[2])
out, kept = {}, {}
for label in ("platelets", "rbc", "wbc"):
    paths = sorted((source / label).glob("*.png"))
    (work / "cells" / label).mkdir(parents=True)
    for path in paths[::14]:
        shutil.copy(path, work / "cells" / label / path.name)
    kept[label] = paths[1]
QUICK = dict(candidates=["linear"], scaling="zscore", imputation="median", outliers="none", normalisation="none",
             feature_selection="none", time_budget=5, quiet=True)
version = am.train(str(work / "cells"), **QUICK)
out["pictures"] = version.metrics["balanced_accuracy"]["value"]
am.current().post(f"model-versions/{version.id}/confirm/", {"reason": "best"})
out["values"] = am.inference([str(kept["wbc"]), kept["platelets"]])
out["one"] = am.inference(kept["rbc"])
details = am.inference([{"image": str(kept["wbc"])}], details=True)[0]
out["warnings"] = details["warnings"]
try:
    am.inference([{"image": str(work / "nobody.png")}])
except am.AIMassError as error:
    out["nobody"] = str(error)
try:
    am.inference(["nobody.png"])
except am.AIMassError as error:
    out["nobody bare"] = str(error)
try:
    am.inference([work / "table.csv"])
except am.AIMassError as error:
    out["no picture"] = str(error)
with open(work / "table.csv", "w", newline="") as stream:
    rows = csv.writer(stream)
    rows.writerow(["patient", "age", "note", "film", "finding"])
    for number, path in enumerate(sorted((work / "cells").rglob("*.png"))):
        rows.writerow([path.stem.rsplit("_", 1)[0], 30 + number % 40, f"smear {number}", path.name, path.parent.name])
shutil.make_archive(str(work / "pictures"), "zip", work / "cells")
mixed = am.train(str(work / "table.csv"), "finding", files=str(work / "pictures.zip"), dataset="Mixed", **QUICK)
out["columns"] = {c["name"]: c["kind"] for c in mixed.data["columns"] if c["role"] == "feature"}
record = {"age": 60, "note": "smear", "film": str(kept["wbc"])}
out["mixed"] = am.inference([record], model=mixed.id)
again = am.train(str(work / "table.csv"), "finding", files=work / "cells", dataset="Mixed", **QUICK)
out["records"] = [d["record_count"] for d in am.current().pages("datasets/") if d["name"] == "Mixed"]
print(json.dumps(out))
"""


def test_folder_table_with_files_and_paths(tmp_path: Path, shared_data: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIMASS_", "DJANGO_", "DATABASE_URL", "SECRET_KEY"))}
    migrated.copy_to(tmp_path / "data" / "aimass.sqlite3")  # test_embedded begins with nothing
    environment |= {"AIMASS_DATA_DIR": str(tmp_path / "data"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)}
    arguments = [str(shared_data / "bccd_blood_cells" / "images"), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", STORY, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = json.loads(done.stdout.strip().splitlines()[-1])
    assert out["pictures"] > 0.8
    assert out["values"] == ["wbc", "platelets"]
    assert out["one"] == ["rbc"]
    assert not [w for w in out["warnings"] if w["code"].startswith("file")]
    assert "There is no file" in out["nobody"] and "nobody.png" in out["nobody"]
    assert out["nobody bare"] == "There is no file nobody.png."
    assert "table.csv" in out["no picture"]
    assert out["columns"] == {"age": "number", "note": "text", "film": "image"}
    assert out["mixed"] == ["wbc"]
    assert out["records"] == [75]
