"""Volumes whose corners are known: what lies at the patient's right, front and head is planted, and told by its value."""

from typing import Any

import numpy as np

SHAPE = (12, 10, 8)  # right-left, front-back, head-feet
SPACING = (2.0, 3.0, 5.0)
RIGHT, LEFT, FRONT, BACK, HEAD, FEET = 900, 800, 700, 600, 500, 400


def patient() -> np.ndarray:
    """On axes that run to the patient's right, front and head (RAS): a blob near the middle of each of the six faces."""
    values = np.zeros(SHAPE, dtype=np.int16)
    x, y, z = (n // 2 for n in SHAPE)
    values[-2:, y, z], values[:2, y, z] = RIGHT, LEFT
    values[x, -2:, z], values[x, :2, z] = FRONT, BACK
    values[x, y, -2:], values[x, y, :2] = HEAD, FEET
    return values


def nifti(order: tuple[int, int, int] = (0, 1, 2), flipped: tuple[int, int, int] = (1, 1, 1), *, code: int = 1) -> bytes:
    """The patient stored on axes in another order and direction, with the affine that says so; code 0: it says nothing."""
    import nibabel

    values = patient().transpose(order)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (target, way) in enumerate(zip(order, flipped, strict=True)):
        affine[target, axis] = SPACING[target] * way
        if way < 0:
            values = np.flip(values, axis)
    image = nibabel.Nifti1Image(np.ascontiguousarray(values), affine)
    image.set_sform(affine, code=code)
    image.set_qform(affine, code=code)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def dicom(row: tuple[int, ...] = (1, 0, 0), column: tuple[int, ...] = (0, 1, 0), *, reverse: bool = False) -> Any:
    """The patient as an enhanced CT whose frames are cut along `row` and `column` (LPS), stored backwards if `reverse`."""
    from pydicom.dataset import Dataset
    from pydicom.uid import EnhancedCTImageStorage

    from tests.datasets.dicom.files import slice_of

    lps = patient()[::-1, ::-1, :]  # from RAS: axes run to the left, the back, the head
    normal = np.cross(row, column)
    order = [int(np.argmax(np.abs(axis))) for axis in (normal, column, row)]
    ways = [int(axis[k]) for axis, k in zip((normal, column, row), order, strict=True)]
    stack = lps.transpose(order)
    for axis, way in enumerate(ways):
        if way < 0:
            stack = np.flip(stack, axis)
    steps = [SPACING[k] for k in order]
    corner = np.zeros(3)  # of the first voxel: flipped axes begin at their far end
    for k, way in zip(order, ways, strict=True):
        corner[k] = 0 if way > 0 else (SHAPE[k] - 1) * SPACING[k]
    data = slice_of()
    data.SOPClassUID, data.NumberOfFrames = EnhancedCTImageStorage, len(stack)
    data.RescaleIntercept = "0"
    for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness"):
        delattr(data, name)
    data.Rows, data.Columns = stack.shape[1:]
    shared, frames, numbers = Dataset(), [], list(range(len(stack)))
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [*map(float, row), *map(float, column)]
    measures.PixelSpacing, measures.SliceThickness = [steps[1], steps[2]], steps[0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    if reverse:
        numbers.reverse()
    for number in numbers:
        where, group = Dataset(), Dataset()
        where.ImagePositionPatient = [float(v) for v in corner + normal * number * steps[0]]
        group.PlanePositionSequence = [where]
        frames.append(group)
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], frames
    data.PixelData = np.ascontiguousarray(stack[numbers]).astype("<u2").tobytes()
    return data
