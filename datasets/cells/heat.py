"""A file with parts of it laid over in colour: warm where they speak for a value, cold where against. For a desk's process."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.cells import pictures
from datasets.models import Kind

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 224  # pixels of a plane of a volume, or a frame of a clip


def render(path: Path, kind: str, regions: Mapping[str, Any], millimetres: float) -> bytes:
    """PNG of the file with its `regions` (see engine.regions). `millimetres`: of a voxel of the grid that a model saw.

    Raises whatever its decoder raises.
    """
    image = _volume(path, regions, millimetres) if kind == Kind.VOLUME else _DRAW[kind](path, regions)
    return pictures.png(image)


def _strongest(regions: Mapping[str, Any]) -> float:
    return max((abs(r["contribution"]) for r in regions["regions"]), default=0.0) or 1.0


def overlaid(image: "Image", parts: Sequence[tuple[Sequence[Sequence[float]], float]]) -> "Image":
    """The picture with parts ((down, across) as shares, strength from -1 to 1) laid over it, with soft borders."""
    import numpy as np
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    width, height = image.size
    heat = np.zeros((height, width), dtype=np.float32)
    for ((top, bottom), (left, right)), strength in parts:
        heat[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = strength
    heat = gaussian_filter(heat, max(width, height) / 60)
    alpha = np.abs(heat) * (pictures.HEAT / 255)
    colour = np.where(heat[:, :, None] > 0, np.array(pictures.FOR), np.array(pictures.AGAINST))
    mixed = np.asarray(image.convert("RGB")) * (1 - alpha[:, :, None]) + colour * alpha[:, :, None]
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def _image(path: Path, regions: Mapping[str, Any]) -> "Image":
    from engine.pictures import show_picture

    base = pictures.of_pixels(show_picture(path, pictures.SIZES["page"]))
    if max(base.size) < SIDE * 2:  # a small picture is enlarged, so that its parts can be told apart
        scale = SIDE * 2 / max(base.size)
        base = base.resize((round(base.width * scale), round(base.height * scale)))
    most = _strongest(regions)
    return overlaid(base, [(r["ranges"], r["contribution"] / most) for r in regions["regions"]])


def _signal(path: Path, regions: Mapping[str, Any]) -> "Image":
    image, seconds = pictures.traces(path, pictures.SIZES["page"], 64, pictures.CHANNELS)
    most = _strongest(regions)
    parts = [
        (((0.0, 1.0), (max(0.0, start / seconds), min(1.0, end / seconds))), r["contribution"] / most)
        for r in regions["regions"]
        for start, end in [r["ranges"][0]]
    ]
    return overlaid(image, parts)


def _video(path: Path, regions: Mapping[str, Any]) -> "Image":
    """Each frame with the strength of its moment, and the parts of the moments that were looked into."""
    frames, times = pictures.frames_of(path, pictures.STRIP)
    most = _strongest(regions)
    made = []
    for frame, time in zip(frames, times, strict=True):
        own = [r for r in regions["regions"] if r["ranges"][0][0] <= time < r["ranges"][0][1] + 1e-6]
        own.sort(key=lambda r: -(r["ranges"][1][1] - r["ranges"][1][0]))  # the whole frame first, parts over it
        parts = [(r["ranges"][1:], r["contribution"] / most) for r in own]
        made.append(overlaid(frame.resize((128, 128)), parts))
    return pictures.side_by_side(made)


def _volume(path: Path, regions: Mapping[str, Any], millimetres: float) -> "Image":
    """The three planes through the most telling part, on the grid of equal millimetres that the model saw."""
    import numpy as np
    from PIL import Image

    from engine.transformers.volume import seen_grid

    grid = seen_grid(path, millimetres)
    most = _strongest(regions)
    telling = max(regions["regions"], key=lambda r: abs(r["contribution"]), default=None)
    middle = [0.5, 0.5, 0.5] if telling is None else [sum(span) / 2 for span in telling["ranges"]]
    place = [min(n - 1, int(m * n)) for m, n in zip(middle, grid.shape, strict=True)]
    made = []
    # (axis that is cut, axis across, axis down); axes run right, front, head: the screen shows each turned round.
    for cut, across, down in ((2, 0, 1), (1, 0, 2), (0, 1, 2)):
        plane = np.take(grid, place[cut], axis=cut)[::-1, ::-1].T
        image = Image.fromarray((np.clip(plane, 0, 1) * 255).astype(np.uint8)).resize((SIDE, SIDE)).convert("RGB")
        parts = [
            ((_turned(r["ranges"][down]), _turned(r["ranges"][across])), r["contribution"] / most)
            for r in regions["regions"]
            if r["ranges"][cut][0] <= middle[cut] < r["ranges"][cut][1] + 1e-9
        ]
        made.append(overlaid(image, parts))
    return pictures.side_by_side(made)


def _turned(span: Sequence[float]) -> tuple[float, float]:
    return 1.0 - span[1], 1.0 - span[0]


_DRAW: dict[str, Callable[[Path, Mapping[str, Any]], "Image"]] = {Kind.IMAGE: _image, Kind.SIGNAL: _signal, Kind.VIDEO: _video}
