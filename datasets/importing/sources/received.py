"""DICOM that the organisation has received: one row for each series that is whole, named by its UID.

What makes a row a record with a volume is the import: a column of files takes the UID of a series (see datasets.joining). This
source has no server to ask. It reads the organisation's own index of de-identified instances, so it knows models, as no other
source does; whose index, the Network says, and no setting.

The cursor is the time of the newest image that was looked at, what was taken within the overlap before it (a job that sorts out
files may write a little later than another one that began after it), and the series that wait. A series that grows after it was
taken gives another row: its volume is another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy

from accounts.models import Organisation
from datasets import storage
from datasets.arrivals.models import ArrivedFile
from datasets.importing import waiting
from datasets.importing.base import Cursor, Delivers, Piece, Preview, SourceError
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.said import ngettext
from datasets.joining import series
from datasets.joining.series import Arrived
from datasets.receiving.index import instances_of
from datasets.receiving.models import DicomInstance

OVERLAP = timedelta(hours=1)
MANY = 100  # series in one piece
FIELDS = ("series", "patient", "modality", "body_part", "plane", "sex", "age", "study_date", "slices", "slice_thickness",
          "field_strength", "echo_time", "repetition_time", "manufacturer")  # fmt: skip
# Where the index has them, in the DICOM JSON model.
TAGS = {"body_part": "00180015", "sex": "00100040", "slice_thickness": "00180050", "manufacturer": "00080070"}
AGE, FRAMES = "00101010", "00280008"
# What is read from the header of one image: who looks at planes or sequences wants them.
HEADER = {"field_strength": "MagneticFieldStrength", "echo_time": "EchoTime", "repetition_time": "RepetitionTime"}
PLANES = ("sagittal", "coronal", "axial")  # by the axis that the slices follow each other along
STRAIGHT = 0.8  # of the normal's length along one axis; less is oblique
YEARS = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}

Row = dict[str, str | None]


class ReceivedForm(forms.Form):
    """What a person fills in; all of it may be left as it is."""

    modality = forms.CharField(
        label=gettext_lazy("Modality"), required=False, max_length=16, help_text=gettext_lazy("Such as CT. Empty: all.")
    )
    body_part = forms.CharField(
        label=gettext_lazy("Part of the body"),
        required=False,
        max_length=64,
        help_text=gettext_lazy(
            "A word of “Body Part Examined”, such as HEAD. Empty: all. Descriptions can't be searched: as free text, they are"
            " taken out by de-identification."
        ),
    )
    receiver = forms.CharField(
        label=gettext_lazy("Received as"),
        required=False,
        max_length=16,
        help_text=gettext_lazy("The AE title of yours that the images were sent to. Empty: whichever way they came."),
    )
    least = forms.IntegerField(
        label=gettext_lazy("Least number of slices"),
        required=False,
        initial=1,
        min_value=1,
        max_value=10_000,
        help_text=gettext_lazy("Leaves out localizers and single pictures."),
    )
    quiet_minutes = forms.IntegerField(
        label=gettext_lazy("Minutes of quiet"),
        required=False,
        initial=10,
        min_value=2,
        max_value=1440,
        help_text=gettext_lazy("A series counts as whole once none of its images has come for so long."),
    )

    def clean_modality(self) -> str:
        return str(self.cleaned_data["modality"]).strip().upper()

    def clean_least(self) -> int:
        return int(self.cleaned_data["least"] or 1)

    def clean_quiet_minutes(self) -> int:
        return int(self.cleaned_data["quiet_minutes"] or 10)


class ReceivedSource:
    """See the module's text."""

    kind: ClassVar[str] = "received"
    label: ClassVar[Any] = gettext_lazy("Received DICOM")
    explained: ClassVar[Any] = gettext_lazy(
        "Series that have arrived here (from scanners, by DICOMweb or in uploads), each as a record with its volume."
    )
    delivers: ClassVar[Delivers] = Delivers.ROWS
    Form: ClassVar[type[forms.Form]] = ReceivedForm
    secrets: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        self.settings, self.network = settings, network
        self.quiet = timedelta(minutes=int(settings.get("quiet_minutes") or 10))
        self.least = int(settings.get("least") or 1)
        self.counts: dict[str, int] = {}  # of what waits

    @cached_property
    def organisation(self) -> Organisation:
        found = Organisation.objects.filter(pk=self.network.organisation).first() if self.network.organisation else None
        if found is None:
            raise SourceError("no_organisation", _("This organisation no longer exists."))
        return found

    def check(self) -> str:
        """How many series there are that fit."""
        count = sum(one.count >= self.least for one in self._listed(None, ()))
        text = ngettext("%(count)d series has arrived that fits.", "%(count)d series have arrived that fit.", count)
        return text % {"count": count}

    def preview(self, most: int = 20) -> Preview:
        rows: list[Row] = []
        for _looked, new in self._looked(self._listed(None, ()), {}):
            if len(rows) < most:
                rows += self._rows(new[: most - len(rows)])
        notes = [
            _("Descriptions of series and studies are not given: as free text, they are taken out by de-identification."),
            _(
                "Labels join by a table (an upload, or an importer of SQL, FHIR or files) with a column that holds the Series"
                " Instance UID, as the hospital knows it or as it stands here: that column is the volume. Such a table makes the"
                " records itself. An importer of this kind makes them without labels, or with one of these fields as the target."
            ),
        ]
        return Preview(FIELDS, rows, notes=[*waiting.texts(self.counts), *notes])

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """Each series that is whole and new, or has grown, in the order in which they came."""
        since = datetime.fromisoformat(cursor["since"]) if cursor.get("since") else None
        listed = self._listed(since, cursor.get("waits", ()))
        marks = {_mark(one.uid): one for one in listed}
        seen = {mark: state for mark, state in cursor.get("seen", {}).items() if mark in marks}
        waits: set[str] = {one.uid for one in listed} & set(cursor.get("waits", ()))
        end: dict[str, Any] = {}
        for looked, new in self._looked(listed, seen):
            since = max([one.last for one, _waits in looked] + ([since] if since else []))
            for one, why in looked:
                waits = waits | {one.uid} if why else waits - {one.uid}
                if not why:
                    seen[_mark(one.uid)] = one.mark
            kept = {mark: state for mark, state in seen.items() if marks[mark].last >= since - OVERLAP}
            end = {"since": since.isoformat(), "seen": kept, "waits": sorted(waits)}
            if rows := self._rows(new):
                yield Piece(end, rows)
        waits_for = {why: count for why, count in self.counts.items() if count}
        if (end and end != dict(cursor)) or waits_for:
            yield Piece(end or dict(cursor), waiting=waits_for)

    def close(self) -> None:
        """Nothing is held."""

    def _instances(self, organisation: Organisation) -> Any:
        """Those of the modality and the way that are asked for."""
        found = instances_of(organisation)
        if modality := self.settings.get("modality"):
            found = found.filter(modality=modality)
        if title := str(self.settings.get("receiver") or "").strip():
            came = ArrivedFile.objects.for_organisation(organisation).filter(arrival__notes__received__by=title)
            found = found.filter(file__in=came.exclude(file=None).values("file"))
        return found

    def _listed(self, since: datetime | None, waits: Sequence[str]) -> list[Arrived]:
        """The series that something came of since a little before `since`, and those that waited; the oldest first."""
        organisation = self.organisation
        fresh = self._instances(organisation)
        if since is not None:
            fresh = fresh.filter(created_at__gte=since - OVERLAP)
        rows = series.arrived(instances_of(organisation).filter(series__in=fresh.order_by().values("series")))
        found = {row["series"]: series.of_row(row) for row in rows} | series.found(organisation, waits)
        listed = sorted(found.values(), key=lambda one: (one.last, one.uid))
        word = str(self.settings.get("body_part") or "").strip().casefold()
        if not word:
            return listed
        fitting = self._of_body_part(organisation, listed, word)
        return [one for one in listed if one.uid in fitting]

    def _of_body_part(self, organisation: Organisation, listed: Sequence[Arrived], word: str) -> set[str]:
        """Told by the first image of each. (A key of digits alone can't be asked for within the database's JSON.)"""
        fitting: set[str] = set()
        for start in range(0, len(listed), series.LOOK_UP):
            keys = [one.oldest for one in listed[start : start + series.LOOK_UP]]
            for image in DicomInstance.objects.for_organisation(organisation).filter(pk__in=keys):
                if word in (_value(image, TAGS["body_part"]) or "").casefold():
                    fitting.add(image.series)
        return fitting

    def _looked(
        self, listed: Sequence[Arrived], seen: Mapping[str, str]
    ) -> Iterator[tuple[list[tuple[Arrived, str]], list[Arrived]]]:
        """Of some at once: each with why it waits ("": it does not), and those that are new and whole."""
        clock, held = series.Clock(self.organisation, self.quiet), series.held(self.organisation)
        whole = set(held) - set(series.found(self.organisation, held))
        self.counts = {"arriving": 0, "held": 0, "held_whole": len(whole)}
        for start in range(0, len(listed), MANY):
            some = listed[start : start + MANY]
            looked = [(one, "arriving" if clock.arriving(one) else "held" if held[one.uid] else "") for one in some]
            for _one, why in looked:
                if why:
                    self.counts[why] += 1
            yield looked, [one for one, why in looked if not why and seen.get(_mark(one.uid)) != one.mark]

    def _rows(self, new: Sequence[Arrived]) -> list[Row]:
        first = DicomInstance.objects.for_organisation(self.organisation).select_related("file")
        images = {row.series: row for row in first.filter(pk__in=[one.oldest for one in new])}
        rows = [_row(one, images[one.uid]) for one in new if one.uid in images]
        return [row for row in rows if int(row["slices"] or 0) >= self.least]


