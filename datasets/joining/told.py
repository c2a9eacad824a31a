"""Which series a slice is of that is held in quarantine, so that the series waits for it: by its replaced UID, as nothing of
the hospital's own is kept in the row."""

from __future__ import annotations

from pathlib import Path

from accounts.models import Organisation
from datasets.arrivals.models import ArrivedFile
from datasets.dicom.vault import VaultClosed

# What a file was refused for that opens without harm: never one that ended the process which looked at it.
HARMLESS = frozenset({"truncated", "wrong_size", "damaged", "codec", "pixels"})


def series_of(row: ArrivedFile, organisation: Organisation, path: Path) -> dict[str, str]:
    """{"series": ...} of DICOM whose header can be read, else {}."""
    from datasets.dicom import (
        services,  # with pydicom, which the web process does not load before it is needed
    )
    from datasets.dicom.codes import Unreadable
    from datasets.dicom.reading import read

    if row.format != "dicom" and not (row.code in HARMLESS and _is_dicom(path)):
        return {}
    try:
        uid = str(read(path, header=True).get("SeriesInstanceUID", "") or "").strip()
        if not uid or len(uid) > 64:
            return {}
        series = services.profile_of(organisation).uid(uid)
    except (Unreadable, VaultClosed):
        return {}
    return {"series": series}


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
