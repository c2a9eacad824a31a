"""Several files that are one cell: looked at and de-identified one by one, then packed into the one stored file of the cell.

A pack (see engine.packs) has the slices of a series in the order of their places, or a WFDB header with its samples; nothing
of the sender's names. The same files make the same bytes, in whatever order and folders they come.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from accounts.actor import Actor
from datasets import storage, temporary
from datasets.arrivals import desks, unpack
from datasets.arrivals.found import Refused, Shape
from datasets.cells import choosing
from datasets.cells.archive import NOTES, Member
from datasets.cells.archive import unpacked as unpacked_member
from datasets.cells.kinds import HEAD, Look, NotACell
from datasets.models import Kind
from engine import packs

if TYPE_CHECKING:
    from datasets.cells.models import CellFile
    from datasets.dicom.reading import Instance

MOST_PARTS = 10_000  # files that are looked through for a series
NO_SLICES = ("dicomdir", "no_uid", "no_pixels")  # DICOM that is no picture: directories, reports, presentation states


@dataclass(frozen=True)
class Part:
    """A file as it came: what its sender calls it (with folders), and where it lies."""

    name: str
    path: Path

    @property
    def base(self) -> str:
        return self.name.replace("\\", "/").rsplit("/", 1)[-1]

    @property
    def folder(self) -> str:
        return self.name.replace("\\", "/").rpartition("/")[0]


@dataclass(frozen=True)
class Packed:
    """A pack that is not kept yet. `single`: there is only this file, which is no pack."""

    form: str
    path: Path
    notes: tuple[dict[str, Any], ...] = ()
    pseudonym: str = ""
    name: str = ""
    single: bool = False

    @property
    def look(self) -> Look:
        return Look(Kind.VOLUME if self.form == packs.SERIES else Kind.SIGNAL, self.form)


Clean = Callable[[Path, Path], str]  # (a slice, where it is to be written de-identified) → the pseudonym. Raises NotACell


def is_archive(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def is_dicom(path: Path) -> bool:
    """By its beginning, also without the Part 10 header."""
    from datasets.arrivals.looks.dicom import without_preamble

    with path.open("rb") as stream:
        head = stream.read(HEAD)
    return head[128:132] == b"DICM" or without_preamble(head)


def keep_together(*, actor: Actor, parts: Sequence[Part], looked: bool = False) -> "CellFile":
    """The CellFile of files that are one cell. `looked`: see deidentifying.prepared. Raises NotACell, and desks.Busy."""
    from datasets.cells import store

    assert actor.organisation is not None
    with temporary.folder("packing-") as folder:
        made = packed(parts, folder, _deidentifier(actor, looked))
        if made.single:
            sha256 = storage.sha256_of(made.path)
            size = made.path.stat().st_size
            return store.keep(actor=actor, path=made.path, sha256=sha256, size=size, name=made.name, looked=looked)
        return store.keep_pack(organisation=actor.organisation, made=made)


def keep_archive(*, actor: Actor, path: Path, looked: bool = False) -> "CellFile":
    """The same of the files in a ZIP archive."""
    with temporary.folder("unpacked-") as folder:
        return keep_together(actor=actor, parts=unpacked(path, folder), looked=looked)


def unpacked(path: Path, folder: Path) -> list[Part]:
    """The members of an archive under numbers in `folder`. Raises NotACell."""
    parts = []
    try:
        for number, member in enumerate(unpack.members(path)):
            if member.name == "[Content_Types].xml":
                raise NotACell("unknown", _("This is no picture, volume, video or signal."))
            if member.refused is not None:
                if member.refused.code == "system_file":
                    continue
                raise member.refused
            if number >= MOST_PARTS:
                raise Refused("too_many_files", limit=f"{MOST_PARTS:,}")
            place = folder / str(number)
            with place.open("wb") as copy:
                unpack.copy_out(member, copy)
            parts.append(Part(member.name, place))
    except Refused as refused:
        raise NotACell(refused.code, refused.why) from refused
    return parts


def copied(members: Sequence[Member], folder: Path, stop_if_asked: Callable[[], None] = lambda: None) -> list[Part]:
    """The same of some of an archive's members. Raises ReadError."""
    parts = []
    for number, member in enumerate(members):
        stop_if_asked()
        place = folder / str(number)
        with unpacked_member(member) as path:
            shutil.copyfile(path, place)
        parts.append(Part(member.name, place))
    return parts


