"""A DICOMweb server: studies are found by QIDO-RS, their instances come as files by WADO-RS.

The cursor remembers the studies of the last days (a hash of each UID, with how many instances it had), as a study that is found
today may get further series tomorrow, and one of last week may be sent late. What lies before the look-back is not asked for
again. Instances that could not be had are remembered one by one, and asked for again without the rest of their study.

dicomweb-client (MIT) was looked at: it goes by requests, which would be a second HTTP client with a guard of its own, and reads a
whole answer into memory; what is needed of it are two addresses and a multipart reader.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import IO, Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.conf import settings as installation
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext_lazy

from datasets import temporary
from datasets.importing.base import (
    Cursor,
    Delivers,
    Faulty,
    FileFault,
    Piece,
    Preview,
    RemoteFile,
    SourceError,
)
from datasets.importing.http import Client, configured, limited
from datasets.importing.multipart import first_part
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.said import ngettext
from datasets.importing.sources import again
from datasets.importing.sources.again import Tries
from datasets.importing.sources.web import SECRETS, WebForm, client_of

PAGE = 200  # studies or instances asked for at once
MOST = 20_000  # studies within the look-back
FILES = 200  # in one piece
ATTEMPTED = 20_000  # instances that could not be had and are to come again
REFUSED, PASSING = (400, 406, 410), (404, 500)  # what an instance that is listed may be answered with
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
STUDY_DATE, COUNT, TRANSFER_SYNTAX = "00080020", "00201208", "*"
UID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")


class DicomwebForm(WebForm):
    """What a person fills in."""

    modality = forms.CharField(
        label=gettext_lazy("Modality"), required=False, max_length=16, help_text=gettext_lazy("Such as CT. Empty: all.")
    )
    description = forms.CharField(
        label=gettext_lazy("Study description"),
        required=False,
        max_length=64,
        help_text=gettext_lazy("A star stands for anything: *THORAX*. Empty: all."),
    )
    since = forms.DateField(
        label=gettext_lazy("Studies from"),
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("The date of the oldest studies to read."),
    )
    look_back = forms.IntegerField(
        label=gettext_lazy("Days to look back"),
        initial=14,
        min_value=1,
        max_value=365,
        help_text=gettext_lazy("Studies of so many days are looked at again in each run, for images that came late."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if isinstance(cleaned.get("since"), date):
            cleaned["since"] = cleaned["since"].isoformat()  # settings are JSON
        return cleaned

    def clean_modality(self) -> str:
        given = str(self.cleaned_data["modality"]).strip().upper()
        if given and not re.fullmatch(r"[A-Z0-9_]{1,16}", given):
            raise forms.ValidationError(_("A modality is a code such as CT, MR or DX."))
        return given


class DicomwebSource:
    """See the module's text."""

    kind: ClassVar[str] = "dicomweb"
    label: ClassVar[Any] = gettext_lazy("DICOMweb server")
    explained: ClassVar[Any] = gettext_lazy("Studies of an image archive, found by modality, date and description.")
    delivers: ClassVar[Delivers] = Delivers.FILES
    Form: ClassVar[type[forms.Form]] = DicomwebForm
    secrets: ClassVar[frozenset[str]] = SECRETS

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        self.settings, self.network = settings, network
        self.address = str(settings["address"]).rstrip("/")
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = client_of(self.settings, self.network)
        return self._client

    def check(self) -> str:
        """Sign in and search for a study."""
        count = len(self._page("studies", self._filter(self._first_day()), 0, 2))
        if not count:
            return _("%(url)s answers. No study fits yet.") % {"url": configured(self.address)}
        return _("%(url)s answers, and there are studies that fit.") % {"url": configured(self.address)}

    def preview(self, most: int = 20) -> Preview:
        """The first instances."""
        files: list[str] = []
        faulty: list[Faulty] = []
        studies = 0
        for study in self._studies(self._first_day()):
            studies += 1
            if len(files) >= most:
                break
            uid = _uid(study, STUDY)
            faulty += [] if uid else [_nameless()]
            files += [name for name, _where in self._instances(uid)] if uid else []
        note = ngettext("%(count)d study was looked at.", "%(count)d studies were looked at.", studies) % {"count": studies}
        return Preview(files=files[:most], faulty=faulty, notes=[note])

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """The instances of studies that are new or have grown, a study or a part of one at a time; and what failed before."""
        seen = Seen(dict(cursor.get("studies", {})), dict(cursor.get("again", {})))
        today = timezone.localdate()
        first = self._first_day()
        if "day" in cursor:
            first = max(first, date.fromisoformat(cursor["day"]) - timedelta(days=int(self.settings["look_back"])))
        current: set[str] = set()
        faulty: list[Faulty] = []
        for number, study in enumerate(self._studies(first)):
            if number >= MOST:
                raise SourceError("too_many", _("There are more than %(most)d studies. Narrow the search.") % {"most": MOST})
            uid = _uid(study, STUDY)
            if not uid:
                faulty.append(_nameless())
                continue
            mark = _mark(uid)
            current.add(mark)
            claimed, known = _number(study, COUNT), seen.counts.get(mark)
            if claimed is not None and claimed == known and mark not in seen.again:
                continue
            instances = self._instances(uid)
            count, tries = len(instances), seen.again.get(mark, {})
            if known == count:
                instances = [each for each in instances if _mark(each[0]) in tries]
            if not instances:
                seen.again.pop(mark, None)  # of instances that are no longer there
            for start in range(0, len(instances), FILES):
                part = instances[start : start + FILES]
                # Cut off within a study it is read again from its start: what has come is a duplicate.
                last = start + FILES >= len(instances)
                names, before = [name for name, _where in part], seen.again.get(mark, {})
                behind = partial(seen.behind, mark, names, before, count if last else None, cursor)
                yield Piece(behind(()), files=[self._remote(*each, tries) for each in part], faulty=faulty, behind=behind)
                faulty = []
        # All is read: the look-back counts from today, and what lies before it is forgotten.
        end = {"day": today.isoformat(), **seen.shown(current)}
        if faulty or end != {"again": {}, **cursor}:
            yield Piece(end, faulty=faulty)

    def _remote(self, name: str, where: str, tries: Tries) -> RemoteFile:
        return RemoteFile(name, None, partial(self._opened, where), again.is_last(tries, _mark(name)))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _first_day(self) -> date:
        return date.fromisoformat(str(self.settings["since"]))

    def _filter(self, first: date) -> dict[str, str]:
        asked = {"StudyDate": f"{first:%Y%m%d}-", "includefield": COUNT}
        if self.settings.get("modality"):
            asked["ModalitiesInStudy"] = self.settings["modality"]
        if self.settings.get("description"):
            asked["StudyDescription"] = self.settings["description"]
        return asked

    def _studies(self, first: date) -> Iterator[dict[str, Any]]:
        yield from self._paged("studies", self._filter(first), STUDY)

    def _instances(self, study: str) -> list[tuple[str, str]]:
        """(name, address) of each instance of a study, of the modality that is asked for."""
        asked = {"includefield": "00080060"}
        found = {}
        for item in self._paged(f"studies/{study}/instances", asked, INSTANCE):
            series, instance = _uid(item, SERIES), _uid(item, INSTANCE)
            wanted = self.settings.get("modality") or ""
            if not series or not instance or (wanted and (_text(item, "00080060") or wanted) != wanted):
                continue
            found[instance] = (f"{study}/{series}/{instance}.dcm", f"studies/{study}/series/{series}/instances/{instance}")
        return sorted(found.values())

    def _paged(self, path: str, asked: Mapping[str, str], unique: str) -> Iterator[dict[str, Any]]:
        """All pages; a server that knows no `offset` gives the same again, which ends it."""
        offset = 0
        known: set[str | None] = set()
        while True:
            page = self._page(path, asked, offset, PAGE)
            # What has no UID is told of once: else an archive that knows no offset would be asked for it without end.
            new = [item for item in page if _uid(item, unique) not in known]
            known |= {_uid(item, unique) for item in new}
            yield from new
            offset += len(page)
            if not new or len(known) > 10 * MOST:
                return

    def _page(self, path: str, asked: Mapping[str, str], offset: int, most: int) -> list[dict[str, Any]]:
        # Written as it is: Orthanc does not take %2A for the star of DICOM's matching.
        query = urlencode({**asked, "limit": most, "offset": offset}, safe="*")
        url = f"{self.address}/{path}?{query}"
        answer = self.client.get(url, headers={"Accept": "application/dicom+json"}, accept=(200, 204))
        if answer.status == 204 or not answer.body:
            return []
        found = answer.json()
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            text = _("%(url)s answers with something that is no list of DICOM JSON. Check the address.")
            raise SourceError("answer", text % {"url": configured(self.address)})
        return found

    @contextmanager
    def _opened(self, path: str) -> Iterator[IO[bytes]]:
        url = f"{self.address}/{path}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        broken = FileFault("broken", _("The server does not give this instance as a DICOM file."), passing=True)
        most = installation.MAX_UPLOAD_BYTES
        with temporary.file("arrived-") as kept:
            with self.client.stream(url, headers={"Accept": accept}, accept=(200, *REFUSED, *PASSING)) as (response, chunks):
                if response.status_code != 200:
                    text = _("The server does not give this instance (%(status)d).")
                    passing = response.status_code in PASSING
                    raise FileFault("gone", text % {"status": response.status_code}, passing=passing)
                kind = response.headers.get("content-type", "")
                # A margin for what stands around the part; of the part itself the arrival's own limit counts.
                bounded = limited(chunks, most + 65536, url)
                try:
                    for chunk in bounded if kind.startswith("application/dicom") else first_part(bounded, kind):
                        kept.write(chunk)
                except ValueError:
                    raise broken from None
                except SourceError as error:
                    if error.code != "too_large":
                        raise
                    text = _("It is larger than %(most)s.") % {"most": filesizeformat(most)}
                    raise FileFault("too_large", text) from None
            kept.seek(128)
            if kept.read(4) != b"DICM":
                raise broken
            kept.seek(0)
            yield kept


