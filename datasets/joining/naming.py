"""What a cell means that holds a DICOM UID: a series, an image of one, or a study of one series; always of one organisation.

UIDs are those of the hospital, or the ones that DICOMweb gives out: the organisation's profile makes these of those.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import Organisation
from datasets.cells.choosing import SHORT
from datasets.dicom.vault import VaultClosed
from datasets.joining import series
from datasets.receiving.index import instances_of
from datasets.receiving.models import DicomInstance
from engine import packs

# Five numbers or more, so that it is neither a date nor a version; or what is made of a UUID, as all replaced ones are.
UID = re.compile(r"(?:urn:oid:)?([0-2](?:\.(?:0|[1-9][0-9]*)){4,}|2\.25\.[1-9][0-9]{9,})")
LONGEST = 64
FRAMES = "00280008"
LOOK_UP = 200


class Late(ValueError):
    """What a cell names is not there, or not all of it: it may still come."""


@dataclass(frozen=True)
class Named:
    """What a UID names. `instance`: the key of the only one that is meant, else all of `series` are."""

    uid: str  # as it was written
    series: str
    instance: int | None
    slices: int  # images, or frames of the only one
    sop_class: str = ""
    passed_over: int = 0  # short series of a study
    study: bool = False  # whether the UID is a study's

    @property
    def key(self) -> str:
        return f"dicom:{self.series}/{self.instance or ''}"

    @property
    def base(self) -> str:
        return self.uid

    @property
    def form(self) -> str:
        return "" if self.instance else packs.SERIES


def uid_of(cell: Any) -> str | None:
    """The UID that a cell holds; None for what is none."""
    match = UID.fullmatch(cell.strip()) if isinstance(cell, str) else None
    return match[1] if match is not None and len(match[1]) <= LONGEST else None


class Received:
    """What cells name among the DICOM of an organisation. `look_up` asks for many at once, `find` answers."""

    def __init__(self, organisation: Organisation) -> None:
        self.organisation = organisation
        self.known: dict[tuple[str, bool], Named | ValueError] = {}
        self._clock = series.Clock(organisation, series.QUIET)
        self._held: Counter[str] = Counter()

    def look_up(self, wanted: Iterable[tuple[str, bool]]) -> None:
        """(UID, whether of an image its series is meant) of each."""
        left = sorted(set(wanted) - set(self.known))
        for start in range(0, len(left), LOOK_UP):
            self._some(left[start : start + LOOK_UP])

    def find(self, uid: str, whole: bool) -> Named:
        """Raises ValueError, which says why there is nothing; Late where it may still come."""
        self.look_up([(uid, whole)])
        found = self.known[uid, whole]
        if isinstance(found, ValueError):
            raise found
        return found

    def _some(self, wanted: Collection[tuple[str, bool]]) -> None:
        names = self._replaced({uid for uid, _whole in wanted})
        all_of = {name for both in names.values() for name in both}
        own = series.found(self.organisation, all_of)
        images = self._images(all_of - set(own))
        beside = series.found(self.organisation, {row.series for row in images.values()} - set(own))
        studies = self._studies(all_of - set(own) - set(images))
        of_studies = {uid for held in studies.values() for uid in held}
        known = {**own, **beside, **series.found(self.organisation, of_studies)}
        self._held |= series.held(self.organisation, {*all_of, *known})
        for uid, whole in wanted:
            try:
                self.known[uid, whole] = self._meant(uid, names[uid], whole, own, images, studies, known)
            except ValueError as error:
                self.known[uid, whole] = error

    def _replaced(self, uids: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Each UID → what it may be called in the index."""
        from datasets.dicom import (
            services,  # with cryptography, which the web process loads only when it is needed
        )

        try:
            profile = services.profile_of(self.organisation)
        except VaultClosed:  # nothing has been de-identified here
            return {uid: (uid,) for uid in uids}
        return {uid: (uid, profile.uid(uid)) for uid in uids}

    def _images(self, uids: Collection[str]) -> dict[str, DicomInstance]:
        return {row.instance: row for row in instances_of(self.organisation).filter(instance__in=uids)}

    def _studies(self, uids: Collection[str]) -> dict[str, dict[str, int]]:
        """Study → its series with how many images each has."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for row in series.arrived(instances_of(self.organisation).filter(study__in=uids)):
            found[row["study"]][row["series"]] = row["count"]
        return found

    def _meant(
        self, uid: str, names: Collection[str], whole: bool, own: Any, images: Any, studies: Any, known: Any
    ) -> Named:
        for name in names:
            if name in own:
                return self._series(uid, known[name], whole)
            if (image := images.get(name)) is not None:
                if whole and _frames(image) == 1:
                    return self._series(uid, known[image.series], whole)
                return Named(uid, image.series, image.pk, _frames(image), image.sop_class)
            if name in studies:
                return self._study(uid, studies[name], known, whole)
        if any(self._held[name] for name in names):
            raise Late(_("its images are in quarantine: look at them there"))
        raise Late(_("no DICOM series, study or image of this UID has arrived: send its images"))

    def _study(self, uid: str, held: dict[str, int], known: Any, whole: bool) -> Named:
        long = [name for name, count in held.items() if count >= SHORT] or list(held)
        if len(long) > 1:
            text = _("this is a study of %(count)s series (with %(slices)s images): name one of them by its Series Instance UID")
            slices = ", ".join(str(held[name]) for name in sorted(long, key=lambda name: -held[name])[:10])
            raise ValueError(text % {"count": len(long), "slices": slices})
        one = self._series(uid, known[long[0]], whole)
        return Named(uid, one.series, one.instance, one.slices, one.sop_class, len(held) - 1, study=True)

    def _series(self, uid: str, one: series.Arrived, whole: bool) -> Named:
        if count := self._held[one.uid]:
            text = _("images of this series are in quarantine (%(count)s): look at them there, and let them in or discard them")
            raise Late(text % {"count": count})
        if self._clock.arriving(one):
            text = _("images of this series are still arriving: it is taken %(minutes)d minutes after its last one")
            raise Late(text % {"minutes": series.QUIET.total_seconds() // 60})
        if one.count == 1:
            image = DicomInstance.objects.for_organisation(self.organisation).get(pk=one.newest)
            return Named(uid, one.uid, image.pk, _frames(image), image.sop_class)
        if not whole:
            text = _(
                "this is a series of %(count)s images: make the column one of volumes, or name one image by its SOP Instance UID"
            )
            raise ValueError(text % {"count": one.count})
        return Named(uid, one.uid, None, one.count)


def _frames(row: DicomInstance) -> int:
    try:
        return max(1, int(row.attributes[FRAMES]["Value"][0]))
    except (KeyError, IndexError, TypeError, ValueError):
        return 1
