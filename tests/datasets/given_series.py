"""Series of DICOM slices and WFDB records for the tests: phantoms whose sides are known, of patients who do not exist."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from tests.datasets.dicom.files import fresh_uid, saved, slice_of

NAMES = (b"Quillfeather", b"MRN-5577341")


def phantom(number: int, count: int, bright: int = 3000) -> np.ndarray[Any, Any]:
    """Slice `number` of an air block: a bright rod at the patient's right (columns run to the left), in front, through the
    upper half of the stack."""
    values = np.full((32, 32), 100, dtype="<u2")
    values[4:28, 4:28] = 1000
    if number >= count // 2:
        values[6:12, 5:11] = bright
    return values


def series_of(count: int = 6, *, patient: str = "MRN-5577341", uid: str = "", bright: int = 3000, **more: Any) -> list[bytes]:
    """The files of an axial series, feet first, 2.5 mm apart."""
    made, own = [], uid or fresh_uid()
    for number in range(count):
        who = {"PatientID": patient, "PatientName": f"Quillfeather^{patient}"}
        data = slice_of(number, SeriesInstanceUID=own, SOPInstanceUID=fresh_uid(), **who, **more)
        data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
        data.PixelData = phantom(number, count, bright).tobytes()
        made.append(content(data))
    return made


def content(data: Any) -> bytes:
    stream = io.BytesIO()
    saved(data, stream)  # type: ignore[arg-type]
    return stream.getvalue()


def changed(file: bytes, **more: Any) -> bytes:
    """The same slice with other attributes."""
    from pydicom import dcmread

    data = dcmread(io.BytesIO(file))
    for name, value in more.items():
        setattr(data, name, value)
    return content(data)


def wfdb(rate: int = 250, seconds: float = 4.0, beat: float = 1.0, name: str = "p17") -> dict[str, bytes]:
    """A record of two leads in format 16 with a peak every `beat` seconds, and what must not be kept: a comment and a date."""
    count = int(rate * seconds)
    times = np.arange(count) / rate
    lead = np.exp(-(((times % beat) - beat / 2) ** 2) / 0.0004)
    samples = np.stack([200 * lead, -100 * lead], axis=1).round().astype("<i2")
    lines = [
        f"{name} 2 {rate} {count} 10:15:00 14/03/2026", f"{name}.dat 16 200(0)/mV 12 0 0 0 0 II",
        f"{name}.dat 16 200(0)/mV 12 0 0 0 0 V5", "# Quillfeather, age 59, MRN-5577341",
    ]  # fmt: skip
    return {f"{name}.hea": "\n".join(lines).encode(), f"{name}.dat": samples.tobytes()}


def put(folder: Path, parts: dict[str, bytes]) -> Path:
    """The parts as files below the folder."""
    for name, inside in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(inside)
    return folder