@dataclass
class Seen:
    """How many instances each study had, and which of them could not be had, by hashes of their UIDs."""

    counts: dict[str, int]
    again: dict[str, Tries]

    def behind(
        self, mark: str, names: Sequence[str], before: Tries, count: int | None, cursor: Cursor, refused: Collection[str]
    ) -> Cursor:
        """The cursor once a part of a study has come; with `count` its last part, of so many instances."""
        left = again.after(before, map(_mark, names), {_mark(name) for name in refused}, most=ATTEMPTED)
        self.again = {**{key: each for key, each in self.again.items() if key != mark}, **({mark: left} if left else {})}
        if sum(map(len, self.again.values())) >= ATTEMPTED:  # else all of an archive would be remembered, one by one
            text = _("The server does not give %(most)d of its instances and more. Ask who administers it.")
            raise SourceError("refused", text % {"most": ATTEMPTED}, passing=True)
        if count is not None:
            self.counts[mark] = count
        return {**cursor, **self.shown(self.counts)}

    def shown(self, marks: Collection[str]) -> dict[str, Any]:
        found = {"studies": {mark: count for mark, count in self.counts.items() if mark in marks}}
        failed = {mark: dict(each) for mark, each in self.again.items() if mark in marks}
        return {**found, "again": failed}


def _uid(item: Mapping[str, Any], tag: str) -> str | None:
    text = _text(item, tag)
    return text if text and len(text) <= 64 and UID.fullmatch(text) else None


def _text(item: Mapping[str, Any], tag: str) -> str | None:
    try:
        return str(item[tag]["Value"][0])
    except (KeyError, IndexError, TypeError):
        return None


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    text = _text(item, tag)
    return int(text) if text and text.isdecimal() else None


def _mark(uid: str) -> str:
    return hashlib.blake2b(uid.encode(), digest_size=9).hexdigest()


def _nameless() -> Faulty:
    return Faulty(_("a study"), _("The server gives no valid study UID for it."))
