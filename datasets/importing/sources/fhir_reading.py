"""How a FHIR server is read: searches page by page, and what is new since a moment, so that nothing is lost while it changes.

New and changed resources are found by `_lastUpdated`, from a little before the last moment on (see `overlap`). Servers page by
an offset, which shifts when a resource of an earlier page is changed and moves to the end. So a server that sorts, and says so
in the Bundle's own link, is asked anew from the last moment of each page on, and a page is followed only within one moment. Of
one that does not, all pages are followed, and the cursor moves at the end alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from datasets.importing.base import Cursor, SourceError
from datasets.importing.fhir_values import Resource, sortable
from datasets.importing.http import Client, origin
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.sources import overlap
from datasets.importing.sources.web import client_of, named

COUNT = 100  # resources in a page
PAGES = 20_000
AT_LAST = 5000  # resources of the overlap that are remembered
ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
TOLD = (200, 400, 405, 406, 412, 422)  # answers that hold an OperationOutcome when they are no 200


@dataclass(frozen=True)
class Page:
    """What a Bundle holds; whether the server says that it is sorted as was asked; whether there is another."""

    resources: Sequence[Resource]
    sorted: bool
    further: bool


class Reader:
    """One server."""

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        self.settings, self.network = settings, network
        self.address = str(settings["address"]).rstrip("/")
        self._client: Client | None = None
        self._parameters: dict[str, set[str]] | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = client_of(self.settings, self.network)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def new(self, name: str, filters: Sequence[tuple[str, str]], last: Last) -> Iterator[list[Resource]]:
        """What `last` does not know, page by page; it is told of each page before that comes."""
        first = begin = last.begin()
        trusted = True
        while True:
            asked = [*filters, ("_sort", "_lastUpdated"), *([("_lastUpdated", f"ge{begin}")] if begin else ())]
            last.again()
            anew = None
            for page in self.pages(name, asked):
                if page.further and not page.sorted:
                    trusted = last.sorted = False
                yield [each for each in page.resources if last.is_new(each)]
                if not trusted:
                    continue
                if not last.sorted and (page.further or begin != first):
                    trusted, anew = False, first  # it says that it sorts and does not: once more, by all its pages
                    break
                at = moment(page.resources[-1]) if page.resources else ""
                if page.further and at and sortable(at) > sortable(begin or "0001"):
                    anew = at
                    break
            if anew is None:
                return
            begin = anew

    def newest(self, name: str, last: Last) -> None:
        """Tell `last` of the newest resources, as far as they lie in the overlap. Where the server can't sort, of one page."""
        for page in self.pages(name, [("_sort", "-_lastUpdated")]):
            for each in page.resources:
                last.is_new(each)
            oldest = moment(page.resources[-1]) if page.resources else ""
            if not page.sorted or not oldest or sortable(oldest) < sortable(last.begin() or "9999"):
                return

    def searchable(self, name: str) -> set[str]:
        if self._parameters is None:
            self._parameters = self.known(self.get("metadata"))
        return self._parameters.get(name, set())

    @staticmethod
    def known(statement: Mapping[str, Any]) -> dict[str, set[str]]:
        known: dict[str, set[str]] = {}
        for rest in statement.get("rest") or ():
            for each in (rest.get("resource") if isinstance(rest, dict) else None) or ():
                known[str(each.get("type"))] = {str(one.get("name")) for one in each.get("searchParam") or ()}
        return known

    def pages(self, name: str, asked: Sequence[tuple[str, str]], *, plain: bool = True) -> Iterator[Page]:
        """The resources that a search finds. `plain`: it names no patient, so that the server's own words may be shown."""
        url: str | None = f"{name}?{urlencode([*asked, ('_count', str(COUNT))])}"
        seen: set[str] = set()
        for _number in range(PAGES):
            bundle = self.get(url or "", plain=plain)
            if bundle.get("resourceType") != "Bundle":
                raise SourceError("answer", _("%(url)s answers a search with something that is no Bundle.") % self.where())
            seen.add(url or "")
            entries = [entry for entry in bundle.get("entry") or () if isinstance(entry, dict)]
            found = [entry.get("resource") for entry in entries if (entry.get("search") or {}).get("mode", "match") == "match"]
            links = [link for link in bundle.get("link") or () if isinstance(link, dict)]
            mine = next((str(link.get("url")) for link in links if link.get("relation") == "self"), "")
            url = next((str(link["url"]) for link in links if link.get("relation") == "next" and link.get("url")), None)
            resources = [each for each in found if isinstance(each, dict) and each.get("resourceType") == name and _has_id(each)]
            yield Page(resources, "_sort" in dict(parse_qsl(urlsplit(mine).query)), url is not None)
            if url is None:
                return
            url = urljoin(f"{self.address}/", url)
            if origin(url) != origin(self.address):
                text = _("%(url)s names a next page on another server, which is not asked.")
                raise SourceError("answer", text % self.where())
            if url in seen:
                raise SourceError("answer", _("%(url)s leads to a page that it has given before.") % self.where())
        raise SourceError("too_large", _("%(url)s has more than %(most)d pages.") % {**self.where(), "most": PAGES})

    def get(self, path: str, *, gone: bool = False, plain: bool = True) -> dict[str, Any]:
        url = path if path.startswith(("http://", "https://")) else f"{self.address}/{path}"
        accept = (*TOLD, 404, 410) if gone else TOLD
        answer = self.client.get(url, headers={"Accept": "application/fhir+json"}, accept=accept)
        if answer.status in {404, 410}:
            return {}
        if answer.status != 200:
            raise SourceError("answer", self._outcome(answer.status, answer.body, plain))
        found = answer.json()
        if not isinstance(found, dict):
            raise SourceError("answer", _("%(url)s answers with something that is no FHIR resource.") % self.where())
        if found.get("resourceType") == "OperationOutcome":
            raise SourceError("answer", self._outcome(answer.status, answer.body, plain))
        return found

    def _outcome(self, status: int, body: bytes, plain: bool) -> str:
        """What the server says. Its own words are left out where they may name a patient."""
        try:
            issue = json.loads(body)["issue"][0]
            code = str(issue.get("code") or "")
            words = str((issue.get("details") or {}).get("text") or issue.get("diagnostics") or "")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            code, words = "", ""
        code = code if re.fullmatch(r"[a-z-]{1,40}", code) else "?"
        text = _("%(url)s refuses the request (%(status)d, %(code)s).") % {**self.where(), "status": status, "code": code}
        return f"{text} {' '.join(words.split())[:200]}".strip() if plain and words.isprintable() else text

    def where(self) -> dict[str, str]:
        return {"url": named(self.address)}


