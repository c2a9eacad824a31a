"""The stored cell of what a UID names: the de-identified file itself, or those of a series packed in their order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from django.utils.translation import gettext as _

from accounts.models import Organisation
from datasets import storage, temporary
from datasets.cells import choosing, packing, store
from datasets.cells.kinds import NotACell
from datasets.cells.models import CellFile
from datasets.joining.naming import Late, Named
from datasets.receiving.index import instances_of
from datasets.receiving.models import DicomInstance


def keep(*, organisation: Organisation, named: Named) -> CellFile:
    """The same series gives the same stored file, however often it is asked for. Raises NotACell, Late, and desks.Busy."""
    rows = instances_of(organisation).filter(series=named.series).select_related("file").order_by("pk")
    if named.instance:
        rows = rows.filter(pk=named.instance)
    found = list(rows[: packing.MOST_PARTS])
    if not found:
        raise Late(_("it has been deleted meanwhile"))
    patients = {row.patient_id for row in found}
    if len(patients) > 1:
        raise NotACell("several_patients", _("The slices are of several patients: export the series of one patient."))
    try:
        return _kept(organisation, named, found, patients.pop())
    except FileNotFoundError:  # erased while it was read
        raise Late(_("it has been deleted meanwhile")) from None


def _kept(organisation: Organisation, named: Named, rows: list[DicomInstance], pseudonym: str) -> CellFile:
    if len(rows) == 1:
        return _itself(organisation, rows[0])
    with ExitStack() as stack:
        paths: dict[Path, DicomInstance] = {stack.enter_context(storage.local(row.file)): row for row in rows}
        parts = [packing.Part(f"{row.number or 0}.dcm", path) for path, row in paths.items()]
        folder = stack.enter_context(temporary.folder("packing-"))
        made = packing.series(parts, folder, None)  # they have been de-identified when they came
        if made.single:
            return _itself(organisation, paths[made.path])
        notes = made.notes
        if named.passed_over:
            notes = ({"code": "short_series", "count": named.passed_over, "most": choosing.SHORT}, *notes)
        return store.keep_pack(organisation=organisation, made=replace(made, pseudonym=pseudonym, notes=notes))


def _itself(organisation: Organisation, row: DicomInstance) -> CellFile:
    return store.keep_stored(organisation=organisation, file=row.file, name=f"{row.patient_id}.dcm", pseudonym=row.patient_id)
