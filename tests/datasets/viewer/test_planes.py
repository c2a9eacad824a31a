"""Which side is which: a wrong left or right hurts somebody, so it is asked of phantoms stored in every direction."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.viewer import looking
from datasets.viewer.looking import HEADER
from tests.datasets.dicom.files import saved, slice_of
from tests.datasets.viewer import phantoms
from tests.datasets.viewer.phantoms import BACK, FEET, FRONT, HEAD, LEFT, RIGHT, SHAPE, SPACING

OF = {"R": RIGHT, "L": LEFT, "A": FRONT, "P": BACK, "S": HEAD, "I": FEET}


def unpacked(content: bytes) -> np.ndarray:
    magic, width, height, slope, intercept = HEADER.unpack_from(content)
    assert magic == b"AMG1" and len(content) == HEADER.size + 2 * width * height
    steps = np.frombuffer(content, "<u2", offset=HEADER.size).reshape(height, width)
    return steps * slope + intercept


def edges(values: np.ndarray) -> dict[str, float]:
    """What lies at the edges of a frame, halfway."""
    return {
        "left": values[:, :2].max(), "right": values[:, -2:].max(), "top": values[:2].max(), "bottom": values[-2:].max(),
    }  # fmt: skip


def seen_as_marked(about: dict[str, Any], name: str, frame: np.ndarray) -> None:
    """What the marks say lies at the edges is what lies there."""
    plane = next(p for p in about["planes"] if p["name"] == name)
    assert frame.shape == (plane["height"], plane["width"])
    for (edge, value), mark in zip(edges(frame).items(), plane["marks"], strict=True):
        assert value == OF[mark], (name, edge, mark)


@pytest.mark.parametrize("flipped", list(product((1, -1), repeat=3)))
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_nifti_volume_is_shown_the_same_however_it_is_stored(
    order: tuple[int, int, int], flipped: tuple[int, int, int], tmp_path: Path
) -> None:
    path = tmp_path / "v.nii"
    path.write_bytes(phantoms.nifti(order, flipped))
    about = looking.about(path, "volume", False)
    marks = {p["name"]: tuple(p["marks"]) for p in about["planes"]}
    assert marks == {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}
    assert {p["name"]: p["count"] for p in about["planes"]} == {"axial": SHAPE[2], "coronal": SHAPE[1], "sagittal": SHAPE[0]}
    assert {p["name"]: tuple(p["spacing"]) for p in about["planes"]} == {
        "axial": SPACING[:2], "coronal": (SPACING[0], SPACING[2]), "sagittal": SPACING[1:],
    }  # fmt: skip
    for plane in about["planes"]:
        seen_as_marked(about, plane["name"], unpacked(looking.frame(path, "volume", plane["name"], plane["start"])))
    below, above = (unpacked(looking.frame(path, "volume", "axial", k)).max() for k in (0, SHAPE[2] - 1))
    assert (below, above) == (FEET, HEAD)  # scrolling on goes to the head


def test_a_volume_that_does_not_tell_its_sides_has_no_marks(tmp_path: Path) -> None:
    path = tmp_path / "v.nii"
    path.write_bytes(phantoms.nifti(code=0))
    assert [p["marks"] for p in looking.about(path, "volume", False)["planes"]] == [None] * 3


CUTS = [
    ((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, 1, 0)), ((1, 0, 0), (0, -1, 0)), ((1, 0, 0), (0, 0, -1)), ((-1, 0, 0), (0, 0, -1)),
    ((0, 1, 0), (0, 0, -1)), ((0, -1, 0), (0, 0, 1)),
]  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("row", "column"), CUTS)
def test_frames_and_planes_of_a_dicom_volume_show_what_their_marks_say(
    row: tuple[int, ...], column: tuple[int, ...], reverse: bool, tmp_path: Path
) -> None:
    path = saved(phantoms.dicom(row, column, reverse=reverse), tmp_path / "v.dcm")
    first = looking.about(path, "volume", False)
    assert [p["name"] for p in first["planes"]] == ["frames"] and first["more"]
    about = looking.about(path, "volume", True)
    assert [p["name"] for p in about["planes"]] == ["frames", "axial", "coronal", "sagittal"] and not about["more"]
    frames = about["planes"][0]
    cut = next(axis for axis in range(3) if not row[axis] and not column[axis])
    middle = SHAPE[cut] // 2
    for index in range(frames["count"]):  # the phantom's middle lies in one of its frames
        values = unpacked(looking.frame(path, "volume", "frames", index))
        if len(set(edges(values).values()) & set(OF.values())) == 4:
            seen_as_marked(about, "frames", values)
            break
    else:
        raise AssertionError(f"no frame shows the middle, {middle}")
    for plane in about["planes"][1:]:
        seen_as_marked(about, plane["name"], unpacked(looking.frame(path, "volume", plane["name"], plane["start"])))


def test_frames_without_places_are_no_volume_and_without_directions_have_no_marks(tmp_path: Path) -> None:
    data = slice_of(NumberOfFrames=3)
    data.PixelData = data.PixelData * 3
    about = looking.about(saved(data, tmp_path / "a.dcm"), "volume", True)
    assert [p["name"] for p in about["planes"]] == ["frames"] and not about["more"]
    assert tuple(about["planes"][0]["marks"]) == ("R", "L", "A", "P")
    del data.ImageOrientationPatient
    assert looking.about(saved(data, tmp_path / "b.dcm"), "volume", True)["planes"][0]["marks"] is None


def test_frames_turned_differently_have_no_marks(tmp_path: Path) -> None:
    data = phantoms.dicom()
    shared = data.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    del data.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    from copy import deepcopy

    for number, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        group.PlaneOrientationSequence = deepcopy(shared)
        if number == 5:
            group.PlaneOrientationSequence[0].ImageOrientationPatient = [-1.0, 0, 0, 0, 1, 0]
    about = looking.about(saved(data, tmp_path / "a.dcm"), "volume", False)
    assert about["planes"][0]["marks"] is None and not about["more"]


@pytest.mark.parametrize(
    ("said", "marks"),
    [(["L", "F"], ("R", "L", "S", "I")), (["P", "FR"], ("A", "P", "SL", "IR")), (["L", "X"], None), (["L"], None)],
)
def test_projections_tell_their_sides_in_letters(said: list[str], marks: Any, tmp_path: Path) -> None:
    data = slice_of(PatientOrientation=said)
    del data.ImageOrientationPatient
    assert looking.about(saved(data, tmp_path / "a.dcm"), "image", False)["planes"][0]["marks"] == marks


def test_a_leaning_slice_has_two_letters(tmp_path: Path) -> None:
    data = slice_of(ImageOrientationPatient=[0.8, 0.6, 0.0, 0.0, 0.0, -1.0])
    marks = looking.about(saved(data, tmp_path / "a.dcm"), "image", False)["planes"][0]["marks"]
    assert marks == ("RA", "LP", "S", "I")


def test_windows_values_and_a_large_file_read_frame_by_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = phantoms.dicom()
    data.WindowCenter, data.WindowWidth = [40, 600], [80, 2800]
    path = saved(data, tmp_path / "a.dcm")
    about = looking.about(path, "volume", False)
    assert about["windows"] == [(40.0, 80.0), (600.0, 2800.0)]
    assert about["hounsfield"] and not about["exact"] and not about["inverse"]
    whole = [looking.frame(path, "volume", "frames", k) for k in range(SHAPE[2])]
    looking.forget()
    monkeypatch.setattr("datasets.viewer.dicom.LARGE", 0)
    assert looking.about(path, "volume", False) == about
    assert [looking.frame(path, "volume", "frames", k) for k in range(SHAPE[2])] == whole


def test_numbers_of_any_size_come_through(tmp_path: Path) -> None:
    whole = np.array([[-1024, 3071], [0, 40]])
    assert np.array_equal(unpacked(looking.pack(whole)), whole)
    fine = np.array([[0.0, 1.0], [0.25, np.nan]])
    assert np.allclose(unpacked(looking.pack(fine)), np.nan_to_num(fine), atol=1e-4)
    assert np.array_equal(unpacked(looking.pack(np.full((2, 3), 7.5))), np.full((2, 3), 7.5))
