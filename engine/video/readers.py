"""From a file or an array to a clip: PyAV for the formats of video, pydicom for DICOM cine, one frame at a time.

A file is opened through Python and never by its name, with a list of allowed formats: a playlist in disguise, which would
make the decoder open other files or addresses, is refused.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.video.clip import SIDE, SMALL, Clip, Picture, Sampler, VideoError, clip_of_frames, frame_of

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegvideo,mpegts,gif,asf,ogg,h264,hevc,m4v"
LARGEST_FILE = 16 * 2**30  # bytes; a clip is never in memory as a whole
MOST_PIXELS = 8192 * 8192  # of a frame
MOST_DECODED = 6000  # frames; of a longer clip only the key frames are decoded, and as many of these
RATE = 25.0  # frames per second where nobody tells
MPEG_SYNTAXES = "1.2.840.10008.1.2.4.10"  # MPEG-2, H.264 and H.265 transfer syntaxes begin so (PS3.5 A.4)


def read_video(source: Path | NDArray[np.generic]) -> Clip:
    """A clip from a video file, a GIF, a DICOM cine or frames (n, h, w) or (n, h, w, 3). Raises VideoError only."""
    try:
        if isinstance(source, np.ndarray):
            return from_array(source)
        if source.stat().st_size > LARGEST_FILE:
            raise VideoError("video_too_large", "This file is too large for a clip.")
        with source.open("rb") as file:
            head = file.read(132)
            file.seek(0)
            if head[128:132] == b"DICM" or source.suffix.lower() == ".dcm":
                return read_cine(source)
            return decode(file)
    except VideoError:
        raise
    except MemoryError as error:
        raise VideoError("video_too_large", "This clip does not fit into memory.") from error
    except Exception as error:  # decoders raise many kinds for damaged files; the cell counts as missing
        raise VideoError("video_unreadable", f"This is no readable clip ({type(error).__name__}).") from error


def from_array(array: NDArray[np.generic]) -> Clip:
    """Frames (n, h, w) or (n, h, w, 3): bytes as they are, other numbers between their least and most."""
    if array.dtype.kind not in "fiub" or array.ndim not in (3, 4) or array.size == 0:
        raise VideoError("video_shape", "A clip is an array of frames: (n, height, width) or (n, height, width, 3).")
    if array.ndim == 4 and array.shape[3] not in (1, 3):
        raise VideoError("video_shape", "A frame has one channel or three.")
    frames = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
    if frames.dtype == np.uint8:
        return clip_of_frames(_some(frames), RATE)
    low, high = float(np.nanmin(frames)), float(np.nanmax(frames))
    span = high - low if np.isfinite(high - low) and high > low else 1.0
    shown = (((f.astype(np.float64) - low) / span * 255.0) for f in _some(frames))
    return clip_of_frames((np.nan_to_num(f).clip(0, 255) for f in shown), RATE)


def _some(frames: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    yield from frames[:MOST_DECODED]


def decode(file: BinaryIO) -> Clip:
    """A file of any of FORMATS. A clip that breaks off is read up to there, and says so in `cut`."""
    import av

    options = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
    with av.open(file, options=options, metadata_errors="ignore") as container:
        if not container.streams.video:
            raise VideoError("video_empty", "This file has no moving picture.")
        stream: Any = container.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1  # joblib is the only door to parallelism
        if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
            raise VideoError("video_too_large", "The frames of this clip are too large.")
        rate = float(stream.average_rate or RATE)
        if _expected(container, stream, rate) > MOST_DECODED:
            stream.codec_context.skip_frame = "NONKEY"
        return _sampled(container, stream, rate)


def _expected(container: Any, stream: Any, rate: float) -> float:
    """About how many frames the clip has."""
    if stream.frames:
        return float(stream.frames)
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base) * rate
    return float(container.duration or 0) / 1e6 * rate


def _sampled(container: Any, stream: Any, rate: float) -> Clip:
    from av.error import FFmpegError

    sampler, cut, reduced = Sampler(), False, Reducer()
    try:
        for frame in container.decode(stream):
            if frame.width * frame.height > MOST_PIXELS:
                raise VideoError("video_too_large", "The frames of this clip are too large.")
            time = frame.time if frame.time is not None else sampler.count / rate
            sampler.add(*reduced(frame, sampler.wants), max(time, sampler.last))
            if sampler.count >= MOST_DECODED:
                cut = True
                break
    except FFmpegError:
        cut = True
    length = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    short = length is not None and sampler.count > 1 and sampler.last < 0.8 * length
    return sampler.clip(rate, cut=cut or short)


class Reducer:
    """Makes of a decoded frame the kept picture and the small grey one; the scaling is FFmpeg's own (area averages).

    One scaler for all frames, in one thread. `frame.to_ndarray(width=...)` makes a scaler for each frame, each with as many
    threads as there are cores: on a busy machine a clip waited for these thirty times as long as it was worked on.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self.large, self.small = VideoReformatter(), VideoReformatter()

    def __call__(self, frame: Any, wanted: bool) -> tuple[Picture | None, NDArray[np.float32]]:
        """The picture only where it is wanted."""
        picture: Picture | None = None
        if wanted:
            large: Any = self.large.reformat(frame, SIDE, SIDE, "rgb24", interpolation="AREA", threads=1)
            picture = large.to_ndarray()
        small = self.small.reformat(frame, SMALL, SMALL, "gray", interpolation="AREA", threads=1)
        return picture, small.to_ndarray().astype(np.float32)


