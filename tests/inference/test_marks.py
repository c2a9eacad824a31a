"""Reasons on the viewer's frames: the same place as in the model's grid, turned as volumes are hung."""

from inference.marks import of_planes

PLANES = [
    {"name": "frames", "count": 4, "width": 20, "height": 30, "spacing": [1.0, 1.0], "depth": 0.0},
    {"name": "axial", "count": 40, "width": 20, "height": 30, "spacing": [1.0, 2.0], "depth": 0.5},
    {"name": "sagittal", "count": 20, "width": 30, "height": 40, "spacing": [2.0, 0.5], "depth": 1.0},
]


def region(kind: str, ranges: list[list[float]], contribution: float = 2.0) -> dict:
    return {"kind": kind, "regions": [{"ranges": ranges, "contribution": contribution}, {"ranges": ranges, "contribution": -1.0}]}


def test_a_part_of_a_volume_lies_on_its_planes() -> None:
    # A grid of 40 mm around a volume of 20 × 60 × 20 mm: the right half of it, the front half, the upper half.
    found = of_planes(region("volume", [[0.5, 1.0], [0.5, 1.0], [0.5, 1.0]]), {"planes": PLANES, "rate": None}, 40 / 32)
    assert set(found) == {"axial", "sagittal"}  # slices as stored may lie in any direction
    mark, against = found["axial"]
    assert (mark["strength"], against["strength"]) == (1.0, -0.5)
    assert mark["frames"] == [20, 39]
    top, bottom, left, right = mark["box"]
    assert (left, right) == (0.0, 0.5)  # the patient's right is at the left
    assert abs(top - (0.5 - 20 / 60)) < 1e-9 and bottom == 0.5  # the front above; the grid ends before the volume does
    assert found["sagittal"][0]["frames"] == [10, 19]


def test_pictures_clips_and_signals() -> None:
    picture = {"name": "picture", "count": 1, "width": 9, "height": 9, "spacing": None, "depth": 0.0}
    found = of_planes(region("image", [[0.0, 0.5], [0.25, 0.5]]), {"planes": [picture], "rate": None}, 1.0)
    assert found["picture"][0]["box"] == [0.0, 0.5, 0.25, 0.5]
    clip = {**picture, "name": "clip", "count": 100}
    found = of_planes(region("video", [[1.0, 2.0], [0.0, 1.0], [0.0, 1.0]]), {"planes": [clip], "rate": 10.0}, 1.0)
    assert found["clip"][0]["frames"] == [10, 20]
    assert of_planes(region("signal", [[1.0, 2.0]]), {"planes": [], "rate": None}, 1.0)["signal"][0]["times"] == [1.0, 2.0]
    assert of_planes({"kind": "signal", "regions": []}, {"planes": [], "rate": None}, 1.0) == {}
