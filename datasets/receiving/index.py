"""What DICOMweb finds stored instances by: described when an instance is kept, gone with its file or its patient."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db.models import Exists, OuterRef

from accounts.models import Organisation
from datasets import storage
from datasets.arrivals.models import ArrivedFile
from datasets.cells.models import CellFile
from datasets.dicom.codes import Unreadable
from datasets.models import StoredFile
from datasets.receiving.models import DicomInstance

LONGEST = 300  # characters of a value that is kept for answers
MOST_VALUES = 16
AT_ONCE = 200  # files
# What QIDO answers with by itself (PS3.18 tables 10.6.3-3 to 5), as far as a de-identified file has it.
STUDY = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID", "PatientBirthDate",
         "PatientSex", "PatientAge", "StudyID", "StudyDescription")  # fmt: skip
SERIES = ("Modality", "SeriesDescription", "SeriesNumber", "SeriesDate", "SeriesTime", "BodyPartExamined", "ProtocolName",
          "Laterality", "Manufacturer", "ManufacturerModelName")  # fmt: skip
INSTANCE = ("SOPClassUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames", "ImageType",
            "AcquisitionNumber", "ContentDate", "ContentTime", "SliceThickness", "WindowCenter", "WindowWidth")  # fmt: skip


def describe(file: StoredFile, path: Path) -> DicomInstance | None:
    """The row of a de-identified file that lies at `path`, not saved; None for one that no UID names."""
    from datasets.dicom.reading import (  # not in a web process before it is needed: it loads decoders
        coded,
        read,
    )

    try:
        data = read(path, header=True)
        with coded("header_unreadable"):
            return _described(file, data)
    except Unreadable:
        return None


def _described(file: StoredFile, data: Any) -> DicomInstance | None:
    def text(name: str, most: int) -> str:
        return str(data.get(name, "") or "").replace("\0", "").strip()[:most]

    row = DicomInstance(
        organisation_id=file.organisation_id,
        file=file,
        study=text("StudyInstanceUID", 64),
        series=text("SeriesInstanceUID", 64),
        instance=text("SOPInstanceUID", 64),
        sop_class=text("SOPClassUID", 64),
        transfer_syntax=str(data.file_meta.get("TransferSyntaxUID", ""))[:64],
        patient_id=text("PatientID", 64),
        modality=text("Modality", 16),
        study_date=text("StudyDate", 8),
        series_number=_number(data, "SeriesNumber"),
        number=_number(data, "InstanceNumber"),
        attributes=_attributes(data),
    )
    return row if row.study and row.series and row.instance else None


def _number(data: Any, name: str) -> int | None:
    try:
        found = int(data.get(name, None))
    except (TypeError, ValueError):
        return None
    return found if abs(found) < 2**63 else None


def _attributes(data: Any) -> dict[str, Any]:
    """Those that are there, in the DICOM JSON model."""
    found = {}
    for name in (*STUDY, *SERIES, *INSTANCE):
        if name not in data:
            continue
        element = data[name]
        value = element.to_json_dict(None, 0)
        if len(str(value)) <= LONGEST and element.VM <= MOST_VALUES and _storable(value):
            found[f"{element.tag.group:04X}{element.tag.element:04X}"] = value
    return found


def _storable(value: Any) -> bool:
    """Whether every database takes it: no NaN or infinity, which JSON has not, no NUL, which PostgreSQL has not."""
    try:
        return "\\u0000" not in json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        return False


def keep(rows: Iterable[DicomInstance | None]) -> None:
    """Store the rows, in the transaction that says that the files are kept. A file that is described already keeps its row."""
    fresh = {row.file_id: row for row in rows if row is not None}
    known = set(DicomInstance.objects.filter(file__in=list(fresh)).values_list("file_id", flat=True))
    there = set(StoredFile.objects.filter(pk__in=list(fresh)).exclude(path="").values_list("pk", flat=True))
    # One that was erased meanwhile is not described; where another process has just described it, its row is as good as ours.
    DicomInstance.objects.bulk_create([row for pk, row in fresh.items() if pk in there - known], ignore_conflicts=True)


def instances_of(organisation: Organisation | None) -> Any:
    """What an organisation may be shown: of each instance the newest file that is there."""
    rows = DicomInstance.objects.for_organisation(organisation)
    alive = DicomInstance.objects.filter(organisation=OuterRef("organisation"), instance=OuterRef("instance"))
    newer = alive.filter(pk__gt=OuterRef("pk")).exclude(file__path="")
    return rows.exclude(file__path="").filter(~Exists(newer))


def describe_missing() -> int:
    """The nightly schedule's: describe what is stored and in no index, as what came before there was one. How many."""
    count = 0
    for rows in (
        ArrivedFile.objects.filter(format="dicom", file__isnull=False).values_list("file", flat=True),
        CellFile.objects.filter(form="dicom").values_list("file", flat=True),
    ):
        waiting = list(StoredFile.objects.filter(pk__in=rows, dicom=None).exclude(path="").values_list("pk", flat=True))
        for start in range(0, len(waiting), AT_ONCE):
            files = StoredFile.objects.filter(pk__in=waiting[start : start + AT_ONCE]).exclude(path="")
            found = [row for file in files if (row := _of_stored(file)) is not None]
            keep(found)
            count += len(found)
    return count


def _of_stored(file: StoredFile) -> DicomInstance | None:
    try:
        with storage.local(file) as path:
            return describe(file, path)
    except OSError:  # gone since it was listed
        return None
