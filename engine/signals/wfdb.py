"""PhysioNet's WFDB records: a text header (.hea) beside one or more files of samples.

The formats are those of the WFDB Applications Guide (header(5), signal(5)). The `wfdb` package was not taken: it brings
aiohttp, requests, fsspec and matplotlib, and opens addresses that a header names.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine import packs
from engine.metrics import Floats
from engine.signals.recording import (
    MOST_CHANNELS,
    MOST_SAMPLES,
    Recording,
    SignalError,
    channel_name,
    make_recording,
)

GAIN = 200.0  # header(5): a gain that is 0 or left out
RATE = 250.0  # header(5): a rate that is left out
PLAIN = {"16": "<i2", "32": "<i4", "61": ">i2", "80": "u1", "160": "<u2"}
OFFSET = {"80": 128, "160": 32768}
INVALID = {"16": -(2**15), "61": -(2**15), "160": -(2**15), "24": -(2**23), "32": -(2**31), "80": -128, "212": -2048}
BYTES = {"16": 2.0, "24": 3.0, "32": 4.0, "61": 2.0, "80": 1.0, "160": 2.0, "212": 1.5}
FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
GAINS = re.compile(r"(-?[\d.eE+-]+?)(?:\((-?\d+)\))?(?:/(\S+))?")
UNIT = re.compile(r"[A-Za-z0-9%µμ°^*./_-]{1,12}")
FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Channel:
    """One signal line of a header."""

    file: str
    format: str
    per_frame: int
    offset: int
    gain: float
    baseline: int
    unit: str
    name: str


Samples = Callable[[str], tuple[BinaryIO, int]]  # a file's name → its content, and how long it is


def read_wfdb(header: Path, rate: float | None) -> Recording:
    """The record of a header, in physical units; invalid samples are gaps. Raises SignalError."""

    def beside(file: str) -> tuple[BinaryIO, int]:
        path = header.parent / file
        if path.is_symlink() or not path.is_file():  # the name has no slash, so it lies beside the header
            raise _not_there()
        return path.open("rb"), path.stat().st_size

    return _record(header.read_text(encoding="utf-8", errors="replace"), beside)


def read_pack(path: Path, rate: float | None) -> Recording:
    """The record of a pack (see engine.packs): its first member is the header. Raises SignalError."""
    pack = packs.opened(path)
    if pack.form != packs.WFDB:
        raise SignalError("signal_format", "This file is of no format of signals that can be read.")
    named = {member.name: member for member in pack.members[1:]}

    def inside(file: str) -> tuple[BinaryIO, int]:
        if file not in named:
            raise _not_there()
        return io.BytesIO(named[file].read()), named[file].size

    return _record(pack.members[0].read().decode("utf-8", "replace"), inside)


def _not_there() -> SignalError:
    return SignalError("signal_incomplete", "The file of samples that this header names is not there.")


def _record(header: str, opened: Samples) -> Recording:
    frequency, length, channels = parse_header(header)
    parts: list[Floats] = []
    for file in dict.fromkeys(channel.file for channel in channels):
        together = [channel for channel in channels if channel.file == file]
        stream, size = opened(file)
        with stream:
            parts.append(_samples(stream, size, together, length))
    shortest = min(part.shape[1] for part in parts)
    values = np.concatenate([part[:, :shortest] for part in parts])
    ordered = [c for file in dict.fromkeys(c.file for c in channels) for c in channels if c.file == file]
    return make_recording(
        values, frequency, tuple(c.name for c in ordered), tuple(c.unit for c in ordered)
    )


def parse_header(text: str) -> tuple[float, int | None, list[Channel]]:
    """Frames per second, frames (None: not told) and channels. Raises SignalError for what is no single record."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    fields = lines[0].split() if lines else []
    if len(fields) < 2 or "/" in fields[0]:
        raise SignalError("signal_format", "This is no header of a single WFDB record.")
    count = int(fields[1])
    if not 1 <= count <= MOST_CHANNELS or len(lines) < 1 + count:
        raise SignalError("signal_format", "This WFDB header has no or too many channels.")
    frequency = float(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else RATE
    length = int(fields[3]) if len(fields) > 3 and int(fields[3]) > 0 else None
    return frequency, length, [_channel(line) for line in lines[1 : 1 + count]]


def header_text(record: tuple[float, int | None, list[Channel]], files: dict[str, str]) -> str:
    """A header that says the same of the samples, of files by their new names, and nothing else: no comments, no date, no
    description that is no channel's."""
    frequency, length, channels = record
    lines = [f"record {len(channels)} {frequency!r}" + (f" {length}" if length is not None else "")]
    for one in channels:
        unit = one.unit if UNIT.fullmatch(one.unit) else "NU"
        offset = f"+{one.offset}" if one.offset else ""
        name = f"{files[one.file]} {one.format}x{one.per_frame}{offset} {one.gain!r}({one.baseline})/{unit} 0 0 0 0 0"
        lines.append(f"{name} {channel_name(one.name)}".strip())
    return "\n".join(lines) + "\n"


def _channel(line: str) -> Channel:
    fields = line.split(maxsplit=8)
    form = FORMAT.fullmatch(fields[1]) if len(fields) > 1 else None
    if form is None or form[1] not in BYTES or not FILE.fullmatch(fields[0]) or form[3] not in (None, "0"):
        raise SignalError("signal_format", "This WFDB header names a format or file that can't be read.")
    gains = GAINS.fullmatch(fields[2]) if len(fields) > 2 else None
    gain = float(gains[1]) if gains else 0.0
    zero = int(fields[4]) if len(fields) > 4 else 0
    baseline = int(gains[2]) if gains and gains[2] is not None else zero
    unit = gains[3] if gains and gains[3] else "mV"
    name = fields[8] if len(fields) > 8 else ""
    per_frame, offset = int(form[2] or 1), int(form[4] or 0)
    if not 1 <= per_frame <= 4096:
        raise SignalError("signal_format", "This WFDB header has an impossible number of samples in a frame.")
    return Channel(fields[0], form[1], per_frame, offset, gain or GAIN, baseline, unit, name)


def _samples(stream: BinaryIO, size: int, channels: list[Channel], length: int | None) -> Floats:
    """(channels, frames) of one file; a channel with several samples in a frame gives their mean."""
    form, frame = channels[0].format, sum(channel.per_frame for channel in channels)
    if any(channel.format != form for channel in channels):
        raise SignalError("signal_format", "A WFDB file holds one format only.")
    bytes_there = size - channels[0].offset
    frames = int(bytes_there // (BYTES[form] * frame))
    frames = frames if length is None else min(frames, length)
    if frames * frame > MOST_SAMPLES:
        raise SignalError("signal_too_large", "This record has too many samples.")
    if frames < 2:
        raise SignalError("signal_incomplete", "The file of samples that this header names is empty.")
    digital = read_samples(stream, form, channels[0].offset, frames * frame).reshape(frames, frame)
    values = np.empty((len(channels), frames))
    start = 0
    for row, channel in enumerate(channels):
        own = digital[:, start : start + channel.per_frame].astype(float)
        own[own == INVALID[form]] = np.nan
        values[row] = (own.mean(axis=1) - channel.baseline) / channel.gain
        start += channel.per_frame
    return values


def read_samples(stream: BinaryIO, form: str, offset: int, count: int) -> NDArray[np.int64]:
    """(count,) stored numbers."""
    stream.seek(offset)
    data = stream.read(int(np.ceil(BYTES[form] * count)))
    if form in PLAIN:
        plain = np.frombuffer(data, dtype=PLAIN[form], count=count).astype(np.int64)
        return plain - OFFSET.get(form, 0)
    raw = np.frombuffer(data, dtype=np.uint8).astype(np.int64)
    if form == "24":
        triples = raw[: 3 * count].reshape(-1, 3)
        return _signed(triples @ np.array([1, 256, 65536]), 24)
    raw = np.pad(raw, (0, -len(raw) % 3)).reshape(-1, 3)  # 212: two samples of 12 bits in three bytes
    pairs = np.stack([raw[:, 0] + ((raw[:, 1] & 0x0F) << 8), raw[:, 2] + ((raw[:, 1] & 0xF0) << 4)], axis=1)
    return _signed(pairs.ravel()[:count], 12)


def _signed(numbers: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    return np.where(numbers >= 2 ** (bits - 1), numbers - 2**bits, numbers)
