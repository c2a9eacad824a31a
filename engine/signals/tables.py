"""Signals in text tables: CSV, TSV and their like, with or without a header and a column of time."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.metrics import Floats
from engine.signals.recording import MOST_CHANNELS, MOST_SAMPLES, Recording, SignalError, make_recording

LARGEST = 512 * 2**20  # bytes
TIME = re.compile(
    r"(?i)\s*(elapsed[ _]?)?(time|timer|timestamp|datetime|date|seconds|sec|secs|t|时间)[ _]*[\[(]?(ns|us|µs|ms|msec|s|sec|"
    r"seconds|min|minutes|h|hours|秒|毫秒)?[\])]?\s*"
)
INDEX = re.compile(r"(?i)\s*(index|sample|samples|sample[ _]?(no|number|index)|frame|n|no|nr|#|unnamed.*|)\s*")
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "msec": 1e-3, "毫秒": 1e-3, "min": 60.0, "minutes": 60.0,
         "h": 3600.0, "hours": 3600.0}  # fmt: skip
RATE = re.compile(r"(?im)^[#%;]?.*?\b(?:fs|rate|sampling[ _]?(?:rate|frequency)|sample[ _]?rate|hz)\b\s*[:=,\t ]\s*([\d.]+)")
MISSED = 1.5  # steps of time without a sample from which it is a gap


def read_table(path: Path, rate: float | None) -> Recording:
    """Channels are the columns of numbers. The rate comes from a column of time, a line such as `# rate: 250`, or `rate`.

    Uneven times are brought to even ones; where samples are missing there is a gap.
    """
    if path.stat().st_size > LARGEST:
        raise SignalError("signal_too_large", "This text is too large for a signal.")
    text = _decoded(path.read_bytes())
    told, body = _comments(text)
    frame = _frame(body)
    numbers: dict[Any, Floats | None] = {name: _numbers(frame[name]) for name in frame.columns}
    time = _time_column(frame, numbers)
    channels = [n for n in frame.columns if n != time and numbers[n] is not None and not _is_index(n, numbers[n])]
    if not channels:
        raise SignalError("signal_empty", "This table has no column of numbers.")
    if len(channels) > MOST_CHANNELS or len(channels) * len(frame) > MOST_SAMPLES:
        raise SignalError("signal_too_large", "This table has too many channels or samples.")
    values = np.array([numbers[name] for name in channels], dtype=float)
    names = tuple(name if isinstance(name, str) else "" for name in channels)
    if time is not None:
        values, found = on_even_times(values, seconds_of(str(time), frame[time], numbers[time]))
        return make_recording(values, found if found is not None else told or rate, names)
    return make_recording(values, told or rate, names)


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", errors="replace")


def _comments(text: str) -> tuple[float | None, str]:
    """The rate that the comment lines before the table tell, and the table."""
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip() and line.lstrip()[0] not in "#%;"), len(lines))
    found = RATE.search("\n".join(lines[:first]))
    return (float(found[1]) if found else None), "\n".join(lines[first:])


def _frame(body: str) -> pd.DataFrame:
    sample = "\n".join(body.split("\n", 20)[:20])
    try:
        delimiter = csv.Sniffer().sniff(sample, delimiters=",;\t| ").delimiter
    except csv.Error:
        delimiter = ","
    first = [cell.strip().strip('"') for cell in sample.split("\n", 1)[0].strip().split(delimiter)]
    header = None if any(_is_number(cell) for cell in first) else 0
    decimal = "," if delimiter in ";\t" and re.search(r"\d,\d", sample) and not re.search(r"\d\.\d", sample) else "."
    return pd.read_csv(
        io.StringIO(body), sep=r"\s+" if delimiter == " " else delimiter, header=header, decimal=decimal,
        skip_blank_lines=True, on_bad_lines="skip", skipinitialspace=delimiter != " ", low_memory=False,
    )  # fmt: skip


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return cell.lower() not in {"nan", "inf"}


def _numbers(series: pd.Series) -> Floats | None:
    """The column as numbers, NaN where there is none; None when fewer than half of its cells are numbers."""
    numbers = np.array(pd.to_numeric(series, errors="coerce"), dtype=float)
    filled = series.notna().sum()
    return numbers if np.isfinite(numbers).sum() >= max(1, 0.5 * filled) else None


def _time_column(frame: pd.DataFrame, numbers: dict[Any, Floats | None]) -> Any:
    """A column that is called time, or without names a first column that runs up in fractions."""
    if len(frame.columns) < 2:
        return None
    for name in frame.columns:
        if isinstance(name, str) and TIME.fullmatch(name):
            return name
    name = frame.columns[0]
    first = numbers[name]
    if first is None or isinstance(name, str) or not np.all(np.isfinite(first)) or len(first) < 3:
        return None
    steps = np.diff(first)
    fractions = np.any(first != np.round(first))
    return name if fractions and np.all(steps > 0) and np.ptp(steps) <= 0.2 * np.median(steps) else None


def _is_index(name: object, numbers: Floats | None) -> bool:
    """Sample numbers 0, 1, 2, … or 1, 2, 3, …; under no name or one that says so."""
    if numbers is None or (isinstance(name, str) and not INDEX.fullmatch(name)):
        return False
    return bool(len(numbers) > 2 and numbers[0] in (0.0, 1.0) and np.all(np.diff(numbers) == 1.0))


def seconds_of(name: str, series: pd.Series, numbers: Floats | None) -> Floats:
    """A column of time in seconds: numbers in the unit that its name tells (seconds), or dates."""
    if numbers is not None:
        unit = TIME.fullmatch(name)
        said = (unit[3] or "").lower() if unit else ""
        return numbers * (UNITS.get(said) or _guessed(name, numbers))
    moments = pd.to_datetime(series, errors="coerce", format="mixed")
    return np.asarray((moments - moments.min()).dt.total_seconds(), dtype=np.float64)


def _guessed(name: str, numbers: Floats) -> float:
    """A timer that steps by two or more, and whole numbers that step by 2 to 50, are milliseconds."""
    steps = np.diff(numbers[np.isfinite(numbers)])
    usual = float(np.median(steps)) if len(steps) else 0.0
    whole = bool(np.all(steps == np.round(steps)))
    timer = bool(re.match(r"(?i)\s*timer\b", name))
    return 1e-3 if (timer and usual >= 2.0) or (whole and 2.0 <= usual <= 50.0) else 1.0


def on_even_times(values: Floats, times: Floats) -> tuple[Floats, float | None]:
    """Samples at any times to even ones at the median step, and the rate; a longer pause becomes a gap.

    None as rate when the times tell none.
    """
    good = np.isfinite(times)
    order = np.argsort(times[good], kind="stable")
    t, x = spread_out(times[good][order]), values[:, good][:, order]
    if len(t) < 3 or t[-1] <= t[0]:
        return values, None
    step, longest = typical_step(t)
    count = round((t[-1] - t[0]) / step) + 1
    if count * len(x) > MOST_SAMPLES or count > 100 * len(t):
        raise SignalError("signal_times", "The times of this signal leave almost nothing but gaps.")
    even = t[0] + step * np.arange(count)
    right = np.clip(np.searchsorted(t, even), 1, len(t) - 1)
    distance = np.minimum(np.abs(even - t[right - 1]), np.abs(t[right] - even))
    pause = (t[right] - t[right - 1] > longest) & (distance > 0.5 * step)
    rows = []
    for row in x:
        seen = ~np.isnan(row)
        line: Floats = np.full(count, np.nan)
        if seen.any():
            line[:] = np.interp(even, t[seen], row[seen])
        nearest = np.where(even - t[right - 1] < t[right] - even, right - 1, right)
        line[pause | ~seen[nearest]] = np.nan
        rows.append(line)
    return np.array(rows), 1.0 / step


def spread_out(t: Floats) -> Floats:
    """Rising times: a coarse clock gives several samples the same time, which then lie evenly up to the next one."""
    first = np.flatnonzero(np.concatenate([[True], np.diff(t) > 0]))
    if len(first) == len(t) or len(first) < 2:
        return t
    last_step = (t[first[-1]] - t[first[0]]) / max(first[-1] - first[0], 1)
    ends = np.append(first, len(t))
    return np.interp(np.arange(len(t)), ends, np.append(t[first], t[first[-1]] + last_step * (len(t) - first[-1])))


def typical_step(t: Floats) -> tuple[float, float]:
    """The seconds between samples, and from how many on it is a pause.

    Clocks step unevenly, so the step is the mean of all steps that are no pauses.
    """
    steps = np.diff(t)
    longest = MISSED * max(float(np.median(steps)), float(np.quantile(steps, 0.95, method="lower")))
    return float(steps[steps <= longest].mean()), longest