def packed(parts: Sequence[Part], folder: Path, clean: Clean | None = None) -> Packed:
    """One pack, written into `folder`, or the only file that there is. `clean`: see Clean; None leaves slices as they are."""
    own = [p for p in parts if not p.base.startswith(".") and not p.base.lower().endswith(NOTES) and p.path.stat().st_size]
    headers = [p for p in own if p.base.lower().endswith(".hea")]
    if len(headers) == 1 and not any(is_dicom(p.path) for p in own):
        return recording(headers[0], own, folder)
    if len(own) == 1:
        return Packed("", own[0].path, name=own[0].base, single=True)
    slices = [p for p in own if is_dicom(p.path)]
    if not slices:
        text = _(
            "These %(count)s files are no one cell. Together go the DICOM files of one series, or a WFDB header (.hea) with its"
            " samples."
        )
        raise NotACell("several_files", text % {"count": len(own)})
    return series(slices, folder, clean, left_out=len(own) - len(slices))


def series(parts: Sequence[Part], folder: Path, clean: Clean | None, left_out: int = 0) -> Packed:
    """The slices of the one series among these, in order. Raises NotACell, also where one slice of it cannot be taken: a
    volume with a hole that nobody sees would be worse than none."""
    found: list[Instance] = []
    for part in parts:
        one = described(part)
        left_out += one is None
        found += [one] if one is not None else []
    chosen = choosing.choose(found, left_out)
    if len(chosen.paths) > packs.MOST_MEMBERS:
        raise NotACell("too_many_files", _("A series has at most %(most)s slices.") % {"most": f"{packs.MOST_MEMBERS:,}"})
    names = {part.path: part.base for part in parts}
    if len(chosen.paths) == 1:
        return Packed("", chosen.paths[0], name=names[chosen.paths[0]], single=True)
    ready, pseudonyms = [], set()
    for number, path in enumerate(chosen.paths, start=1):
        out = folder / f"slice-{number}"
        try:
            pseudonyms.add(clean(path, out) if clean is not None else "")
        except NotACell as refused:
            text = _("Slice %(number)s of %(count)s: %(why)s")
            raise NotACell(refused.code, text % {"number": number, "count": len(chosen.paths), "why": refused}) from refused
        ready.append(out if clean is not None else path)
    if len(pseudonyms) > 1:
        raise NotACell("several_patients", _("The slices are of several patients: export the series of one patient."))
    pack = folder / "pack"
    packs.write(pack, packs.SERIES, packs.slices(ready))
    return Packed(packs.SERIES, pack, chosen.notes, pseudonyms.pop())


def described(part: Part) -> "Instance | None":
    """What grouping needs to know of a file; None for what is no slice. Raises NotACell for a damaged one."""
    from datasets.dicom.codes import TEXTS, Unreadable
    from datasets.dicom.reading import describe

    if part.base.upper() == "DICOMDIR":
        return None
    try:
        return describe(part.path)
    except Unreadable as error:
        if error.code in NO_SLICES:
            return None
        raise NotACell(error.code, f"“{part.base[:80]}”: {TEXTS.get(error.code, error.code)}") from error


def _deidentifier(actor: Actor, looked: bool) -> Clean:
    """Each slice is opened by a desk, as every file of strangers, then de-identified as a single one would be."""
    from datasets.cells.deidentifying import deidentified

    def clean(path: Path, out: Path) -> str:
        try:
            with desks.shared() as desk:
                desk.look(path)
        except Refused as refused:
            raise NotACell(refused.code, refused.why) from refused
        return deidentified(actor, path, out, looked)

    return clean


def recording(header: Part, parts: Sequence[Part], folder: Path) -> Packed:
    """A WFDB header with its samples; nothing else of the header is kept. Raises NotACell."""
    from engine.signals.recording import SignalError
    from engine.signals.wfdb import header_text, parse_header

    beside = {part.base: part.path for part in parts if part.folder == header.folder and part is not header}
    with ExitStack() as stack:
        desk = stack.enter_context(desks.shared())
        try:
            found = desk.look(header.path, beside)
        except Refused as refused:
            raise NotACell(refused.code, refused.why) from refused
    try:
        record = parse_header(header.path.read_text(encoding="utf-8", errors="replace"))
    except (SignalError, ValueError) as error:
        raise NotACell("damaged", _("This is no header of a WFDB record.")) from error
    if found.kind != Shape.SIGNAL or found.format != packs.WFDB:
        raise NotACell("damaged", _("This is no header of a WFDB record."))
    files = {name: f"{number}.dat" for number, name in enumerate(dict.fromkeys(one.file for one in record[2]))}
    pack = folder / "pack"
    text = header_text(record, files).encode()
    packs.write(pack, packs.WFDB, [("record.hea", text), *((new, beside[old]) for old, new in files.items())])
    return Packed(packs.WFDB, pack, name=header.base)
