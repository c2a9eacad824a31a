"""The files of an archive by the ways in which a table may name them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from datasets.cells.archive import Member
from datasets.cells.groups import Group, Groups, alone


class Names:
    """By path, by name, by name without its ending; a series also by its folder, one of its files or its UID, a recording by
    its record's name. Names are only compared, never opened."""

    def __init__(self, found: Sequence[Member], beside: str = "") -> None:
        self.beside = "".join(part + "/" for part in beside.split("/")[:-1]).casefold()
        self.groups = Groups(found)
        self.paths = {m.name.casefold(): m for m in found}
        self.counts: Counter[str] = Counter()
        self.short: dict[str, Member] = {}
        for member in found:
            base = member.base.casefold()
            for key in {base, base.removesuffix(".gz").rsplit(".", 1)[0]}:
                self.counts[key] += 1
                self.short[key] = member
        self.records = Counter(m.base.casefold()[:-4] for m in found if m.base.casefold().endswith(".hea"))
        self.folders = Counter(m.name.casefold().rsplit("/", depth)[0] for m in found for depth in range(1, len(m.folders) + 1))
        self.folder_names = Counter(path.rsplit("/", 1)[-1] for path in self.folders)

    def find(self, cell: Any, *, whole: bool = True) -> Group:
        """What a cell names; `whole`: of a slice its series, else the file by itself. Raises ValueError, which says why there
        is nothing."""
        text = str(cell).strip().replace("\\", "/")
        name = "/".join(p for p in text.split("/") if p not in ("", ".")).casefold()
        member = self._file(name)
        if member is not None:
            recording = self.groups.recordings.get(member.name) if self.records else None
            return recording or (self.groups.series_of(member) if whole else alone(member))
        found = self._folder(name) or self._series(text)
        if found is not None:
            return found
        base = name.rsplit("/", 1)[-1]
        if self.counts[base] or self.folder_names[base] > 1:
            raise ValueError(_("several files of the zip file are called “%(name)s”: write the folder too") % {"name": text[:80]})
        raise ValueError(_("the zip file holds no file “%(name)s”") % {"name": text[:80]})

    def _file(self, name: str) -> Member | None:
        for path in (self.beside + name, name):
            if path in self.paths:
                return self.paths[path]
        base = name.rsplit("/", 1)[-1]
        if self.counts[base] == 1:
            return self.short[base]
        if self.records[base] == 1:  # a WFDB record: “100” names 100.hea with 100.dat
            for path in (f"{self.beside}{name}.hea", f"{name}.hea", *(p for p in self.paths if p.endswith(f"/{base}.hea"))):
                if path in self.paths:
                    return self.paths[path]
        return None

    def _folder(self, name: str) -> Group | None:
        if not name:
            return None
        for path in (self.beside + name, name):
            if path in self.folders:
                return self.groups.below(path)
        if self.folder_names[name] == 1:
            return self.groups.below(next(path for path in self.folders if path.rsplit("/", 1)[-1] == name))
        return None

    def _series(self, text: str) -> Group | None:
        if "." not in text or not set(text) <= set("0123456789."):
            return None
        try:
            return self.groups.series(text)
        except KeyError:
            return None
