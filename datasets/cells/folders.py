"""A zip with one folder a class, read as a table: file (or series, or recording), label and, where it is told, patient."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from datasets.cells.archive import NOTES, Member, glance, members
from datasets.cells.groups import Group, Groups
from datasets.models import Kind
from datasets.readers.base import BATCH, Batch, Cell, ReadError
from engine import packs

SAMPLE = 200  # files whose kind is looked at
SENDERS_SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})
TAGGED = re.compile(
    r"(?:^|[^a-z])((?:patient|subject|subj|sub|person|case|pat|pt|p|患者|病人|住院号|病历号)[\s_\-.]?\d+)(?![0-9])", re.IGNORECASE
)
NUMBERED = re.compile(r"^(.*\d.*?)[\s_\-.(]+\d+\)?$")


class FolderTable:
    """The files of an archive in the order of their names, a series or recording of several files in one row; row 1 is the
    header, as in other tables."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        groups = Groups([m for m in members(path) if not m.base.lower().endswith(NOTES)])
        found = groups.all()
        if not found:
            raise ReadError("empty", _("There is no file in the zip file."))
        kind = kind_of(found)
        firsts = [group.members[0] for group in found]
        labels, self.split_folders = classes_of(firsts)
        patients, self.how = patients_of(firsts, labels)
        patients, self.how = by_headers([groups.patient(group) for group in found], found, patients, self.how)
        self.series = sum(group.form == packs.SERIES for group in found)
        header: list[Cell] = [str(kind)]
        columns: list[Sequence[Cell]] = [[groups.shown(group) for group in found]]
        if any(labels):
            header.append("label")
            columns.append([name or None for name in labels])
        if patients:
            header.append("patient")
            columns.append(list(patients))
        self.rows: list[list[Cell]] = [header, *(list(row) for row in zip(*columns, strict=True))]
        self.classes = Counter(name for name in labels if name)
        self._done = 0
        self.described: dict[str, Any] = {"format": "folders", "files": "folders"}

    def row_estimate(self) -> int:
        return len(self.rows) - 1

    def fraction(self) -> float:
        return min(1.0, self._done / len(self.rows))

    def wholesale(self, skip: int, size: int, width: int) -> Iterator[Batch]:
        return self.batches(skip, size)

    def batches(self, skip: int = 0, size: int = BATCH) -> Iterator[Batch]:
        """The rows after the first `skip`."""
        for start in range(skip, len(self.rows), size):
            rows = self.rows[start : start + size]
            self._done = start + len(rows)
            yield Batch(start + 1, rows)


def kind_of(found: Sequence[Group]) -> str:
    """What most of them are."""
    some = found[:: max(1, len(found) // SAMPLE)][:SAMPLE]
    kinds: Counter[str] = Counter()
    for group in some:
        if group.form:
            kinds[Kind.VOLUME if group.form == packs.SERIES else Kind.SIGNAL] += 1
        elif (seen := glance(group.members[0])) is not None:
            kinds[seen.kind] += 1
    return kinds.most_common(1)[0][0] if kinds else Kind.IMAGE


def by_headers(told: Sequence[str], found: Sequence[Group], patients: Sequence[str], how: str) -> tuple[list[str], str]:
    """The patients with what DICOM headers tell of them: two folders of one patient become one, and where names tell nothing,
    the headers do. Headers that tell the same patient everywhere (a pseudonym for all) tell nothing."""
    if len({one for one in told if one}) < 2 or (not patients and not all(told)):
        return list(patients), how
    if patients and how == "folder":
        first: dict[str, str] = {}
        return [first.setdefault(one, name) if one else name for one, name in zip(told, patients, strict=True)], how
    if patients or len(set(told)) == len(told):
        return list(patients), how  # each its own: as without a column
    names: dict[str, str] = {}
    for one, group in zip(told, found, strict=True):  # a name that nobody can be found by, and no other upload has
        names.setdefault(one, f"patient-{hashlib.sha256(group.name.encode() + one.encode()).hexdigest()[:10]}")
    return [names[one] for one in told], "header"


def classes_of(found: Sequence[Member]) -> tuple[list[str], bool]:
    """(the class of each file: its first folder below what all have in common, whether the sender had split the files).

    Folders such as “train” and “test” are no classes: the locked test split is dealt anew, by the stable rule.
    """
    common = 0
    while len({m.folders[: common + 1] for m in found}) == 1 and len(found[0].folders) > common:
        common += 1
    tops = {m.folders[common].casefold() if len(m.folders) > common else "" for m in found}
    split = len(tops) > 1 and tops <= SENDERS_SPLITS
    place = common + (1 if split else 0)
    return [m.folders[place] if len(m.folders) > place else "" for m in found], split


def patients_of(found: Sequence[Member], labels: Sequence[str]) -> tuple[list[str], str]:
    """(the patient of each file, how that is known: "folder", "tag", "number"); ([], "") where names do not tell."""
    depth = [m.folders.index(label) if label else None for m, label in zip(found, labels, strict=True)]
    below = [m.folders[d + 1] if d is not None and len(m.folders) > d + 1 else "" for m, d in zip(found, depth, strict=True)]
    if all(below) and len(set(below)) > 1:
        return below, "folder"
    stems = [m.base.removesuffix(".gz").rsplit(".", 1)[0] for m in found]
    tags = [TAGGED.search(stem) for stem in stems]
    if all(tags):
        return [re.sub(r"[\s_\-.]", "", t.group(1)).casefold() for t in tags if t is not None], "tag"
    numbered = [NUMBERED.match(stem) for stem in stems]
    if all(numbered):
        before = [n.group(1) for n in numbered if n is not None]
        groups = Counter(before)
        # “img_1, img_2” is one prefix for all; “smear17_3” repeats for a few files each.
        if 0.05 * len(found) <= len(groups) < len(found) and max(groups.values()) <= max(5, 0.2 * len(found)):
            return before, "number"
    return [], ""
