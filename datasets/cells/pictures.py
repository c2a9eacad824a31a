"""How a file looks in the portal: rendered by a desk, scaled, kept until the file goes. Nothing but pixels leaves.

Pictures as a radiologist's screen would show them (DICOM by its VOI LUT or window), the three middle planes of a volume,
a strip of a video's frames, a signal's channels as traces. Rendered files lie in DATA_DIR/rendered/<organisation>/<hash>/.
"""

import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from django.conf import settings

from datasets.arrivals import desks
from datasets.arrivals.desk import Desk
from datasets.arrivals.found import Refused
from datasets.cells.models import CellFile
from datasets.models import Kind
from datasets.storage import local

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SIZES = {"thumb": 96, "page": 768}  # pixels of the longer side
STRIP, THUMB_STRIP = 8, 2  # frames of a video
CHANNELS, THUMB_CHANNELS = 12, 3
LOOK = 2  # raised when what is rendered changes, so that kept pictures are made anew
AGAIN = 24 * 3600.0  # seconds after which it is tried again to draw what could not be drawn
HEAT = 128  # alpha of the hottest part
FOR, AGAINST = (214, 69, 0), (0, 92, 214)  # told apart by the colour blind too


class NotDrawn(ValueError):
    """The file cannot be drawn as a cell of this kind."""


def folder_of(organisation_id: Any, sha256: str) -> Path:
    """Where the renderings of a file lie."""
    return Path(settings.DATA_DIR) / "rendered" / str(organisation_id) / sha256


def forget(organisation_id: Any, sha256: str) -> None:
    """Delete the renderings of a file that is gone."""
    shutil.rmtree(folder_of(organisation_id, sha256), ignore_errors=True)


def drawn(cell: CellFile, kind: str, size: str) -> bytes:
    """The file as PNG: `kind` of the column that it is a cell of, `size` of SIZES. Raises NotDrawn, and Busy of the desk."""
    path = folder_of(cell.file.organisation_id, cell.file.sha256) / f"{kind}-{size}-{LOOK}.png"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    failed = path.with_suffix(".failed")
    if lately(failed):
        raise NotDrawn(failed.read_text())
    try:
        content = by_desk(cell, lambda desk, place: desk.draw(place, kind, size))
    except NotDrawn as error:
        remember(cell, failed, str(error).encode())
        raise
    remember(cell, path, content)
    return content


def by_desk(cell: CellFile, ask: Callable[[Desk, Path], bytes]) -> bytes:
    """What a desk draws: decoders of strangers' files never run in this process. Raises NotDrawn, and Busy of the desk."""
    try:
        with local(cell.file) as path, desks.shared() as desk:
            return ask(desk, path)
    except Refused as error:
        raise NotDrawn(error.code) from error


def lately(failed: Path) -> bool:
    """Whether drawing was tried within a day. What harms or delays its reader is not tried at every look at a page."""
    try:
        return time() - failed.stat().st_mtime < AGAIN
    except FileNotFoundError:
        return False


