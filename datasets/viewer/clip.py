"""A clip: one frame by its time, found by seeking and not by decoding all before it; and a strip of small ones to choose from."""

import io
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from datasets.cells.pictures import png
from datasets.viewer.looking import LONGEST, MOST_FRAMES, About, Plane
from engine.errors import FileRefused
from engine.pictures import is_dicom, read_dicom
from engine.video.readers import FORMATS, MOST_PIXELS, MPEG_SYNTAXES, RATE, _expected, _stream

STRIP, SMALL = 12, 96  # frames of the strip, pixels of their longer side
MOST_SIDE = 1280  # pixels of a frame's longer side as it is sent
NEAR = 1.5  # seconds ahead that are decoded on rather than sought


def is_mpeg(path: Path) -> bool:
    """Whether a DICOM file holds an MPEG stream."""
    return str(read_dicom(path, header=True).file_meta.TransferSyntaxUID).startswith(MPEG_SYNTAXES)


class Clip:
    """A video file, open while it is looked at."""

    def __init__(self, path: Path) -> None:
        import av

        self.file: BinaryIO = io.BytesIO(_stream(path)) if is_dicom(path) else path.open("rb")
        options = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
        self.container: Any = av.open(self.file, options=options, metadata_errors="ignore")
        if not self.container.streams.video:
            raise FileRefused("file_unreadable", "no moving picture")
        self.stream: Any = self.container.streams.video[0]
        self.stream.thread_type, self.stream.thread_count = "NONE", 1
        size = self.stream.codec_context.width, self.stream.codec_context.height
        if size[0] * size[1] > MOST_PIXELS or min(size) < 1:
            raise FileRefused("file_unreadable", "too many pixels")
        self.rate = float(self.stream.average_rate or RATE)
        self.count = max(1, min(MOST_FRAMES, round(_expected(self.container, self.stream, self.rate))))
        self.size = _fitted(size, MOST_SIDE)
        self.start = float((self.stream.start_time or 0) * (self.stream.time_base or 0))
        self.decoded: Any = None
        self.at = -1.0  # seconds of the frame that was decoded last

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()
        self.file.close()

    def about(self, whole: bool = False) -> About:
        small = _fitted(self.size, SMALL)
        planes = [Plane("clip", self.count, *self.size)]
        if self.count > 1:
            planes.append(Plane("strip", min(STRIP, self.count), *small))
        return About(planes, rate=self.rate)

    def frame(self, plane: str, index: int) -> bytes:
        if plane == "clip":
            return self._picture(index, self.size)
        shown = min(STRIP, self.count)
        place = round(index * (self.count - 1) / max(1, shown - 1))
        return self._picture(place, _fitted(self.size, SMALL))

    def _picture(self, index: int, size: tuple[int, int]) -> bytes:
        found = self._at(index / self.rate)
        array = found.to_ndarray(width=size[0], height=size[1], format="rgb24", interpolation="AREA", threads=1)
        return png(Image.fromarray(array))

    def _at(self, seconds: float) -> Any:
        """The last frame that is not later; of a clip that breaks off the last one that there is."""
        if not 0 <= self.at <= seconds + 1e-6 or seconds - self.at > NEAR or self.decoded is None:
            self._seek(seconds)
        while self.decoded is None or self.at < seconds - 0.5 / self.rate:
            found = self._next()
            if found is None:
                break
        if self.decoded is None:
            raise FileRefused("file_unreadable", "no frame")
        return self.decoded

    def _seek(self, seconds: float) -> None:
        from av.error import FFmpegError

        self.decoded, self.at = None, -1.0
        try:
            self.container.seek(int((seconds + self.start) / self.stream.time_base), stream=self.stream)
        except FFmpegError:  # a format that cannot: from the beginning
            self.container.seek(0)
        self.frames = self.container.decode(self.stream)

    def _next(self) -> Any:
        from av.error import FFmpegError

        try:
            found = next(self.frames, None)
        except FFmpegError:
            found = None
        if found is None:
            return None
        if found.width * found.height > MOST_PIXELS:
            raise FileRefused("file_unreadable", "too many pixels")
        known = found.time is not None
        self.decoded, self.at = found, found.time - self.start if known else max(self.at, 0.0) + 1 / self.rate
        return found


def _fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size), LONGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
