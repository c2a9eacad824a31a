"""Files of a source, kept; what is made of them: an arrival, tables, or cells of records."""

import csv
import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from datasets import intake, temporary
from datasets.arrivals import keeping
from datasets.arrivals.found import Refused
from datasets.arrivals.services import shown_name
from datasets.cells.archive import Member
from datasets.cells.folders import TAGGED, classes_of, patients_of
from datasets.importing.base import Faulty, FileFault, Piece, RemoteFile
from datasets.importing.lots import named
from datasets.importing.models import Importer
from datasets.importing.said import gettext as _
from datasets.models import StoredFile
from datasets.preview import Settings, build
from datasets.readers.base import ReadError
from jobs.handlers import JobContext

INDEX = "importer.csv"  # the table that is put beside the files
NO_ROOM = ("disk_full", "storage", "quota")
HEADER = ("file", "label", "patient")


@dataclass(frozen=True)
class Table:
    """A kept table (or zip with one) and how it is read."""

    name: str
    file: StoredFile
    options: dict[str, Any]
    rows: int = 0
    once: bool = True  # whether the very same content is passed over


@dataclass(frozen=True)
class Kept:
    """What a piece became on its way in. Of `tables` uploads are made, of `files` an arrival."""

    tables: list[Table] = field(default_factory=list)
    files: list[tuple[str, StoredFile]] = field(default_factory=list)
    faulty: Sequence[Faulty] = ()
    count: int = 0  # of the files that it came from

    def alive(self) -> bool:
        """Locked, so that nobody lets them go before our rows point to them; False where somebody has meanwhile."""
        own = [table.file for table in self.tables] + [file for _name, file in self.files]
        rows = StoredFile.objects.select_for_update().filter(pk__in={file.pk for file in own}).exclude(path="")
        return {row.pk: row.sha256 for row in rows} == {file.pk: file.sha256 for file in own}


@contextmanager
def fetched(file: RemoteFile, faulty: list[Faulty]) -> Iterator[keeping.Copy | None]:
    """A copy of a file; None, and noted, where this one can't be had. Raises SourceError, and Refused where there is no room."""
    copy = None
    with ExitStack() as until_used:
        try:
            # Left before the copy is used: only then is it certain that it did not change. `room` is for sources that make a
            # copy of their own; trouble with what they read they tell themselves.
            with keeping.room(), file.open() as stream:
                copy = until_used.enter_context(keeping.copied(stream, settings.MAX_UPLOAD_BYTES))
        except FileFault as fault:
            copy = None
            faulty.append(_fault(file, fault))
        except Refused as refused:
            if refused.code in NO_ROOM:
                raise
            faulty.append(Faulty(file.name, refused.why))
        yield copy


def _fault(file: RemoteFile, fault: FileFault) -> Faulty:
    if not fault.passing:
        return Faulty(file.name, str(fault))
    if file.last:
        text = _("It has been tried for days and is given up; it is taken once it has changed.")
        return Faulty(file.name, f"{fault} {text}")
    again = _("It is tried again in the next run.")
    return Faulty(file.name, f"{fault} {again}", again=True)


def _each(context: JobContext, piece: Piece, faulty: list[Faulty]) -> Iterator[tuple[RemoteFile, keeping.Copy]]:
    for file in piece.files:
        context.stop_if_asked()
        with fetched(file, faulty) as copy:
            if copy is not None:
                yield file, copy


def kept(context: JobContext, importer: Importer, piece: Piece) -> Kept:
    """Files as they are, to be sorted out."""
    faulty = list(piece.faulty)
    found = [(file.name, keeping.keep(importer.organisation, copy)) for file, copy in _each(context, piece, faulty)]
    return Kept(files=found, faulty=faulty, count=len(found))


