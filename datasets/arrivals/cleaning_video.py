"""Clips without what their container says of who, where and when, and without sound, in which a patient can be named.

The coded frames are copied into a new container of the same kind, none is decoded. What has nothing to lose stays as it is.
MPEG streams have no place for such texts, but for sound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets.arrivals.found import Refused
from datasets.arrivals.looks.videos import CONTAINERS

WRITTEN = {"mp4": "mp4", "mov": "mov", "avi": "avi", "mkv": "matroska", "matroska": "matroska", "mpeg": "mpeg"}
FORMATS = tuple(WRITTEN)
# What containers say of themselves, in FFmpeg's names; all else goes, so that what nobody knows goes.
TECHNICAL = frozenset(
    ("major_brand", "minor_version", "compatible_brands", "encoder", "handler_name", "language", "vendor_id", "duration",
     "number_of_frames", "number_of_bytes", "bps", "_statistics_writing_app", "_statistics_tags")
)  # fmt: skip
HANDLERS = ("", "videohandler", "core media video", "vide", "videohandle")


def clean(path: Path, form: str, out: Path) -> int:
    """Write the clip without metadata and sound to `out`; how many pieces went, with 0 nothing is written. Raises Refused."""
    import av
    from av.error import FFmpegError

    kind = CONTAINERS["mkv" if form == "matroska" else form]
    options = {"format_whitelist": kind, "protocol_whitelist": ""}
    try:
        with path.open("rb") as file, av.open(file, options=options, metadata_errors="ignore") as source:
            count = _pieces(source)
            if count:
                with av.open(str(out), "w", format=WRITTEN[form], options={"fflags": "+bitexact"}) as target:
                    copied = _copied(source, target)
        if count:
            _check(out, kind, copied)
    except (FFmpegError, ValueError) as error:
        raise Refused("metadata_video") from error
    return count


def _pieces(source: Any) -> int:
    """How many texts and streams there are beside the pictures."""
    count = len(source.streams) - 1 + len(source.chapters())
    return count + _texts(source.metadata) + _texts(source.streams.video[0].metadata)


def _texts(metadata: dict[str, str]) -> int:
    return sum(
        name.lower() not in TECHNICAL or (name.lower() == "handler_name" and value.lower() not in HANDLERS)
        for name, value in metadata.items()
    )


def _copied(source: Any, target: Any) -> int:
    """How many packets of pictures were copied."""
    stream = source.streams.video[0]
    kept = target.add_stream_from_template(stream, opaque=True)
    count = 0
    for packet in source.demux(stream):
        if packet.dts is None and not packet.size:
            continue
        packet.stream = kept
        target.mux(packet)
        count += 1
    return count


def _check(out: Path, kind: str, copied: int) -> None:
    """Raises Refused where what was written does not hold the same pictures, or anything beside them."""
    import av

    options = {"format_whitelist": kind, "protocol_whitelist": ""}
    with out.open("rb") as file, av.open(file, "r", options=options, metadata_errors="ignore") as written:
        there = sum(packet.size > 0 for packet in written.demux(written.streams.video[0]))
        if there != copied or _pieces(written):
            raise Refused("metadata_video")