class Last:
    """The latest `meta.lastUpdated` so far and what there was from a little before it on; whether all came in order."""

    def __init__(self, cursor: Cursor, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.since: str = cursor.get("since", "")
        self.at: dict[str, str] = {mark: at for mark, at in cursor.get("at", ())}  # when, by what
        self.least: str = cursor.get("from", "")  # where more had come than is remembered: the first that is
        self.sorted, self._before = True, ""

    def begin(self) -> str:
        """From where on to ask; empty: all."""
        begin = earlier(self.since, self.settings) if self.since else ""
        return self.least if begin and self.least and self.least > sortable(begin) else begin

    def is_new(self, resource: Resource) -> bool:
        """Whether it has not come already; remembers it. What tells no time is new each time."""
        updated = moment(resource)
        if not updated:
            self.sorted = False
            return True
        now = sortable(updated)
        if now < self._before:
            self.sorted = False
        self._before = now
        meta = resource.get("meta")
        version = meta.get("versionId") if isinstance(meta, Mapping) else ""
        text = f"{resource.get('resourceType')}/{resource.get('id')}/{version}/{now}"
        mark = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        new, self.at[mark] = mark not in self.at, now
        if now > (sortable(self.since) if self.since else "") and now <= overlap.limit().replace(tzinfo=None).isoformat():
            self.since = updated
        if len(self.at) > 4 * AT_LAST:
            self._forget()
        return new

    def again(self) -> None:
        """The server is asked anew: the order begins anew."""
        self._before = ""

    def _forget(self) -> None:
        begin = sortable(self.begin()) if self.since else ""
        kept = sorted((item for item in self.at.items() if item[1] >= begin), key=lambda item: item[1])
        if len(kept) > AT_LAST:
            kept = kept[-AT_LAST:]
            self.least = f"{kept[0][1]}Z"
        self.at = dict(kept)

    def cursor(self) -> dict[str, Any]:
        self._forget()
        at = [[mark, now] for mark, now in self.at.items()]
        found = {"since": self.since, "from": self.least, "at": at}
        return {name: value for name, value in found.items() if value}


def moment(resource: Resource) -> str:
    """Its `meta.lastUpdated`; empty where it has none that is one."""
    meta = resource.get("meta")
    updated = meta.get("lastUpdated") if isinstance(meta, Mapping) else None
    return updated if isinstance(updated, str) and len(updated) > 10 and sortable(updated) else ""


def earlier(text: str, settings: Mapping[str, Any]) -> str:
    """A moment less the overlap."""
    at = datetime.fromisoformat(text)
    begin: datetime = overlap.back(at if at.tzinfo else at.replace(tzinfo=UTC), settings)
    return begin.isoformat(timespec="milliseconds")


def patient_of(resource: Resource) -> str | None:
    """The ID of the patient whom it is about, where that is a patient of the same server."""
    if resource.get("resourceType") == "Patient":
        return str(resource.get("id"))
    reference = resource.get("subject") or resource.get("patient")
    text = str(reference.get("reference") or "") if isinstance(reference, Mapping) else ""
    match = re.search(r"(?:^|/)Patient/([A-Za-z0-9.-]{1,64})(?:/_history/[^/]+)?$", text)
    return match.group(1) if match else None


def _has_id(resource: Resource) -> bool:
    return isinstance(resource.get("id"), str) and ID.fullmatch(resource["id"]) is not None