def remember(cell: CellFile, path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
        part.write(content)
    Path(part.name).replace(path)  # whole or not at all
    if not CellFile.objects.filter(pk=cell.pk).exists():  # erased while it was being drawn
        forget(cell.file.organisation_id, cell.file.sha256)


def render(path: Path, kind: str, size: str) -> bytes:
    """The picture itself, in the process of a desk. Raises whatever its decoder raises."""
    return png(_DRAW[kind](path, size))


def png(image: "Image") -> bytes:
    """As a file, without metadata."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=False)
    return stream.getvalue()


def of_pixels(pixels: "NDArray[Any]") -> "Image":
    """From (h, w, 3), 0 to 1."""
    import numpy as np
    from PIL import Image

    return Image.fromarray((np.clip(pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))


def _image(path: Path, size: str) -> "Image":
    from engine.pictures import show_picture

    return of_pixels(show_picture(path, SIZES[size]))


def _volume(path: Path, size: str) -> "Image":
    """The middle planes, seen from the feet, the front and the patient's left; each in its true proportions."""
    import numpy as np
    from PIL import Image

    from engine.pictures import between_percentiles
    from engine.volumes import read_volume

    volume = read_volume(path)
    shown = between_percentiles(volume.values)
    x, y, z = (n // 2 for n in shown.shape)
    sx, sy, sz = volume.spacing
    # RAS axes: on a screen the patient's right is on the left, the front above, the head above.
    planes = [(shown[::-1, ::-1, z].T, sx, sy), (shown[::-1, y, ::-1].T, sx, sz), (shown[x, ::-1, ::-1].T, sy, sz)]
    side = SIZES[size] if size == "thumb" else SIZES[size] // 3 + 1
    made = []
    for plane, across, down in planes[:1] if size == "thumb" else planes:
        wide, high = plane.shape[1] * across, plane.shape[0] * down
        scale = side / max(wide, high)
        grey = Image.fromarray((np.ascontiguousarray(plane) * 255).astype(np.uint8))
        made.append(grey.resize((max(1, round(wide * scale)), max(1, round(high * scale)))).convert("RGB"))
    return side_by_side(made)


def side_by_side(images: Sequence["Image"]) -> "Image":
    from PIL import Image

    gap = 4 if len(images) > 1 else 0
    whole = Image.new(
        "RGB", (sum(i.width for i in images) + gap * (len(images) - 1), max(i.height for i in images)), "black"
    )
    left = 0
    for image in images:
        whole.paste(image, (left, (whole.height - image.height) // 2))
        left += image.width + gap
    return whole


def frames_of(path: Path, count: int) -> tuple[list["Image"], list[float]]:
    """(frames of a clip, when they are, in seconds), evenly over its length."""
    import numpy as np
    from PIL import Image

    from engine.video.readers import read_video

    clip = read_video(path)
    places = np.unique(np.linspace(0, len(clip.frames) - 1, min(count, len(clip.frames))).round().astype(int))
    return [Image.fromarray(clip.frames[i]) for i in places], [float(clip.times[i]) for i in places]


def _video(path: Path, size: str) -> "Image":
    frames, _times = frames_of(path, THUMB_STRIP if size == "thumb" else STRIP)
    side = SIZES["thumb"] // 2 if size == "thumb" else 128
    return side_by_side([frame.resize((side, side)) for frame in frames])


def traces(path: Path, width: int, height: int, channels: int) -> tuple["Image", float]:
    """(a signal's channels one below the other on a grid, its length in seconds). Gaps stay empty."""
    import numpy as np
    from PIL import Image, ImageDraw

    from engine.signals.readers import read_signal

    recording = read_signal(path)
    values = recording.values[:channels]
    seconds = recording.values.shape[1] / recording.rate
    image = Image.new("RGB", (width, height * len(values)), "white")
    pen = ImageDraw.Draw(image)
    for step in range(1, 10):
        pen.line([(width * step // 10, 0), (width * step // 10, image.height)], fill=(235, 225, 225))
    for row, channel in enumerate(values):
        top = row * height
        pen.line([(0, top + height - 1), (width, top + height - 1)], fill=(220, 205, 205))
        known = channel[np.isfinite(channel)]
        if not len(known):
            continue
        low, high = (float(v) for v in np.quantile(known, (0.002, 0.998)))
        span = high - low or 1.0
        # Each column of pixels from the least to the greatest of its samples, so that no peak is lost.
        cuts = np.linspace(0, len(channel), width + 1).round().astype(int)
        before: float | None = None
        for x in range(width):
            part = channel[cuts[x] : max(cuts[x] + 1, cuts[x + 1])]
            part = part[np.isfinite(part)]
            if not len(part):
                before = None
                continue
            y = [top + 3 + (height - 7) * (1.0 - min(1.0, max(0.0, (float(v) - low) / span))) for v in (part.max(), part.min())]
            if before is not None:
                y = [min(y[0], before), max(y[1], before)]
            pen.line([(x, y[0]), (x, y[1])], fill=(20, 30, 60))
            last = min(1.0, max(0.0, (float(part[-1]) - low) / span))
            before = top + 3 + (height - 7) * (1.0 - last)
    return image, seconds


def _signal(path: Path, size: str) -> "Image":
    if size == "thumb":
        return traces(path, SIZES["thumb"], 24, THUMB_CHANNELS)[0]
    return traces(path, SIZES["page"], 64, CHANNELS)[0]


_DRAW: dict[str, Callable[[Path, str], "Image"]] = {
    Kind.IMAGE: _image, Kind.VOLUME: _volume, Kind.VIDEO: _video, Kind.SIGNAL: _signal,
}  # fmt: skip
