"""What the preview says of a zip's files: which columns name them, which are missing, unused, or cannot be taken."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from datasets.cells import kinds
from datasets.cells.archive import NOTES, glance, members
from datasets.cells.folders import FolderTable
from datasets.cells.groups import FOLDER, Group
from datasets.cells.naming import Names
from datasets.models import Kind, Role
from datasets.readers import headers, missing
from datasets.readers.base import Cell
from engine import packs

LOOKED_AT = 1_000  # files whose beginnings are looked at
SHOWN = 10
SHARE = 0.5  # of a column's cells that name files for it to be a column of files
PROBED = 200


def describe(
    path: Path, options: dict[str, Any], columns: list[dict[str, Any]], cells: Sequence[Sequence[Cell]], *, complete: bool
) -> dict[str, Any]:
    """Make the columns that name files columns of files, with warnings; and the counts that the preview shows.

    {files, named, missing, unused, refused, kinds, missing_examples, unused_examples, refused_examples, complete}
    """
    found = [m for m in members(path) if m.name != options.get("table")]
    names = Names(found, str(options.get("table", "")))
    named: dict[str, str] = {}
    lost: list[str] = []
    folders = options.get("files") == "folders"  # then only the first column names files: the others are their folders' names
    for place, (column, values) in enumerate(zip(columns, cells, strict=True)):
        present = [v for v in values if missing.spelling(v) is None]
        if (not folders or not place) and _is_of_files(names, present, column["role"]):
            _look(names, column, present, named, lost)
    rest = [m.name for m in found if m.name not in named and not m.base.lower().endswith(NOTES)]
    refused = [{"name": name[:120], "reason": reason} for name, reason in named.items() if reason]
    return {
        "files": len(found), "named": len(named), "missing": len(lost), "unused": len(rest), "refused": len(refused),
        "missing_examples": lost[:SHOWN], "unused_examples": [n[:120] for n in rest[:SHOWN]],
        "refused_examples": refused[:SHOWN], "complete": complete,
    }  # fmt: skip


def _is_of_files(names: Names, present: Sequence[Cell], role: str) -> bool:
    """Labels and patients are often called as the folders are: there a folder's name does not count, nor where it repeats."""
    some = present[:: max(1, len(present) // PROBED)][:PROBED]
    found = [group for cell in some if (group := _found(names, cell)) is not None]
    if role in (Role.TARGET, Role.PATIENT) or len(set(present)) < len(present):
        found = [group for group in found if group.form != FOLDER]
    return bool(some) and len(found) >= SHARE * len(some)


def _found(names: Names, cell: Cell, whole: bool = False) -> Group | None:
    try:
        return names.find(cell, whole=whole)
    except ValueError:
        return None


def _look(
    names: Names, column: dict[str, Any], present: Sequence[Cell], named: dict[str, str], lost: list[str]
) -> None:
    """One column of files: its kind is what most of them are."""
    seen: dict[str, kinds.Look | None] = {}
    cells = list(dict.fromkeys(present))
    whole = _each_a_series(names, cells)
    groups: list[Group] = []
    for cell in cells:
        group = _found(names, cell, whole)
        if group is None:
            lost.append(str(cell)[:120])
            continue
        groups.append(group)
        if len(seen) < LOOKED_AT:
            seen[group.key] = look_of(group)
    counts = Counter(str(look.kind) for look in seen.values() if look is not None)
    if not counts:
        return
    kind = counts.most_common(1)[0][0]
    refused = 0
    for group in groups:
        reason = _reason(seen.get(group.key, kinds.Look(kind, "")), kind)
        refused += bool(reason)
        named.update({member.name: reason if member is group.members[0] else "" for member in group.members})
    column["warnings"] = [w for w in column["warnings"] if w["code"] not in ("file_names", "name_tag")]
    column |= {"kind": kind, "role": Role.FEATURE, "of_files": True, "minimum": None, "maximum": None}
    _warn(column, kind, len(cells) - len(groups), refused, sum(len(group.members) > 1 for group in groups))


def _each_a_series(names: Names, cells: Sequence[Cell]) -> bool:
    """Whether a cell that names a slice means its series: not where cells name several slices of one series."""
    found = (_found(names, cell, whole=True) for cell in cells)
    keys = Counter(group.key for group in found if group is not None and group.form == packs.SERIES)
    return not keys or max(keys.values()) == 1


def look_of(group: Group) -> kinds.Look | None:
    """What a group is by its beginnings."""
    if group.form == packs.SERIES:
        return kinds.Look(Kind.VOLUME, packs.SERIES)
    if group.form == packs.WFDB:
        return kinds.Look(Kind.SIGNAL, packs.WFDB)
    if group.form:
        recording = any(member.base.lower().endswith(".hea") for member in group.members)
        return kinds.Look(Kind.SIGNAL, packs.WFDB) if recording else kinds.Look(Kind.VOLUME, packs.SERIES)
    return glance(group.members[0])


def _reason(look: kinds.Look | None, kind: str) -> str:
    if look is None:
        return str(_("of no format of pictures, volumes, videos or signals that can be read"))
    if look.form and not look.fits(kind):
        return str(_("of kind “%(kind)s”") % {"kind": kinds.label(look.kind)})
    return ""


def _warn(column: dict[str, Any], kind: str, gone: int, refused: int, several: int) -> None:
    if several:
        text = ngettext(
            "%(count)d cell names several files that are one together: a DICOM series, or a recording with its samples.",
            "%(count)d cells name several files that are one together: a DICOM series, or a recording with its samples.",
            several,
        )
        column["warnings"].append(headers.warning("files_together", text % {"count": several}))
    if gone:
        text = ngettext(
            "%(count)d file that this column names is not in the zip file: its rows are refused.",
            "%(count)d files that this column names are not in the zip file: their rows are refused.",
            gone,
        )
        column["warnings"].append(headers.warning("files_missing", text % {"count": gone}))
    if refused:
        text = ngettext(
            "%(count)d file cannot be taken as a cell of kind “%(kind)s”: its rows are refused.",
            "%(count)d files cannot be taken as cells of kind “%(kind)s”: their rows are refused.",
            refused,
        )
        column["warnings"].append(
            headers.warning("files_refused", text % {"count": refused, "kind": kinds.label(kind)})
        )


def of_folders(table: FolderTable) -> list[dict[str, Any]]:
    """What was made of the folders, to be read before anything is imported."""
    found = []
    if table.classes:
        text = _("Each folder is a class: %(classes)s.")
        shown = ", ".join(f"{name} ({count})" for name, count in table.classes.most_common(12))
        found.append(headers.warning("folders_are_classes", text % {"classes": shown}))
    else:
        found.append(headers.warning("no_classes", _("The files lie in one folder, so that they have no label.")))
    if table.split_folders:
        text = _(
            "Folders such as “train” and “test” are not kept: which patients are locked away for testing is dealt by the data"
            " set's own rule, for ever."
        )
        found.append(headers.warning("senders_split", text))
    if table.series:
        text = ngettext(
            "%(count)d DICOM series of several slices, in one row.", "%(count)d DICOM series of several slices, each in one row.",
            table.series,
        )
        found.append(headers.warning("series", text % {"count": table.series}))
    found.append(headers.warning("patients_of_files", str(_HOW[table.how]())))
    return found


_HOW = {
    "": lambda: _(
        "The names do not tell which files are of the same patient: each file counts as a patient of its own. If that is"
        " wrong, upload a table with a patient column beside the files, or the figures will look better than they are."
    ),
    "folder": lambda: _("The folders below each class are taken as patients."),
    "header": lambda: _("The patients are told apart by the DICOM files themselves, under names that tell nobody who they are."),
    "tag": lambda: _("The patient's number is read from the files' names."),
    "number": lambda: _(
        "The files' names end in a running number; what comes before it is taken as the patient. Ignore the column"
        " “patient” if that is wrong."
    ),
}
