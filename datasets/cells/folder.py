"""The files of frozen records laid out for learning, and those of a few records found where they lie."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.files.storage import default_storage

from accounts.models import Organisation
from datasets import storage, temporary
from datasets.models import DatasetVersion, Kind, StoredFile
from datasets.records import FILE_KINDS
from datasets.versions import iter_frames

if TYPE_CHECKING:
    import pandas as pd

LOOK_UP = 500


def columns_of_files(version: DatasetVersion, left_out: Iterable[str] = ()) -> list[str]:
    """The names of the version's columns whose cells are files."""
    out = set(left_out)
    return [c["name"] for c in version.columns if c["kind"] in FILE_KINDS and c["name"] not in out]


def hashes_of(version: DatasetVersion, columns: Sequence[str]) -> dict[str, set[str]]:
    """Column → the hashes that the version froze in it."""
    found: dict[str, set[str]] = {name: set() for name in columns}
    if columns:
        for frame in iter_frames(version, columns=columns):
            for name in columns:
                found[name].update(cell for cell in frame[name].tolist() if cell)
    return found


def fingerprint(hashes: Iterable[str]) -> dict[str, Any]:
    """{count, sha256}: how many different files, and one hash over all of theirs in their order."""
    own = sorted(set(hashes))
    return {"count": len(own), "sha256": sha256("\n".join(own).encode()).hexdigest()}


def stored(organisation: Organisation, hashes: Iterable[str]) -> dict[str, str]:
    """Hash → path in storage, of the organisation's files that are there."""
    wanted, found = sorted(set(hashes)), {}
    for start in range(0, len(wanted), LOOK_UP):
        rows = StoredFile.objects.for_organisation(organisation).filter(sha256__in=wanted[start : start + LOOK_UP])
        found.update(dict(rows.exclude(path="").values_list("sha256", "path")))
    return found


@contextmanager
def laid_out(version: DatasetVersion, columns: Sequence[str], parent: Path) -> Iterator[Path | None]:
    """A folder below `parent` in which each frozen file of these columns lies under its hash; None without such columns.

    Hard links where the storage is a folder of the same disk (nothing is copied), else copies. Nobody can write into the
    folder, and it is gone after the block. A file that has been erased meanwhile is not there: the engine says so.
    """
    if not columns:
        yield None
        return
    hashes = set().union(*hashes_of(version, columns).values())
    folder = parent / "cells"
    _clear(folder)  # of an attempt that was killed
    folder.mkdir(parents=True, mode=0o700)
    try:
        for name, path in stored(version.dataset.organisation, hashes).items():
            _link(path, folder / name)
        folder.chmod(0o500)
        yield folder
    finally:
        _clear(folder)


def _clear(folder: Path) -> None:
    if folder.exists():
        folder.chmod(0o700)
        shutil.rmtree(folder)


def _link(stored_path: str, target: Path) -> None:
    source = storage.place_of(stored_path)
    if source is None:
        with default_storage.open(stored_path, "rb") as stream, target.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
        return
    try:
        os.link(source, target)
    except FileNotFoundError:
        return
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)


def located(organisation: Organisation, frame: "pd.DataFrame", columns: Sequence[str]) -> "pd.DataFrame | None":
    """The frame with paths in place of hashes, for looking whether the files are there; None where storage is no folder."""
    if not columns or storage.place_of("x") is None:
        return frame if not columns else None
    paths = stored(organisation, (cell for name in columns for cell in frame[name].tolist() if cell))

    def place(cell: Any) -> Any:  # what is not there is a path to nothing
        return storage.place_of(paths[cell]) if cell in paths else cell and Path(cell)

    return frame.assign(**{name: frame[name].map(place) for name in columns})


def unpacked_into(
    archive: Path, frame: "pd.DataFrame", columns: Mapping[str, str], folder: Path
) -> "pd.DataFrame":
    """The frame with hashes in place of the names that its cells give to files of a zip; the files lie in `folder`.

    `columns`: name → kind. A series or recording of several files becomes one (see cells.packing), as in records. Raises
    ValueError for a name that the zip does not hold or files that are no one cell, ReadError for what cannot be unpacked.
    """
    from datasets.cells import packing
    from datasets.cells.archive import layout_of, members, unpacked
    from datasets.cells.naming import Names

    folder.mkdir()
    layout = layout_of(archive)
    names = Names(members(archive) if layout.way else [], layout.table)
    known: dict[str, str] = {}
    frame = frame.copy()

    def kept(path: Path) -> str:
        with path.open("rb") as stream:
            name = file_digest(stream, "sha256").hexdigest()
        shutil.copyfile(path, folder / name)
        return name

    for column, kind in columns.items():
        cells: list[Any] = []
        for cell in frame[column].tolist():
            if cell is None or not str(cell).strip():
                cells.append(None)
                continue
            group = names.find(cell, whole=kind == Kind.VOLUME)
            if group.key not in known and group.form:
                with temporary.folder("unpacked-") as parts:
                    known[group.key] = kept(packing.packed(packing.copied(group.members, parts), parts).path)
            elif group.key not in known:
                with unpacked(group.members[0]) as path:
                    known[group.key] = kept(path)
            cells.append(known[group.key])
        frame[column] = cells
    return frame


@contextmanager
def at_hand(
    organisation: Organisation, records: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> Iterator[list[dict[str, Any]]]:
    """The records with paths of readable files in place of hashes: the stored ones themselves, or copies for the block."""
    ready = [dict(record) for record in records]
    hashes = {record[name] for record in ready for name in columns if record.get(name)}
    if not hashes:
        yield ready
        return
    paths = stored(organisation, hashes)
    with temporary.folder("cells-") as folder:
        own = {name: _near(path, folder / name) for name, path in paths.items()}
        for record in ready:
            for name in columns:
                if record.get(name):  # what has been erased is a missing cell
                    record[name] = own.get(record[name])
        yield ready


def _near(stored_path: str, copy: Path) -> Path:
    own = storage.place_of(stored_path)
    if own is not None:
        return own
    _link(stored_path, copy)
    return copy
