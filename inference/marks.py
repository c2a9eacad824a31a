"""Where reasons lie on the frames that the viewer shows: boxes in shares of a frame, on these frames, for and against."""

from collections.abc import Mapping, Sequence
from typing import Any

LEAST = 0.02  # of the strongest; what is weaker is not seen


def of_planes(regions: Mapping[str, Any], about: Mapping[str, Any], millimetres: float) -> dict[str, list[dict[str, Any]]]:
    """Plane → [{frames: [first, last], box: [top, bottom, left, right], strength: -1 to 1}].

    `millimetres`: of a voxel of the grid that a model saw a volume on. Slices as stored have none: they may lie in any direction.
    """
    from datasets.viewer.volume import PLANES  # not with the web process: they load what decodes
    from engine.transformers.volume import SIZE

    parts = [r for r in regions["regions"] if r["contribution"]]
    most = max((abs(r["contribution"]) for r in parts), default=0.0) or 1.0
    told = [(r["ranges"], r["contribution"] / most) for r in parts if abs(r["contribution"]) >= LEAST * most]
    found: dict[str, list[dict[str, Any]]] = {}
    if regions["kind"] == "signal":
        return {"signal": [{"times": list(ranges[0]), "strength": strength} for ranges, strength in told]} if told else {}
    for plane in about["planes"]:
        axes = PLANES[plane["name"]][:3] if plane["name"] in PLANES else None
        own = [_on(plane, regions["kind"], ranges, about["rate"], axes, SIZE * millimetres) for ranges, _strength in told]
        marks = [{**where, "strength": strength} for where, (_r, strength) in zip(own, told, strict=True) if where is not None]
        if marks:
            found[plane["name"]] = marks
    return found


def _on(
    plane: Mapping[str, Any], kind: str, ranges: Sequence[Sequence[float]], rate: float | None,
    axes: tuple[int, int, int] | None, side: float,
) -> dict[str, Any] | None:  # fmt: skip
    """`axes`: of a volume's plane, which is cut, across and down; `side`: of the model's grid, in millimetres."""
    if kind == "image" and plane["count"] == 1:
        return {"frames": [0, 0], "box": [*ranges[0], *ranges[1]]}
    if kind == "video" and plane["name"] == "clip" and rate:
        first, last = (int(seconds * rate) for seconds in ranges[0])
        return {"frames": [first, max(first, last)], "box": [*ranges[1], *ranges[2]]}
    if kind != "volume" or axes is None:
        return None
    cut, across, down = axes
    x = _share(ranges[across], plane["width"] * plane["spacing"][0], side)
    y = _share(ranges[down], plane["height"] * plane["spacing"][1], side)
    deep = _share(ranges[cut], plane["count"] * plane["depth"], side)
    if min(x[1] - x[0], y[1] - y[0], deep[1] - deep[0]) <= 0:
        return None
    frames = [int(deep[0] * plane["count"]), min(plane["count"] - 1, int(deep[1] * plane["count"] - 1e-9))]
    return {"frames": frames, "box": [1 - y[1], 1 - y[0], 1 - x[1], 1 - x[0]]}  # shown turned round, as volumes are hung


def _share(span: Sequence[float], length: float, side: float) -> tuple[float, float]:
    """A part of the model's grid as shares of the volume's side: both have one centre."""
    low, high = (0.5 + (edge - 0.5) * side / length for edge in span)
    return max(0.0, low), min(1.0, high)
