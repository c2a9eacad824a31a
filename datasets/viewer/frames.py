"""What a desk has told and drawn for the viewer, kept on disk until the file goes: never more than was asked for, and bounded.

Nothing is decoded here. What the desk answers is checked before it goes on to a browser: numbers, names of ours, a PNG, or as
many grey values as the frame says it has.
"""

import contextlib
import json
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.arrivals.desk import PNG
from datasets.arrivals.found import Refused
from datasets.cells.models import CellFile
from datasets.cells.pictures import NotDrawn, by_desk, folder_of, lately, remember
from datasets.viewer.looking import HEADER, LONGEST, MAGIC, MOST_FRAMES, TRACE

LOOK = 2  # raised when what is answered changes, so that what is kept is made anew
KEPT_FRAMES, KEPT_BYTES = 400, 96 * 2**20  # of one file; beyond it the frames asked for longest ago go
NAMES = ("frames", "axial", "coronal", "sagittal", "picture", "clip", "strip", *(f"trace{level}" for level in range(16)))
MOST_CHANNELS = 64
LEAD = re.compile(r"[a-z0-9µ+\-_./ ]{0,24}")  # a channel's name, as the engine cleans it
LETTERS = set("RLAPSI")


class NoSuchFrame(LookupError):
    """The file has no such plane, or the plane no such frame."""


@dataclass(frozen=True)
class Frame:
    """As it is sent: grey values are packed by gzip, which every browser undoes by itself."""

    content: bytes
    grey: bool


def about(cell: CellFile, kind: str, *, whole: bool = False) -> dict[str, Any]:
    """What there is to look at (datasets.viewer.looking.About). Raises NotDrawn, and Busy of the desk."""
    path = _folder(cell) / f"{kind}-{'whole' if whole else 'about'}-{LOOK}.json"

    def ask() -> bytes:
        return by_desk(cell, lambda desk, place: json.dumps(checked(desk.about(place, kind, whole))).encode())

    found: dict[str, Any] = json.loads(_kept(cell, path, ask))
    return found


def frame(cell: CellFile, kind: str, plane: str, index: int) -> Frame:
    """One frame. Raises NoSuchFrame, NotDrawn, and Busy of the desk."""
    if plane not in NAMES or index > MOST_FRAMES:
        raise NoSuchFrame
    found = about(cell, kind)
    planes = {known["name"]: known for known in found["planes"]}
    if plane not in planes and found["more"]:
        planes = {known["name"]: known for known in about(cell, kind, whole=True)["planes"]}
    if plane not in planes or not 0 <= index < planes[plane]["count"]:
        raise NoSuchFrame
    path = _folder(cell) / f"{kind}-{plane}-{index}-{LOOK}.frame"
    content = _kept(
        cell, path, lambda: by_desk(cell, lambda desk, place: _sendable(desk.frame(place, kind, plane, index)))
    )
    return Frame(content, not content.startswith(PNG))


def _folder(cell: CellFile) -> Path:
    return folder_of(cell.file.organisation_id, cell.file.sha256) / "frames"


def _kept(cell: CellFile, path: Path, ask: Any) -> bytes:
    try:
        content = path.read_bytes()
        with contextlib.suppress(OSError):
            path.touch()
        return content
    except FileNotFoundError:
        pass
    failed = path.with_suffix(".failed")
    if lately(failed):
        raise NotDrawn(failed.read_text())
    try:
        content = bytes(ask())
    except NotDrawn as error:
        remember(cell, failed, str(error).encode())
        raise
    remember(cell, path, content)
    _trim(path.parent)
    return content


def _trim(folder: Path) -> None:
    """Frames of a thousand slices are not all kept, only those looked at lately."""
    with contextlib.suppress(OSError):  # forgotten meanwhile, or trimmed by another worker
        kept = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in folder.glob("*.frame")), reverse=True)
        total = 0
        for place, (_time, size, path) in enumerate(kept):
            total += size
            if place and (place >= KEPT_FRAMES or total > KEPT_BYTES):
                path.unlink(missing_ok=True)


def _sendable(content: bytes) -> bytes:
    """A PNG as it is; grey values packed, if there are as many as the frame says. Raises Refused."""
    if content.startswith(PNG):
        return content
    if content.startswith(TRACE):
        return _packed(content, len(content) >= 8 and len(content) == 8 + 8 * math.prod(struct.unpack_from("<HH", content, 4)))
    if not content.startswith(MAGIC) or len(content) < HEADER.size:
        raise Refused("not_drawn")
    _magic, width, height, slope, intercept = HEADER.unpack_from(content)
    sound = 0 < width <= LONGEST and 0 < height <= LONGEST and math.isfinite(slope) and math.isfinite(intercept)
    return _packed(content, sound and len(content) == HEADER.size + 2 * width * height)


def _packed(content: bytes, sound: bool) -> bytes:
    if not sound:
        raise Refused("not_drawn")
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def checked(told: dict[str, Any]) -> dict[str, Any]:
    """What the desk says, member by member: a process that was taken over could say anything. Raises Refused."""
    try:
        return {
            "planes": [_plane(plane) for plane in told["planes"][: len(NAMES)]],
            "windows": [_pair(window) for window in told["windows"][:8]],
            "range": _pair(told["range"]) if told["range"] is not None else None,
            "exact": bool(told["exact"]), "inverse": bool(told["inverse"]), "hounsfield": bool(told["hounsfield"]),
            "rate": _number(told["rate"]) if told["rate"] is not None else None,
            "more": bool(told["more"]), "signal": _signal(told["signal"]) if told["signal"] is not None else None,
        }  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Refused("not_drawn") from error


def _signal(told: Any) -> dict[str, Any]:
    channels = [str(name) for name in told["channels"][:MOST_CHANNELS]]
    if not all(LEAD.fullmatch(name) for name in channels):
        raise ValueError
    return {
        "seconds": _number(told["seconds"]), "timed": bool(told["timed"]), "millivolts": bool(told["millivolts"]),
        "channels": channels,
    }  # fmt: skip


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _pair(value: Any) -> list[float]:
    first, second = value
    return [_number(first), _number(second)]


def _plane(told: Any) -> dict[str, Any]:
    count, width, height, start = (int(told[name]) for name in ("count", "width", "height", "start"))
    if told["name"] not in NAMES or not 0 < count <= MOST_FRAMES or not 0 <= start < count or width < 1 or height < 1:
        raise ValueError
    marks = told["marks"]
    if marks is not None and (len(marks) != 4 or any(not m or not set(m) <= LETTERS or len(m) > 3 for m in marks)):
        raise ValueError
    return {
        "name": told["name"], "count": count, "width": width, "height": height, "start": start,
        "spacing": _pair(told["spacing"]) if told["spacing"] is not None else None,
        "marks": list(marks) if marks is not None else None, "aspect": _number(told["aspect"]), "depth": _number(told["depth"]),
    }  # fmt: skip
