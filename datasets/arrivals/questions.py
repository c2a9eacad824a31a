"""What the process behind a desk is asked, and how it answers: the only place where strangers' files are decoded for others.

Each function takes the question and returns the answer, both plain JSON. Libraries are imported when they are first needed.
"""

import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from datasets.arrivals.found import Refused

Answer = TypeVar("Answer")


def look(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused."""
    from datasets.arrivals import sniff

    places = {name: Path(place) for name, place in question["beside"].items()}
    found = sniff.identify(Path(question["path"]), places.get)
    return {"kind": str(found.kind), "format": found.format, "facts": found.facts}


def text(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused."""
    from datasets.arrivals import documents_out

    path, out = Path(question["path"]), Path(question["out"])
    return {"masked": documents_out.write(path, question["format"], out, question["known"])}


def preview(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused."""
    from datasets.arrivals import documents_out

    path, most = Path(question["path"]), question["most"]
    pieces, more = documents_out.preview(path, question["format"], question["known"], most)
    return {"pieces": pieces, "more": more}


def clean(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused, "metadata" also when the cleaned picture does not open as the same."""
    from datasets.arrivals import cleaning, sniff

    path, out = Path(question["path"]), Path(question["out"])
    count = cleaning.clean(path, question["format"], out)
    if count:
        try:
            same = _same(sniff.identify(path), sniff.identify(out))
        except Refused as error:
            raise Refused("metadata") from error
        if not same:
            raise Refused("metadata")
    return {"count": count}


def _same(before: Any, after: Any) -> bool:
    """Whether both are of one kind, format and size; a clip may last a little shorter without its sound."""
    shapes = [(each.kind, each.format, {**each.facts, "seconds": 0.0}) for each in (before, after)]
    longer, shorter = (float(each.facts.get("seconds", 0.0)) for each in (before, after))
    spare = 0.2 + 0.02 * longer if before.kind == "video" else 0.0
    return shapes[0] == shapes[1] and abs(longer - shorter) <= spare


def draw(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused."""
    from datasets.cells import pictures

    return _png(lambda: pictures.render(Path(question["path"]), question["kind"], question["size"]))


def heat(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused."""
    from datasets.cells import heat as drawing

    path = Path(question["path"])
    return _png(lambda: drawing.render(path, question["kind"], question["regions"], question["millimetres"]))


def _png(drawn: Callable[[], bytes]) -> dict[str, Any]:
    return {"png": _drawn(lambda: base64.b64encode(drawn()).decode())}


def _drawn(drawn: Callable[[], Answer]) -> Answer:
    try:
        return drawn()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise Refused("not_drawn") from error


def about(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused."""
    from datasets.viewer import looking

    return {"about": _drawn(lambda: looking.about(Path(question["path"]), question["kind"], question["whole"]))}


def frame(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused."""
    from datasets.viewer import looking

    where = (Path(question["path"]), question["kind"], question["plane"], question["index"])
    return {"frame": _drawn(lambda: base64.b64encode(looking.frame(*where)).decode())}


def close() -> None:
    """Let go of the file that a viewer has open."""
    if "datasets.viewer.looking" in sys.modules:
        sys.modules["datasets.viewer.looking"].forget()


def burned_in(question: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused with a code of datasets.dicom.codes."""
    from datasets.dicom import burned_in as looking
    from datasets.dicom.codes import Unreadable
    from datasets.dicom.reading import read

    try:
        reasons, seen = looking.by_looking(read(Path(question["path"])))
    except Unreadable as error:
        raise Refused(error.code) from error
    return {"reasons": list(reasons), "seen": seen}


def dicom_frame(question: dict[str, Any]) -> dict[str, Any]:
    """One frame (from 0) of a DICOM file, decoded as `raw_frame` gives it: {count, bytes}; no bytes for a frame that there isn't.

    Raises Refused with a code of datasets.dicom.codes.
    """
    from datasets.dicom.reading import coded
    from engine.pictures import raw_frame

    def decoded(data: Any, index: int) -> bytes:
        with coded("pixels_unreadable"):
            found = raw_frame(data, index)
            return found.astype(found.dtype.newbyteorder("<"), copy=False).tobytes()

    return _of_frame(question, decoded)


def dicom_shown(question: dict[str, Any]) -> dict[str, Any]:
    """The same as a screen shows it. `window`: (centre, width), or "whole" for all values that occur; `viewport`: (width, height)
    in pixels; `form`: PNG or JPEG.
    """
    from PIL import Image

    from datasets.dicom.pixels import shown

    def drawn(data: Any, index: int) -> bytes:
        viewport = question["viewport"]
        picture = Image.fromarray(shown(data, index, window=_window(question["window"], data, index)))
        if viewport:
            picture.thumbnail((max(1, int(viewport[0])), max(1, int(viewport[1]))))
        stream = io.BytesIO()
        picture.save(stream, question["form"], **({"quality": question["quality"]} if question["form"] == "JPEG" else {}))
        return stream.getvalue()

    return _of_frame(question, drawn)


def _window(asked: Any, data: Any, index: int) -> tuple[float, float] | None:
    if asked != "whole":
        return tuple(asked) if asked else None
    from datasets.dicom.reading import coded
    from engine.pictures import frame_values

    with coded("pixels_unreadable"):
        values = frame_values(data, index)
    low, high = float(values.min()), float(values.max())
    return (low + high + 1) / 2, high - low + 1  # LINEAR of PS3.3 C.11.2.1.2: black below the least, white above the greatest


def _of_frame(question: dict[str, Any], made: Callable[[Any, int], bytes]) -> dict[str, Any]:
    from datasets.dicom.codes import Unreadable
    from datasets.dicom.pixels import frame_count
    from datasets.dicom.reading import read

    try:
        data = read(Path(question["path"]))
        count, index = frame_count(data), question["index"]
        found = made(data, index) if 0 <= index < count else b""
    except Unreadable as error:
        raise Refused(error.code) from error
    return {"count": count, "bytes": base64.b64encode(found).decode()}


ASKED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "look": look, "text": text, "preview": preview, "clean": clean, "draw": draw, "heat": heat, "burned_in": burned_in,
    "dicom_frame": dicom_frame, "dicom_shown": dicom_shown,
    "about": about, "frame": frame,
}  # fmt: skip
