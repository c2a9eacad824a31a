"""A DICOMweb server: studies are found by QIDO-RS, their instances come as files by WADO-RS.

The cursor remembers the studies of the last days (a hash of each UID, with how many instances it had), as a study that is found
today may get further series tomorrow, and one of last week may be sent late. What lies before the look-back is not asked for
again.

dicomweb-client (MIT) was looked at: it goes by requests, which would be a second HTTP client with a guard of its own, and reads a
whole answer into memory; what is needed of it are two addresses and a multipart reader.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from typing import IO, Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.conf import settings as installation
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

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
from datasets.importing.http import Client, limited, shown
from datasets.importing.multipart import first_part
from datasets.importing.network import Network
from datasets.importing.sources.web import SECRETS, WebForm, client_of

PAGE = 200  # studies or instances asked for at once
MOST = 20_000  # studies within the look-back
FILES = 200  # in one piece
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
            return _("%(url)s answers. No study fits yet.") % {"url": shown(self.address)}
        return _("%(url)s answers, and there are studies that fit.") % {"url": shown(self.address)}

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
        """The instances of studies that are new or have grown, a study or a part of one at a time."""
        seen: dict[str, int] = dict(cursor.get("studies", {}))
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
            claimed = _number(study, COUNT)
            if mark in seen and claimed is not None and claimed == seen[mark]:
                continue
            instances = self._instances(uid)
            if seen.get(mark) == len(instances):
                continue
            files = [RemoteFile(name, None, partial(self._opened, where)) for name, where in instances]
            for start in range(0, len(files), FILES):
                last = start + FILES >= len(files)
                # Cut off within a study it is read again from its start: what has come is a duplicate.
                if last:
                    seen[mark] = len(instances)
                yield Piece(self._cursor(cursor, seen), files=files[start : start + FILES], faulty=faulty)
                faulty = []
        # All is read: the look-back counts from today, and what lies before it is forgotten.
        end = {"day": today.isoformat(), "studies": {mark: count for mark, count in seen.items() if mark in current}}
        if faulty or end != cursor:
            yield Piece(end, faulty=faulty)

    @staticmethod
    def _cursor(cursor: Cursor, seen: Mapping[str, int]) -> Cursor:
        return {**cursor, "studies": dict(seen)}

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
        url = f"{self.address}/{path}?{urlencode({**asked, 'limit': most, 'offset': offset})}"
        answer = self.client.get(url, headers={"Accept": "application/dicom+json"}, accept=(200, 204))
        if answer.status == 204 or not answer.body:
            return []
        found = answer.json()
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            text = _("%(url)s answers with something that is no list of DICOM JSON. Check the address.")
            raise SourceError("answer", text % {"url": shown(url)})
        return found

    @contextmanager
    def _opened(self, path: str) -> Iterator[IO[bytes]]:
        url = f"{self.address}/{path}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        broken = FileFault("broken", _("The server does not give this instance as a DICOM file."))
        with temporary.file("arrived-") as kept:
            with self.client.stream(url, headers={"Accept": accept}, accept=(200, 400, 404, 406, 410, 500)) as (response, chunks):
                if response.status_code != 200:
                    text = _("The server does not give this instance (%(status)d).")
                    raise FileFault("gone", text % {"status": response.status_code})
                kind = response.headers.get("content-type", "")
                # A margin for what stands around the part; of the part itself the arrival's own limit counts.
                bounded = limited(chunks, installation.MAX_UPLOAD_BYTES + 65536, url)
                try:
                    for chunk in bounded if kind.startswith("application/dicom") else first_part(bounded, kind):
                        kept.write(chunk)
                except ValueError:
                    raise broken from None
            kept.seek(128)
            if kept.read(4) != b"DICM":
                raise broken
            kept.seek(0)
            yield kept


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