def read_cine(path: Path) -> Clip:
    """A DICOM file of several frames. Those that hold an MPEG stream are decoded as one."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        if syntax.startswith(MPEG_SYNTAXES):
            return decode(io.BytesIO(_stream(path)))
        count = int(dataset.get("NumberOfFrames") or 1)
        if int(dataset.Rows) * int(dataset.Columns) > MOST_PIXELS:
            raise VideoError("video_too_large", "The frames of this clip are too large.")
        rate = frame_rate(dataset)
        sampler, cut = Sampler(), False
        try:
            for number, frame in enumerate(_cine_frames(path, dataset, min(count, MOST_DECODED))):
                sampler.add(*frame_of(_bytes(frame, dataset), sampler.wants), number / rate)
        except Exception:  # a cine that breaks off is read up to there
            if not sampler.count:
                raise
            cut = True
    return sampler.clip(rate, cut=cut or sampler.count < count)


def frame_rate(dataset: Any) -> float:
    """Frames per second from whichever attribute tells it (PS3.3 C.7.6.5)."""
    if dataset.get("FrameTime") and float(dataset.FrameTime) > 0:
        return 1000.0 / float(dataset.FrameTime)
    vector = dataset.get("FrameTimeVector")
    if vector is not None and not isinstance(vector, (int, float)) and len(vector) > 1:
        steps = [float(step) for step in vector[1:] if float(step) > 0]
        if steps:
            return 1000.0 / float(np.mean(steps))
    for name in ("CineRate", "RecommendedDisplayFrameRate"):
        if dataset.get(name) and float(dataset.get(name)) > 0:
            return float(dataset.get(name))
    return RATE


def _cine_frames(path: Path, dataset: Any, count: int) -> Iterator[NDArray[np.generic]]:
    """One decoded frame after the other, in RGB or grey."""
    from pydicom.pixels.utils import iter_pixels

    yield from iter_pixels(path, indices=range(count))


def _bytes(frame: NDArray[np.generic], dataset: Any) -> NDArray[np.generic]:
    """A frame of more than eight bits between the least and the most that its bits can hold; white is much."""
    if frame.dtype != np.uint8:
        bits = int(dataset.get("BitsStored", 16))
        low = -(2.0 ** (bits - 1)) if int(dataset.get("PixelRepresentation", 0)) else 0.0
        frame = ((frame.astype(np.float64) - low) / (2.0**bits - 1.0) * 255.0).clip(0, 255).astype(np.uint8)
    return 255 - frame if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else frame


def _stream(path: Path) -> bytes:
    from pydicom import dcmread
    from pydicom.encaps import generate_fragments

    return b"".join(generate_fragments(dcmread(path).PixelData))
