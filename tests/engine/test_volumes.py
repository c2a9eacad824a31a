"""Volumes: order, orientation and millimetres of DICOM series and NIfTI files, and what becomes of them."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

import engine
from engine.errors import FileRefused
from engine.schema import ColumnSpec, Kind
from engine.transformers.volume import SIZE, VolumeTransformer
from engine.volumes import Volume, read_volume, resample

SPACING = (2.0, 1.5, 3.0)  # right, anterior, superior


@pytest.fixture
def body() -> np.ndarray:
    """(x, y, z) in RAS: a block at the right, front and top that no turn or mirror maps onto itself."""
    values = np.zeros((14, 18, 10), dtype=np.float32)
    values[9:13, 12:17, 6:9] = 100.0
    values[9:13, 12:17, 8] = 150.0
    values[10, 14, 7] = 300.0
    return values


def write_series(folder: Path, body: np.ndarray, *, flip: bool = False, left_out: tuple[int, ...] = ()) -> None:
    """Axial CT slices in LPS as a scanner writes them; the file names say nothing of the order."""
    folder.mkdir()
    series, count = generate_uid(), body.shape[2]
    for k in range(count):
        if k in left_out:
            continue
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.SeriesInstanceUID = series
        plane = body[::-1, ::-1, k].T  # rows run to the back, columns to the left
        data.Rows, data.Columns = plane.shape
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelSpacing, data.SliceThickness = [SPACING[1], SPACING[0]], 1.0
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [-10.0, -20.0, 5.0 + SPACING[2] * k]
        data.InstanceNumber = count - k if flip else k + 1
        data.PixelData = (plane + 1024).astype(np.uint16).tobytes()
        data.save_as(folder / f"{(k * 7) % 10}{k}", enforce_file_format=True)


def test_a_series_is_ordered_by_geometry_and_turned_to_ras(body: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "a", body)
    write_series(tmp_path / "b", body, flip=True)  # numbered from the other end: the geometry counts
    for name in "ab":
        volume = read_volume(tmp_path / name)
        assert volume.spacing == pytest.approx(SPACING)
        np.testing.assert_allclose(volume.values, body, atol=1e-3)  # Hounsfield units


def test_a_missing_slice_is_mixed_from_its_neighbours(body: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "a", body, left_out=(7,))
    volume = read_volume(tmp_path / "a")
    assert volume.values.shape == body.shape
    np.testing.assert_allclose(volume.values[:, :, 7], (body[:, :, 6] + body[:, :, 8]) / 2, atol=1e-3)


def test_damaged_slices_other_series_and_other_files_are_passed_over(body: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "a", body)
    (tmp_path / "a" / "notes.txt").write_text("patient moved")
    (tmp_path / "a" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish")
    write_series(tmp_path / "a" / "scout", body[:, :, :2])
    (tmp_path / "a" / "link").symlink_to("/etc")
    np.testing.assert_allclose(read_volume(tmp_path / "a").values, body, atol=1e-3)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
def test_nifti_in_any_orientation_is_the_same_volume(body: np.ndarray, tmp_path: Path, codes: str) -> None:
    image = nibabel.Nifti1Image(body, np.diag([*SPACING, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(codes))
    )
    turned = image.as_reoriented(turn)
    (tmp_path / "stored").write_bytes(gzip.compress(turned.to_bytes()) if codes == "PIR" else turned.to_bytes())
    volume = read_volume(tmp_path / "stored")
    assert volume.spacing == pytest.approx(SPACING)
    np.testing.assert_array_equal(volume.values, body)


def test_a_series_and_the_nifti_of_it_give_the_same_features(body: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "series", body)
    nibabel.save(nibabel.Nifti1Image(body, np.diag([*SPACING, 1.0])), tmp_path / "n.nii")
    cells = [tmp_path / "series", tmp_path / "n.nii"]
    transformer = VolumeTransformer([ColumnSpec("ct", Kind.VOLUME)], VolumeTransformer.settle([], [cells]))
    block, issues = transformer.encode([cells])
    assert not issues and block.present.all()
    np.testing.assert_allclose(block.features[0], block.features[1], atol=1e-4)
    np.testing.assert_array_equal(np.asarray(block.tensors)[0], np.asarray(block.tensors)[1])


def test_resampling_keeps_millimetres() -> None:
    """A ball of 20 mm radius has the same volume on the grid, whatever the voxels were."""
    for spacing in ((1.0, 1.0, 4.0), (2.0, 0.8, 1.0)):
        shape = tuple(round(96 / step) for step in spacing)
        axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
        x, y, z = np.meshgrid(*axes, indexing="ij")
        ball = ((x**2 + y**2 + z**2) < 20.0**2).astype(np.float32)
        grid = resample(Volume(ball, spacing), 3.0, SIZE)
        assert float(grid.sum()) * 27.0 == pytest.approx(4 / 3 * np.pi * 20.0**3, rel=0.03)
        half = (np.indices(grid.shape) * (grid / grid.sum())).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(half, (SIZE - 1) / 2, atol=0.05)


def test_one_grid_serves_all_and_a_larger_body_stays_larger() -> None:
    small, large = np.zeros((20, 20, 20)), np.zeros((40, 40, 40))
    small[5:15, 5:15, 5:15] = 1
    large[10:30, 10:30, 10:30] = 1
    transformer = VolumeTransformer([ColumnSpec("v", Kind.VOLUME)], {"millimetres": [40 / SIZE]})
    block, _ = transformer.encode([[small, large]])
    filled = (np.asarray(block.tensors) > 127).reshape(2, -1).sum(axis=1)
    assert filled[1] / filled[0] == pytest.approx(8.0, rel=0.25)


def test_an_enhanced_object_is_ordered_by_its_frames_positions(body: np.ndarray, tmp_path: Path) -> None:
    """One file: orientation, spacing and rescaling lie in shared groups, positions in each frame's (PS3.3 A.38)."""
    order = [3, 0, 7, 9, 1, 2, 8, 4, 6, 5]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = EnhancedCTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    planes = [body[::-1, ::-1, k].T for k in order]
    data.Rows, data.Columns = planes[0].shape
    data.NumberOfFrames, data.SamplesPerPixel, data.PhotometricInterpretation = len(order), 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = np.stack([plane + 1024 for plane in planes]).astype(np.uint16).tobytes()
    shared, measures, rescale, plane = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PixelValueTransformationSequence = [measures], [rescale]
    shared.PlaneOrientationSequence = [plane]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = []
    for k in order:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [-10.0, -20.0, 5.0 + SPACING[2] * k]
        group.PlanePositionSequence = [place]
        data.PerFrameFunctionalGroupsSequence.append(group)
    data.save_as(tmp_path / "one", enforce_file_format=True)
    volume = read_volume(tmp_path / "one")
    assert volume.spacing == pytest.approx(SPACING)
    np.testing.assert_allclose(volume.values, body, atol=1e-3)