def tables(context: JobContext, importer: Importer, piece: Piece) -> Kept:
    """Each file is a table, read by the mapping."""
    faulty, found = list(piece.faulty), []
    for file, copy in _each(context, piece, faulty):
        try:
            options = read_by(importer, copy.path, Settings(**importer.options.get("settings", {})))
        except ReadError as error:
            faulty.append(Faulty(file.name, str(error)))
            continue
        found.append(Table(file.name, keeping.keep(importer.organisation, copy), options))
    return Kept(tables=found, faulty=faulty, count=len(found))


def read_by(importer: Importer, path: Path, reading: Settings) -> dict[str, Any]:
    """How a file is read by the importer's mapping. Raises ReadError: no table, or not one of this mapping."""
    options, preview = build(path, reading)
    there: Mapping[str, Any] = {named(column): column for column in preview["columns"]}
    mapping, telling = importer.options["columns"], importer.options.get("telling", [])
    if lost := [name for name in map(named, [*mapping, *telling]) if name not in there]:
        text = _("it has no column %(names)s, which the mapping asks for")
        raise ReadError("field_lost", text % {"names": ", ".join(f"“{name}”" for name in lost[:10])})
    columns = [{**column, "place": there[named(column)]["place"]} for column in mapping]
    told = [{**given, "place": there[given["source_name"]]["place"]} for given in telling]
    keep = importer.options.get("keep_good_rows", True)
    return {**options, "columns": intake.reading(columns), "telling": told, "keep_good_rows": keep}


def cells(context: JobContext, importer: Importer, piece: Piece) -> Kept:
    """Each file is a cell: a zip of them, with a table that says label and patient by the rule found when it was set up."""
    faulty = list(piece.faulty)
    with temporary.file("arrived-") as target:
        count = 0
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            rows: list[Sequence[str]] = []
            for file, copy in _each(context, piece, faulty):
                name = inside(file.name)
                put(archive, name, copy.path)
                rows.append((name, *of_name(name, importer.options.get("layout", {}))))
                count += 1
            write_index(archive, rows)
        target.flush()
        if not count:
            return Kept(faulty=faulty)
        path = Path(target.name)
        options = read_by(importer, path, Settings(member=INDEX))
        file_ = keeping.keep(importer.organisation, keeping.measured(path))
    return Kept(tables=[Table(f"{importer.name}.zip", file_, options, count)], faulty=faulty, count=count)


def inside(name: str) -> str:
    """The file's name in the zip."""
    clean = shown_name(name)
    return f"files/{clean}" if clean.casefold() == INDEX else clean


def put(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """A file into the zip, with a fixed date, so that the same files make the same zip."""
    with path.open("rb") as source, archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1024 * 1024)


def write_index(archive: zipfile.ZipFile, rows: Sequence[Sequence[str]]) -> None:
    """The table beside the files."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows)
    archive.writestr(zipfile.ZipInfo(INDEX), text.getvalue().encode("utf-8", "replace"))


def layout_of(names: Sequence[str]) -> dict[str, Any]:
    """Which folder is the class and how names tell patients, by many names; kept, so that one file alone is read alike."""
    members = [Member(inside(name), None) for name in names]  # type: ignore[arg-type]  # only names are asked
    labels, _split = classes_of(members)
    _patients, how = patients_of(members, labels)
    depths = {m.folders.index(label) for m, label in zip(members, labels, strict=True) if label}
    return {"depth": min(depths) if depths else None, "patient": how if how in ("folder", "tag") else ""}


def of_name(name: str, layout: Mapping[str, Any]) -> tuple[str, str]:
    """(label, patient) of a file by its name; "" where it does not tell."""
    folders, depth = name.split("/")[:-1], layout.get("depth")
    label = folders[depth] if depth is not None and len(folders) > depth else ""
    if layout.get("patient") == "folder" and depth is not None and len(folders) > depth + 1:
        return label, folders[depth + 1]
    if layout.get("patient") == "tag" and (tag := TAGGED.search(name.rsplit("/", 1)[-1])) is not None:
        return label, "".join(c for c in tag.group(1) if c not in " -_.").casefold()
    return label, ""


