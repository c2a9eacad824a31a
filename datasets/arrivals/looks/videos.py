"""MP4, MOV, AVI, MKV, MPEG and GIF: opened by FFmpeg through PyAV, the first frame decoded, never the whole clip."""

import struct
from pathlib import Path
from typing import Any

from datasets.arrivals.found import Found, Refused, Shape
from datasets.arrivals.looks.pictures import check_pixels

CONTAINERS = {
    "mp4": "mov",
    "mov": "mov",
    "avi": "avi",
    "mkv": "matroska",
    "mpeg": "mpeg,mpegvideo,mpegts",
    "gif": "gif",
}
TRIED = 64  # packets within which the first picture must come


def look(path: Path, form: str) -> Found:
    """The container of this format alone is opened: a playlist in disguise names other files. Raises Refused."""
    _check_size(path, form)
    with path.open("rb") as file:
        facts = first_frame(file, CONTAINERS[form])
    if form == "gif" and facts["frames"] == 1:
        return Found(Shape.IMAGE, form, facts)
    return Found(Shape.VIDEO, form, facts)


def first_frame(file: Any, formats: str) -> dict[str, Any]:
    """Facts of a clip whose first frame has been decoded. Raises Refused."""
    import av
    from av.error import FFmpegError

    try:
        options = {"format_whitelist": formats, "protocol_whitelist": ""}
        with av.open(file, options=options, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise Refused("no_moving_picture")
            stream: Any = container.streams.video[0]
            if stream.codec_context is None:
                raise Refused("codec", name="?")
            check_pixels(max(1, stream.codec_context.width), max(1, stream.codec_context.height))
            stream.thread_type, stream.thread_count = "NONE", 1
            frame = _decoded(container, stream)
            check_pixels(frame.width, frame.height)
            seconds = float(container.duration or 0) / 1e6
            frames = int(stream.frames or 0)
            if "gif" in formats:
                frames = sum(packet.size > 0 for packet in container.demux(stream)) + 1
            return {
                "width": frame.width,
                "height": frame.height,
                "frames": frames,
                "seconds": round(seconds, 3),
            }
    except FFmpegError as error:
        raise Refused("damaged", format=formats.split(",")[0].upper()) from error


def _decoded(container: Any, stream: Any) -> Any:
    for number, packet in enumerate(container.demux(stream)):
        for frame in packet.decode():
            return frame
        if number > TRIED:
            break
    raise Refused("no_moving_picture")


def _check_size(path: Path, form: str) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if form in ("mp4", "mov"):
            _check_boxes(stream, size)
        elif form == "avi":
            claimed = 8 + struct.unpack("<I", stream.read(8)[4:])[0]
            if claimed > size:
                raise Refused("truncated")
        elif form == "gif":
            stream.seek(max(0, size - 64))
            if not stream.read().rstrip(b"\x00").endswith(b";"):
                raise Refused("truncated")


def _check_boxes(stream: Any, size: int) -> None:
    """The boxes of an MP4 file follow each other up to its end; one must describe the clip."""
    place, seen = 0, set()
    while place + 8 <= size:
        stream.seek(place)
        length, kind = struct.unpack(">I4s", stream.read(8))
        if length == 1:
            length = struct.unpack(">Q", stream.read(8).ljust(8, b"\x00"))[0]
        elif length == 0:  # up to the end
            length = size - place
        if length < 8:
            if kind == b"\x00\x00\x00\x00":  # padding
                break
            raise Refused("damaged", format="MP4")
        seen.add(kind)
        place += length
    if place > size or b"moov" not in seen:
        raise Refused("truncated")
