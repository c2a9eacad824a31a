"""Signals in npy, EDF and DICOM files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from engine.metrics import Floats
from engine.signals.recording import MOST_CHANNELS, MOST_SAMPLES, Recording, SignalError, make_recording
from engine.signals.resampling import at_rate


def read_npy(path: Path, rate: float | None) -> Recording:
    """A plain array; nothing is unpickled."""
    from engine.signals.readers import from_array

    return from_array(np.load(path, mmap_mode="r", allow_pickle=False), rate)


def read_edf(path: Path, rate: float | None) -> Recording:
    """EDF, EDF+ and BDF, in physical units. Channels of other rates are brought to the highest one.

    In a file that was recorded with interruptions (EDF+D) the pauses are gaps.
    """
    import edfio

    with path.open("rb") as file:
        bdf = file.read(1) == b"\xff"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header that is slightly off is no reason to refuse the numbers
        edf: Any = edfio.read_bdf(path) if bdf else edfio.read_edf(path, lazy_load_data=True)
        signals = [signal for signal in edf.signals if signal.sampling_frequency > 0]
        if not signals:
            raise SignalError("signal_empty", "This EDF file has no signals.")
        highest = max(float(signal.sampling_frequency) for signal in signals)
        if len(signals) > MOST_CHANNELS or edf.duration * highest * len(signals) > MOST_SAMPLES:
            raise SignalError("signal_too_large", "This EDF file has too many channels or samples.")
        onsets = _onsets(edf)
        rows = [_with_pauses(np.asarray(s.data, dtype=float), s.samples_per_data_record, onsets,
                             float(s.sampling_frequency)) for s in signals]  # fmt: skip
    rates = [float(s.sampling_frequency) for s in signals]
    values = _one_rate(list(zip(rows, rates, strict=True)), highest)
    return make_recording(
        values, highest, tuple(s.label for s in signals), tuple(s.physical_dimension for s in signals)
    )


def _onsets(edf: Any) -> Floats | None:
    """Seconds from the first record at which each data record begins; None for a file without interruptions.

    edfio tells whether a file has interruptions, but not where: the first annotation of each record does (EDF+ 2.2.4).
    """
    if edf.is_continuous:
        return None
    keeper = edf._timekeeping_signal
    records = np.asarray(keeper.digital).reshape(edf.num_data_records, -1)
    texts = [record.tobytes().split(b"\x14", 1)[0].split(b"\x15", 1)[0] for record in records]
    onsets = np.array([float(text.decode("ascii")) for text in texts])
    return onsets - onsets[0]


def _with_pauses(row: Floats, per_record: int, onsets: Floats | None, rate: float) -> Floats:
    if onsets is None:
        return row
    starts = np.rint(onsets * rate).astype(np.int64)
    if starts.min() < 0 or starts.max() + per_record > MOST_SAMPLES:
        raise SignalError("signal_times", "The times of this signal leave almost nothing but gaps.")
    values = np.full(int(starts.max()) + per_record, np.nan)
    for start, part in zip(starts, row.reshape(-1, per_record), strict=False):
        values[start : start + per_record] = part
    return values


def _one_rate(rows: list[tuple[Floats, float]], rate: float) -> Floats:
    longest = max(round(len(row) * rate / own) for row, own in rows)
    values = np.full((len(rows), longest), np.nan)
    for i, (row, own) in enumerate(rows):
        same = at_rate(Recording(row[None, :], own, ("",)), rate).values[0] if own != rate else row
        values[i, : min(len(same), longest)] = same[:longest]
    return values


def read_dicom(path: Path, rate: float | None) -> Recording:
    """The longest group of channels of a DICOM waveform, calibrated (PS3.3 C.10.9); padding is a gap."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        groups = dataset.get("WaveformSequence")
        if not groups:
            raise SignalError("signal_empty", "This DICOM file holds no waveform.")
        sizes = [int(g.NumberOfWaveformSamples) * int(g.NumberOfWaveformChannels) for g in groups]
        if max(sizes) > MOST_SAMPLES:
            raise SignalError("signal_too_large", "This waveform has too many channels or samples.")
        longest = max(range(len(groups)), key=lambda i: int(groups[i].NumberOfWaveformSamples))
        group = groups[longest]
        values = np.array(dataset.waveform_array(longest), dtype=float).T
        _blank_padding(values, group)
    channels = list(group.ChannelDefinitionSequence)
    return make_recording(
        values, float(group.SamplingFrequency), tuple(map(_meaning, channels)), tuple(map(_unit, channels))
    )


def _blank_padding(values: Floats, group: Any) -> None:
    """Where the stored number is the padding value, there was no measurement."""
    padding = group.get("WaveformPaddingValue")
    if padding is None:
        return
    raw = np.frombuffer(group.WaveformData, dtype=_dtype(group)).reshape(-1, len(values)).T
    stored = np.frombuffer(padding, dtype=_dtype(group))[0] if isinstance(padding, bytes) else padding
    values[raw[:, : values.shape[1]] == stored] = np.nan


def _dtype(group: Any) -> str:
    signed = {"SB": "i1", "UB": "u1", "SS": "<i2", "US": "<u2", "SL": "<i4", "UL": "<u4"}
    return signed[str(group.WaveformSampleInterpretation)]


def _meaning(channel: Any) -> str:
    source = channel.get("ChannelSourceSequence")
    return str(source[0].get("CodeMeaning", "")) if source else str(channel.get("ChannelLabel", ""))


def _unit(channel: Any) -> str:
    units = channel.get("ChannelSensitivityUnitsSequence")
    return str(units[0].get("CodeValue", "")) if units else ""
