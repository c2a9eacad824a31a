"""From a file or an array to a recording: which reader a file wants, told by its first bytes and its ending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.signals.recording import MOST_SAMPLES, Recording, SignalError, make_recording

LARGEST_FILE = 2 * 2**30  # bytes


def read_signal(source: Path | NDArray[np.generic], rate: float | None = None) -> Recording:
    """A recording from a CSV, TSV, npy, WFDB (.hea), EDF/BDF or DICOM file, or an array of (channels, samples).

    `rate` (Hz) is used where the file itself does not tell one. Raises SignalError, whatever is wrong with the file.
    """
    try:
        if isinstance(source, np.ndarray):
            return from_array(source, rate)
        if source.stat().st_size > LARGEST_FILE:
            raise SignalError("signal_too_large", "This file is too large for a signal.")
        return _reader(source)(source, rate)
    except SignalError:
        raise
    except MemoryError as error:
        raise SignalError("signal_too_large", "This signal does not fit into memory.") from error
    except Exception as error:  # libraries raise many kinds for damaged files; the cell counts as missing
        raise SignalError("signal_unreadable", f"This is no readable signal ({type(error).__name__}).") from error


def _reader(path: Path) -> Callable[[Path, float | None], Recording]:
    from engine import packs
    from engine.signals import binary, tables, wfdb

    if packs.is_pack(path):
        return wfdb.read_pack
    with path.open("rb") as file:
        head = file.read(256)
    if head[:6] == b"\x93NUMPY":
        return binary.read_npy
    if head[128:132] == b"DICM":
        return binary.read_dicom
    if head[:8] in (b"0       ", b"\xffBIOSEMI"):
        return binary.read_edf
    if path.suffix.lower() == ".hea":
        return wfdb.read_wfdb
    if path.suffix.lower() == ".dcm":
        return binary.read_dicom
    if path.suffix.lower() == ".dat" and path.with_suffix(".hea").is_file():
        return lambda data, rate: wfdb.read_wfdb(data.with_suffix(".hea"), rate)
    if b"\x00" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise SignalError("signal_format", "This file is of no format of signals that can be read.")
    return tables.read_table


def from_array(array: NDArray[np.generic], rate: float | None) -> Recording:
    """An array of (samples,), (channels, samples) or (samples, channels): the longer side is time."""
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or array.size == 0:
        raise SignalError("signal_shape", "A signal is an array of numbers with one or two dimensions.")
    if array.size > MOST_SAMPLES:
        raise SignalError("signal_too_large", "This signal has too many channels or samples.")
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        array = array.T
    return make_recording(np.asarray(array, dtype=np.float64), rate)
