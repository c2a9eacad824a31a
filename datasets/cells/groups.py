"""Which files of an archive belong together: the slices of a DICOM series by their UIDs, a WFDB header with its samples.

Only beginnings of files are read. What a group really is, is found when it is taken in (see packing): here it is only named.
"""

import hashlib
import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from datasets.cells.archive import Member, beginning
from engine import packs

FOLDER = "folder"
FIRST, MORE = 8 * 1024, 256 * 1024  # bytes of a file in which its UIDs are looked for
PROBED = 3  # slices of a large folder that are asked whether they are all of one series
LARGE = 60  # files
WANTED = (0x00100020, 0x00100021, 0x0020000E)  # Patient ID, Issuer of Patient ID, Series Instance UID
OTHERS = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".nii", ".gz", ".mp4", ".avi", ".mov", ".mkv", ".mpg",
    ".mpeg", ".csv", ".tsv", ".npy", ".edf", ".bdf", ".hea", ".dat", ".atr", ".xlsx", ".parquet", ".zip",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Files that a row names as one: `form` is packs.SERIES, packs.WFDB, FOLDER, or "" for a file by itself."""

    name: str
    members: tuple[Member, ...]
    form: str = ""

    @property
    def key(self) -> str:
        """Equal for equal groups; of a file by itself its name."""
        return f"{self.form}:{self.name}" if self.form else self.name

    @property
    def base(self) -> str:
        return self.name.rsplit("/", 1)[-1]


def alone(member: Member) -> Group:
    return Group(member.name, (member,))


@dataclass(frozen=True)
class Slice:
    """A DICOM file by its header. `patient` is for comparing alone: it is never shown or kept."""

    member: Member
    series: str
    patient: str


class Groups:
    """The groups among these files. Headers are read when they are first asked for."""

    def __init__(self, found: Sequence[Member]) -> None:
        self.found = found
        self.made: dict[str, Group] = {}

    @cached_property
    def slices(self) -> dict[str, Slice]:
        """Name → slice, of all DICOM files that tell their series; of a large folder whose first, middle and last file are of
        one series, all are taken to be: what is not is found when the series is put together."""
        folders: dict[tuple[str, ...], list[Member]] = defaultdict(list)
        for member in self.found:
            if not member.base.lower().endswith(OTHERS) and member.base.upper() != "DICOMDIR":
                folders[member.folders].append(member)
        return {one.member.name: one for own in folders.values() for one in _headers(own)}

    @cached_property
    def by_series(self) -> dict[str, list[Member]]:
        own: dict[str, list[Member]] = defaultdict(list)
        for one in self.slices.values():
            own[one.series].append(one.member)
        return dict(own)

    @cached_property
    def sizes(self) -> Counter[tuple[str, ...]]:
        """How many files lie in a folder and below it."""
        return Counter(m.folders[:depth] for m in self.found for depth in range(1, len(m.folders) + 1))

    def series_of(self, member: Member) -> Group:
        """The series of a slice, named by its first file; the file alone where it is of none."""
        one = self.slices.get(member.name)
        return self.series(one.series) if one is not None else alone(member)

    def series(self, uid: str) -> Group:
        """By its UID. Raises KeyError."""
        if uid not in self.made:
            own = sorted(self.by_series[uid], key=lambda m: m.name.casefold())
            self.made[uid] = alone(own[0]) if len(own) == 1 else Group(own[0].name, tuple(own), packs.SERIES)
        return self.made[uid]

    def below(self, folder: str) -> Group | None:
        """All files in a folder, however deep; `folder` casefolded."""
        own = tuple(m for m in self.found if m.name.casefold().startswith(f"{folder}/"))
        if not own:
            return None
        return alone(own[0]) if len(own) == 1 else Group("/".join(own[0].name.split("/")[: folder.count("/") + 1]), own, FOLDER)

    @cached_property
    def recordings(self) -> dict[str, Group]:
        """Name → the recording that the file is of, of each WFDB header and its samples."""
        from engine.signals.recording import SignalError
        from engine.signals.wfdb import parse_header

        paths = {m.name: m for m in self.found}
        made: dict[str, Group] = {}
        for header in self.found:
            if not header.base.lower().endswith(".hea"):
                continue
            try:
                channels = parse_header(beginning(header, MORE).decode("utf-8", "replace"))[2]
            except (SignalError, ValueError):
                continue
            prefix = header.name.removesuffix(header.base)
            own = [paths[prefix + name] for name in dict.fromkeys(c.file for c in channels) if prefix + name in paths]
            group = Group(header.name, (header, *own), packs.WFDB)
            made |= {member.name: group for member in group.members}
        return made

    def all(self) -> list[Group]:
        """Every file in one group, in the order of their names: recordings, series, the rest by themselves."""
        made: dict[str, Group] = {}
        for member in self.found:
            if member.base.upper() == "DICOMDIR":
                continue
            one = self.recordings.get(member.name) or self.series_of(member)
            made.setdefault(one.key, one)
        return sorted(made.values(), key=lambda group: group.name.casefold())

    def patient(self, group: Group) -> str:
        """What makes two groups one patient's, by their headers; "" where these do not tell."""
        return next((one.patient for m in group.members if (one := self.slices.get(m.name)) is not None), "")

    def shown(self, group: Group) -> str:
        """How a table that is made of folders names the group: by its folder, where nothing else is in it."""
        folders = {m.folders for m in group.members}
        if group.form != packs.SERIES or len(folders) > 1:
            return group.name
        folder = next(iter(folders))
        return "/".join(folder) if folder and self.sizes[folder] == len(group.members) else group.name


def _headers(folder: Sequence[Member]) -> Iterable[Slice]:
    own = sorted(folder, key=lambda m: m.name)
    if len(own) > LARGE:
        some = [own[round(k * (len(own) - 1) / (PROBED - 1))] for k in range(PROBED)]
        heads = [header(member) for member in some]
        first = heads[0]
        if first is not None and all(h is not None and h[0] == first[0] for h in heads):
            return [Slice(member, *first) for member in own]
    return [Slice(member, *head) for member in own if (head := header(member)) is not None]


def header(member: Member) -> tuple[str, str] | None:
    """(Series Instance UID, who the patient is as a hash) of a DICOM file with pixels; None for all others."""
    from datasets.arrivals.looks.dicom import without_preamble

    for size in (FIRST, MORE):
        head = beginning(member, size)
        if head[128:132] != b"DICM" and not without_preamble(head):
            return None
        found = _uids(head)
        if found is not None:
            return found
        if len(head) < size:
            return None
    return None


def _uids(head: bytes) -> tuple[str, str] | None:
    from pydicom.filereader import read_partial

    def enough(tag: Any, vr: Any, length: int) -> bool:
        return int(tag) > 0x0020000E

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = read_partial(io.BytesIO(head), stop_when=enough, force=True, specific_tags=list(WANTED))
            uid, patient = str(data.get("SeriesInstanceUID", "") or ""), str(data.get("PatientID", "") or "").strip()
            issuer = str(data.get("IssuerOfPatientID", "") or "")
    except Exception:  # a damaged header: said when the file is taken in
        return None
    return (uid, hashlib.sha256(f"{issuer}\0{patient}".encode()).hexdigest() if patient else "") if uid else None
