"""The files that a diagnosis was asked with: found among the organisation's own, kept while the diagnosis is."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.actor import Actor
from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet
from datasets import storage
from datasets.cells import store
from datasets.cells.models import CellFile
from inference.errors import RecordsInvalid
from inference.validation import MAX_ERRORS, Columns

AT_ONCE = 1_000


class DiagnosisFile(models.Model):
    """The file of one input of a diagnosis. While there is one, the file is kept."""

    organisation_path = "diagnosis__organisation"
    diagnosis = models.ForeignKey("inference.Diagnosis", on_delete=models.CASCADE, related_name="files", db_index=False)
    column = models.CharField(max_length=200)
    file = models.ForeignKey("datasets.StoredFile", on_delete=models.PROTECT, related_name="diagnosis_files")
    name = models.CharField(max_length=255, help_text=gettext_lazy("as its sender called it; only shown"))
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        app_label = "inference"
        constraints = [models.UniqueConstraint(fields=["diagnosis", "column"], name="diagnosis_file_once")]

    def __str__(self) -> str:
        return f"{self.diagnosis_id} {self.column}"


def found(organisation: Organisation, columns: Columns, records: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, CellFile]:
    """The files that checked records name by hash. Raises RecordsInvalid for one that is not there, or of another kind."""
    hashes = {record[name] for record in records for name in columns.files if name in record}
    cells = store.find(organisation, hashes) if hashes else {}
    errors = []
    for index, record in enumerate(records):
        where = f"{prefix}[{index}]" if prefix == "records" else prefix
        for name, kind in columns.files.items():
            if name in record and (why := store.unfit(cells.get(record[name]), kind)):
                errors.append({"field": f"{where}.{name[:200]}", "message": f"{why[:1].upper()}{why[1:]}.", "code": "file"})
    if errors:
        raise RecordsInvalid(errors[:MAX_ERRORS])
    return cells


def point(ids: Sequence[str], columns: Columns, records: Sequence[Mapping[str, Any]], cells: Mapping[str, CellFile]) -> None:
    """Note which file each input of new diagnoses is; in the transaction that writes them."""
    rows = [
        DiagnosisFile(diagnosis_id=UUID(pk), column=name, file_id=cells[record[name]].file_id, name=cells[record[name]].name)
        for pk, record in zip(ids, records, strict=True)
        for name in columns.files
        if name in record
    ]
    DiagnosisFile.objects.bulk_create(rows, batch_size=AT_ONCE)


def take_in(actor: Actor, parts: Mapping[str, Sequence[Any]], where: str = "", looked: bool = False) -> dict[str, str]:
    """Name of the part → hash of its file, kept; several files of one part are one cell (a DICOM series, a WFDB record).

    `looked`: the actor has seen the DICOM pictures, and none that shows who the patient is.

    Raises RecordsInvalid naming each part that cannot be a cell.
    """
    hashes, errors = {}, []
    for name, sent in parts.items():
        try:
            named = [(file.name or "file", file) for file in sent]
            cell = store.take_in_together(actor=actor, files=named, looked=looked)
        except (store.NotACell, storage.TooLarge) as error:
            message = _("“%(name)s”: %(why)s") % {"name": store.clean_name(sent[0].name or "file")[:80], "why": error}
            code = "too_large" if isinstance(error, storage.TooLarge) else error.code
            errors.append({"field": f"{where}{name}", "message": message, "code": code})
        else:
            hashes[name] = cell.file.sha256
    if errors:
        raise RecordsInvalid(errors)
    return hashes


def names_of(diagnosis_id: UUID) -> dict[str, str]:
    """Hash → what the sender called it, of one diagnosis's files."""
    rows = DiagnosisFile.objects.filter(diagnosis=diagnosis_id)
    return dict(rows.values_list("file__sha256", "name"))
