"""De-identification of one file by DICOM PS3.15 Annex E. `deidentify(path, out, profile)` is all that others call.

Fails closed: whatever goes wrong, `out` is not written and the report says refused; whatever may show the patient in the
picture is not written either, until a person has looked (`pixels_checked`).
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from datasets.dicom import burned_in, picture
from datasets.dicom.cleaning import Cleaner, structural
from datasets.dicom.codes import Unreadable
from datasets.dicom.identifiers import Identifiers, walk
from datasets.dicom.profile import Identity, Profile
from datasets.dicom.reading import read
from datasets.dicom.report import Outcome, Report
from datasets.dicom.standard import EDITION

IMPLEMENTATION = "2.25.288338113286034263094207127190312894325"  # this program's own, made once (PS3.5 B.2)
VERSION = "AIMASS"
DECLARED = 0x00120064  # De-identification Method Code Sequence
# CID 7050 (PS3.16): how a file was de-identified.
CODES = {
    "basic": ("113100", "Basic Application Confidentiality Profile"),
    "dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "private": ("113111", "Retain Safe Private Option"),
}


class _Stop(Exception):
    """The file is not written: with this outcome, for these reasons."""

    def __init__(self, outcome: Outcome, *reasons: str) -> None:
        super().__init__(outcome)
        self.outcome, self.reasons = outcome, reasons


Look = Callable[[Path, Any], tuple[tuple[str, ...], int]]


def in_process(path: Path, data: Any) -> tuple[tuple[str, ...], int]:
    """What the decoded picture says: (codes of QUARANTINE, frames looked at). Only where a crash may end the process."""
    return burned_in.by_looking(data)


def deidentify(
    path: Path, out: Path, profile: Profile, *, pixels_checked: bool = False, look: Look = in_process
) -> Report:
    """Write `path` de-identified to `out` (whole or not at all) and say what was done. Never raises for what a file holds.

    `pixels_checked`: a person has looked at the picture and found nobody's name in it; the header is cleaned as ever.
    `look` alone decodes the picture (for who does so in another process); all else reads the header and moves bytes.
    Raises OSError where `out` can't be written.
    """
    report = Report(pixels_checked=pixels_checked, options=options_of(profile))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's quote values
            _deidentify(Path(path), Path(out), profile, report, look)
        report.outcome = Outcome.DONE
    except _Stop as stop:
        report.outcome, report.reasons = stop.outcome, stop.reasons
    except Unreadable as error:
        report.outcome, report.reasons = Outcome.REFUSED, (error.code,)
    except OSError:
        raise
    except Exception:  # a value that nobody thought of: its text could quote it, so it is not passed on
        report.outcome, report.reasons = Outcome.REFUSED, ("failed",)
    return report


def options_of(profile: Profile) -> tuple[str, ...]:
    """The keys of CODES that a profile stands for."""
    return tuple(name for name in CODES if name == "basic" or getattr(profile, name))


def _deidentify(path: Path, out: Path, profile: Profile, report: Report, look: Look) -> None:
    data = read(path)
    identity = identity_of(data)
    if not identity.key:
        raise _Stop(Outcome.REFUSED, "no_patient")
    report.identity, report.pseudonym = identity, profile.pseudonym(identity)
    known = Identifiers(data)
    _look(path, data, report, look)
    picture.strip(data, report, trusted=report.pixels_checked)
    Cleaner(profile, identity, report, known).clean(data)
    _declare(data, profile, report)
    _check(data, known)
    _write(data, out)
    try:
        _check(read(out), known)  # what was written, not what was meant
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def identity_of(data: Any) -> Identity:
    """Who a data set is about."""

    def text(name: str) -> str:
        return str(data.get(name, "") or "").strip()

    return Identity(
        patient_id=text("PatientID"),
        issuer=text("IssuerOfPatientID"),
        name=text("PatientName"),
        birth_date=text("PatientBirthDate"),
        sex=text("PatientSex"),
        study=text("StudyInstanceUID"),
    )


def _look(path: Path, data: Any, report: Report, look: Look) -> None:
    """Stop where the picture shows text, or could show some that can't be seen from here."""
    if report.pixels_checked:
        return
    reasons = burned_in.by_header(data)
    if not reasons:
        reasons, report.looked_at = look(path, data)
    if reasons:
        raise _Stop(Outcome.QUARANTINED, *reasons)


def _declare(data: Any, profile: Profile, report: Report) -> None:
    """What PS3.15 E.2 and E.3 ask to be written, and a file meta that holds nothing of the old one."""
    data.PatientIdentityRemoved = "YES"
    data.DeidentificationMethod = [f"DICOM PS3.15 {EDITION} Annex E Basic Profile", "AI Mass"]
    data.DeidentificationMethodCodeSequence = Sequence([_code(*CODES[name]) for name in report.options])
    data.LongitudinalTemporalInformationModified = "MODIFIED" if profile.dates else "REMOVED"
    if report.pixels_checked:
        data.BurnedInAnnotation = "NO"
    for name in ("PatientName", "PatientID"):
        if name not in data and "StudyInstanceUID" in data:
            setattr(data, name, report.pseudonym)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = data.get("SOPClassUID", "")
    meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID", "")
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = VERSION
    data.file_meta = meta
    data.preamble = b"\0" * 128


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _check(data: Any, known: Identifiers) -> None:
    """Stop if one of the patient's identifiers is still in a text or a short binary element (what `_declare` wrote aside)."""
    ours = {int(data[name].tag) for name in ("DeidentificationMethod", "PatientIdentityRemoved")}
    rest = [data[tag] for tag in list(data.keys()) if tag != DECLARED and tag not in ours]
    sequences = [
        inner for element in rest if element.VR == "SQ" for item in element.value for inner in walk(item)
    ]
    plain = [element for element in rest if element.VR != "SQ"]
    if any(
        known.found_in(element)
        for element in (*walk(data.file_meta), *plain, *sequences)
        if not structural(element)
    ):
        raise _Stop(Outcome.REFUSED, "identifier_left")


def _write(data: Any, out: Path) -> None:
    """Beside `out`, synced, then renamed: nobody sees half of a file."""
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=".part-", delete=False) as part:
        try:
            data.save_as(part, enforce_file_format=True)
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(out)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