def test_odd_files_become_issues(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no volume")
    whole = gzip.compress(nibabel.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4)).to_bytes())
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    flat = nibabel.Nifti1Image(np.ones((9, 9), np.float32), np.eye(4))
    (tmp_path / "flat").write_bytes(flat.to_bytes())
    huge = nibabel.Nifti1Header()
    huge.set_data_shape((30_000, 30_000, 30_000))
    (tmp_path / "huge").write_bytes(huge.binaryblock + b"\0" * 4)
    cells = [tmp_path / name for name in ("empty", "text", "cut", "flat", "huge")]
    block, issues = VolumeTransformer([ColumnSpec("v", Kind.VOLUME)]).encode([[*cells, np.zeros((3, 3))]])
    assert not block.present.any() and [issue.code for issue in issues] == ["file_unreadable"] * 6
    with pytest.raises(FileRefused):
        read_volume(tmp_path / "huge")


def test_volumes_with_numbers_and_gaps_go_the_whole_way(tmp_path: Path) -> None:
    """A bright lump at the patient's right or left decides; some volumes are missing; a stored model says the same."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(48):
        values = rng.normal(40, 8, (16, 16, 10)).astype(np.float32)
        right = bool(k % 2)
        side = slice(10, 14) if right else slice(2, 6)
        values[side, 6:10, 3:7] += 60
        nibabel.save(nibabel.Nifti1Image(values, np.diag([*SPACING, 1.0])), tmp_path / f"{k}.nii")
        rows.append({"mr": None if k % 11 == 5 else f"{k}.nii", "age": 50 + rng.normal(), "side": "right" if right else "left"})
    frame = pd.DataFrame(rows)
    recipe = engine.Recipe(target="side", time_budget=10.0, candidates=("linear", "fusion"),
                           hyperparameters={"fusion": {"epochs": 2}})  # fmt: skip
    search = engine.fit_candidates(frame, recipe, files=tmp_path)
    assert search.best.schema["mr"].kind is Kind.VOLUME
    by_name = {result.name: result.fitted for result in search.candidates}
    assert by_name["linear"] is not None and by_name["linear"].validation["metrics"]["roc_auc"]["value"] > 0.85
    for name, fitted in by_name.items():
        if fitted is not None:
            engine.save(fitted, tmp_path / f"model_{name}")
            again = engine.load(tmp_path / f"model_{name}").predict(frame, files=tmp_path)
            np.testing.assert_array_equal(again.probabilities, fitted.predict(frame, files=tmp_path).probabilities)


def test_every_folder_of_pydicoms_tests_is_a_volume_or_an_issue() -> None:
    folders = sorted(p for p in (Path(pydicom.__file__).parent / "data").rglob("*") if p.is_dir())
    block, issues = VolumeTransformer([ColumnSpec("v", Kind.VOLUME)]).encode([folders])
    assert block.present.sum() + len(issues) == len(folders) and block.present.sum() >= 8
