"""One recording: its channels as numbers over time, with gaps, whatever file it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats

MOST_SAMPLES = 50_000_000  # numbers of all channels together: 400 MB as float64, six days of one channel at 100 Hz
MOST_CHANNELS = 512
VOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6}  # to millivolts


class SignalError(ValueError):
    """A file or array that holds no signal which could be read. `code` is stable: it becomes an issue of the cell."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Recording:
    """`values` (channels, samples), NaN in gaps; `rate` in samples per second, 1.0 when nobody knows it.

    Voltages are in millivolts, everything else in the unit of the file. `names` are the channels' own, "" when they have none.
    """

    values: Floats
    rate: float
    names: tuple[str, ...]
    rate_known: bool = True
    millivolts: bool = False  # the file says that all channels are voltages

    @property
    def seconds(self) -> float:
        """The length in time."""
        return self.values.shape[1] / self.rate

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """(channels, samples) where there is no value."""
        return np.isnan(self.values)


def make_recording(
    values: Floats, rate: float | None, names: tuple[str, ...] | None = None, units: tuple[str, ...] = ()
) -> Recording:
    """A checked recording from (channels, samples). Infinite values are gaps.

    Raises SignalError: no number at all, too large, or an impossible rate.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2:
        raise SignalError("signal_shape", "A signal needs one or two dimensions.")
    if array.shape[0] > MOST_CHANNELS or array.size > MOST_SAMPLES:
        raise SignalError("signal_too_large", "This signal has too many channels or samples.")
    if rate is not None and not (np.isfinite(rate) and 1e-6 <= rate <= 1e9):
        raise SignalError("signal_rate", "The sampling rate of this signal is impossible.")
    finite = np.isfinite(array)
    if not finite.any() or array.shape[1] < 2:
        raise SignalError("signal_empty", "This signal holds no values.")
    if not finite.all():
        array = np.where(finite, array, np.nan)
    if units:
        scale = np.array([VOLTS.get(unit.strip().lower(), 1.0) for unit in units])
        array = array * scale[:, None] if np.any(scale != 1.0) else array
    own = tuple(channel_name(name) for name in names) if names else ("",) * len(array)
    volts = bool(units) and all(unit.strip().lower() in VOLTS for unit in units)
    return Recording(array, 1.0 if rate is None else float(rate), own, rate is not None, volts)


def channel_name(name: str) -> str:
    """A lead or sensor by its plain name: "Lead II", "EEG Fpz-Cz" and "ii" are told apart by what matters only.

    Only short names of letters, digits and signs are kept; anything else could be a patient's name.
    """
    plain = re.sub(r"(?i)^\s*(lead|ecg|ekg|eeg|emg|eog)\s+|\([^)]*\)", "", str(name)).strip().lower()
    return plain if re.fullmatch(r"[a-z0-9µ+\-_./ ]{1,24}", plain) else ""
