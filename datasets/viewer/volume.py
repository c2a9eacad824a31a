"""A volume cut in three planes, as a radiologist hangs them: the patient's right at the left, the front and the head above."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.viewer.looking import About, Plane, packed, spread, steps
from engine.volumes import read_volume

MOST_VOXELS = 2**26  # held by the desk, two bytes each
# name: (axis that is cut, axis across, axis down, marks at the left, right, top, bottom). Axes run right, front, head, and
# across and down each is shown turned round.
PLANES: dict[str, tuple[int, int, int, tuple[str, str, str, str]]] = {
    "axial": (2, 0, 1, ("R", "L", "A", "P")),
    "coronal": (1, 0, 2, ("R", "L", "S", "I")),
    "sagittal": (0, 1, 2, ("A", "P", "S", "I")),
}


class Planes:
    """A volume in memory, in steps of 16 bits."""

    def __init__(self, path: Path, most: int = MOST_VOXELS) -> None:
        volume = read_volume(path, most=most)
        self.window = spread(volume.values)
        self.spacing, self.known = volume.spacing, volume.known
        self.values, self.slope, self.low = steps(volume.values)
        self.high = self.low + self.slope * float(self.values.max())

    def about(self, whole: bool = True) -> About:
        shape, planes = self.values.shape, []
        for name, (cut, across, down, marks) in PLANES.items():
            spacing = (self.spacing[across], self.spacing[down])
            planes.append(
                Plane(
                    name, shape[cut], shape[across], shape[down], spacing, marks if self.known else None, shape[cut] // 2,
                    spacing[1] / spacing[0], self.spacing[cut],
                )
            )  # fmt: skip
        return About(planes, [self.window], (self.low, self.high))

    def frame(self, plane: str, index: int) -> bytes:
        return packed(self.cut(plane, index), self.slope, self.low)

    def cut(self, plane: str, index: int) -> NDArray[np.uint16]:
        """Rows from above, columns from the left."""
        found: NDArray[np.uint16] = np.take(self.values, index, axis=PLANES[plane][0])[::-1, ::-1].T
        return found