def _row(one: Arrived, image: DicomInstance) -> Row:
    frames = _value(image, FRAMES) if one.count == 1 else None
    row: Row = dict.fromkeys(FIELDS)
    row |= {"series": one.uid, "patient": image.patient_id or None, "modality": image.modality or None}
    row |= {name: _value(image, tag) for name, tag in TAGS.items()}
    row |= {"age": _years(_value(image, AGE)), "study_date": _day(image.study_date)}
    return row | {"slices": frames or str(one.count)} | _of_header(image)


def _value(image: DicomInstance, tag: str) -> str | None:
    try:
        text = str(image.attributes[tag]["Value"][0]).strip()
    except (KeyError, IndexError, TypeError):
        return None
    return text or None


def _years(age: str | None) -> str | None:
    """ "059Y" is 59; months, weeks and days are parts of a year."""
    if age is None or len(age) != 4 or not age[:3].isdecimal() or age[3] not in YEARS:
        return None
    return f"{round(int(age[:3]) / YEARS[age[3]], 2):g}"


def _day(written: str) -> str | None:
    return f"{written[:4]}-{written[4:6]}-{written[6:]}" if len(written) == 8 and written.isdecimal() else None


def _of_header(image: DicomInstance) -> Row:
    """What only the file tells: it is the organisation's own, as stored."""
    from datasets.dicom.codes import Unreadable
    from datasets.dicom.reading import coded, instance_of, read

    try:
        with storage.local(image.file) as path, coded("header_unreadable"):
            data = read(path, header=True)
            found = {name: str(value) for name, tag in HEADER.items() if (value := data.get(tag, None)) not in (None, "")}
            return {"plane": _plane(instance_of(path, data).orientation), **found}
    except (Unreadable, OSError):  # gone since it was listed: the import says so
        return {}


def _plane(orientation: tuple[float, ...] | None) -> str | None:
    if orientation is None:
        return None
    import numpy as np

    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    length = float(np.linalg.norm(normal))
    if length < 0.5:
        return None
    axis = int(normal.argmax())
    return PLANES[axis] if normal[axis] >= STRAIGHT * length else "oblique"


def _mark(uid: str) -> str:
    return hashlib.blake2b(uid.encode(), digest_size=9).hexdigest()
