"""A feed: records that an HTTP address gives as JSON, page by page, or as CSV.

What is new is told by the server (ETag, Last-Modified), by a parameter that asks for what came since, or by a hash of the whole.
The cursor moves on with the last piece: the order in which a feed gives its records says nothing. What came since is asked for
from a little before the last value on (see `overlap`); which records of that time have come is remembered.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urljoin

import httpx
from django import forms
from django.conf import settings as installation
from django.utils.translation import gettext_lazy

from datasets import temporary
from datasets.importing import http
from datasets.importing.base import Cursor, Delivers, Faulty, Piece, Preview, SourceError
from datasets.importing.http import Answer, Client, limited, origin, shown
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.sources import overlap
from datasets.importing.sources.web import SECRETS, WebForm, client_of, named, with_parameter
from datasets.importing.values import ROWS, Row, batches, digest, text_of
from datasets.readers.base import ReadError
from datasets.readers.delimited import DelimitedTable

PAGES = 10_000  # of one run
AT_LAST = 5000  # records of the overlap that are remembered, so that they do not come again
LOOK_SECONDS = 30.0  # for a preview, which then shows what has come
NUMBER = r"-?\d{1,18}(\.\d+)?"
DEEPEST = 3  # objects within a record become columns "a.b.c"; what lies deeper is kept as JSON


class FeedForm(WebForm, overlap.NumbersForm):
    """What a person fills in."""

    format = forms.ChoiceField(label=gettext_lazy("Format"), choices=[("json", "JSON"), ("csv", "CSV")])
    records = forms.CharField(
        label=gettext_lazy("Where the records are"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("JSON: the names on the way to the list, such as data.items. Empty: the answer is the list."),
    )
    paging = forms.ChoiceField(
        label=gettext_lazy("Pages"),
        initial="none",
        choices=[
            ("none", gettext_lazy("all in one answer")),
            ("link", gettext_lazy("a Link header names the next page")),
            ("next", gettext_lazy("a field of the answer names the next page")),
            ("page", gettext_lazy("a parameter counts pages")),
            ("offset", gettext_lazy("a parameter counts records")),
        ],
    )
    paging_name = forms.CharField(
        label=gettext_lazy("Name of that field or parameter"),
        required=False,
        max_length=200,
        help_text=gettext_lazy(
            "Such as links.next, page or offset. "
            "Counted pages shift when records go while they are read: take another way if there is one."
        ),
    )
    first_page = forms.IntegerField(label=gettext_lazy("First page"), initial=1, required=False, min_value=0, max_value=1)
    since_parameter = forms.CharField(
        label=gettext_lazy("Parameter that asks for what is new"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("Such as updated_since. It is sent with the last value of the field below, less the overlap."),
    )
    since_field = forms.CharField(
        label=gettext_lazy("Field with the time of the last change"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("A time or a number that grows, such as updated_at."),
    )

    field_order = (*WebForm.base_fields, "format", "records", "paging", "paging_name", "first_page", "since_parameter",
                   "since_field", *overlap.NumbersForm.base_fields)  # fmt: skip

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("paging") in {"next", "page", "offset"} and not cleaned.get("paging_name"):
            self.add_error("paging_name", _("It is needed for this kind of pages."))
        if cleaned.get("format") == "csv" and cleaned.get("paging") not in {"none", None}:
            self.add_error("paging", _("A CSV feed is one answer."))
        if bool(cleaned.get("since_parameter")) != bool(cleaned.get("since_field")):
            self.add_error("since_field", _("Give both the parameter and the field, or neither."))
        return cleaned


class FeedSource:
    """See the module's text."""

    kind: ClassVar[str] = "feed"
    label: ClassVar[Any] = gettext_lazy("HTTP feed (JSON or CSV)")
    explained: ClassVar[Any] = gettext_lazy("Records that a web address gives as JSON, page by page, or as a CSV file.")
    delivers: ClassVar[Delivers] = Delivers.ROWS
    Form: ClassVar[type[forms.Form]] = FeedForm
    secrets: ClassVar[frozenset[str]] = SECRETS

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        self.settings, self.network = settings, network
        self.address = str(settings["address"])
        self._client: Client | None = None

    @property
    def omits_fields(self) -> bool:
        """JSON leaves out what has no value, so that a field that is absent from a few records is not lost."""
        return bool(self.settings["format"] == "json")

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = client_of(self.settings, self.network)
        return self._client

    def check(self) -> str:
        """Ask for the first page."""
        preview = self.preview(5)
        text = _("%(url)s gives records with %(count)d fields.") if preview.rows else _("%(url)s answers, with no record yet.")
        return text % {"url": named(self.address), "count": len(preview.fields)}

    def preview(self, most: int = 20) -> Preview:
        """The first records."""
        until = time.monotonic() + LOOK_SECONDS
        made = []
        for each in islice(self._records({}, {}), most):
            made.append(each)
            if time.monotonic() > until:
                break
        rows = [row for row in made if not isinstance(row, Faulty)]
        fields = list(dict.fromkeys(name for row in rows for name in row))
        return Preview(fields, rows, faulty=[row for row in made if isinstance(row, Faulty)])

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """The records since the cursor."""
        found: dict[str, Any] = {}
        last = Since(self.settings, cursor)
        held: Piece | None = None
        for batch in batches(self._records(cursor, found), ROWS):
            rows = [row for row in batch if not isinstance(row, Faulty) and last.is_new(row)]
            faulty = [row for row in batch if isinstance(row, Faulty)]
            if held:
                yield held
            # Where it is cut off before the end, all comes again, and what is known goes by its hash.
            held = Piece(cursor, rows, faulty=faulty) if rows or faulty else None
        after = {**last.cursor(), **found}
        if held:
            yield Piece(after, held.rows, faulty=held.faulty)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _records(self, cursor: Cursor, found: dict[str, Any]) -> Iterator[Row | Faulty]:
        """Each record as a row; `found` is told what the server says of this state of the feed."""
        known = {"If-None-Match": cursor.get("etag", ""), "If-Modified-Since": cursor.get("modified", "")}
        headers = {name: value for name, value in known.items() if value}
        url = self.address
        if self.settings.get("since_parameter") and (begin := Since(self.settings, cursor).begin()):
            url = with_parameter(url, self.settings["since_parameter"], begin)
        if self.settings["format"] == "csv":
            yield from self._csv(url, headers, cursor, found)
        else:
            yield from self._json(url, headers, cursor, found)

    def _json(self, url: str, headers: dict[str, str], cursor: Cursor, found: dict[str, Any]) -> Iterator[Row | Faulty]:
        number, page, first, total = 0, int(self.settings.get("first_page") or 0), url, hashlib.sha256()
        paging = self.settings.get("paging") or "none"
        asked: set[str] = set()
        previous = b""
        before: list[Any] = []
        overlaps, turned = False, ""
        for _number in range(PAGES):
            if paging in {"page", "offset"}:
                # An offset begins with the last record that has come: if it is another one now, the list has shifted.
                overlaps = paging == "offset" and len(before) > 1
                url = with_parameter(first, self.settings["paging_name"], str(page if paging == "page" else number - overlaps))
            asked.add(url)
            sent = {"Accept": "application/json", **(headers if url == first else {})}
            answer = self.client.get(url, headers=sent, accept=(200, 304))
            if answer.status == 304:
                found.update({name: cursor[name] for name in ("etag", "modified") if name in cursor})
                return
            body = answer.json()
            items = at_path(body, self.settings.get("records") or "")
            if not isinstance(items, list):
                text = _("%(url)s has no list of records at “%(path)s”.")
                raise SourceError("answer", text % {"url": shown(url), "path": self.settings.get("records") or "."})
            if paging == "none":
                found.update(state_of(answer.headers))
                total.update(answer.body)
                if not self._changed(found, total.hexdigest(), cursor):
                    return
            again, previous = paging in {"page", "offset"} and answer.body == previous, answer.body
            if overlaps and not again and items[:1] != before[-1:]:
                text = _("The records of %(url)s changed their places while they were read. It is tried again later.")
                raise SourceError("shifted", text % {"url": shown(url)}, passing=True)
            for item in self._moved(turned, before) if turned else ():
                number += 1
                yield record(item, number)
            before, items = items, items[overlaps:]
            turned = url if paging == "page" and self.settings.get("since_parameter") else ""
            for item in items:
                number += 1
                yield record(item, number)
            page += 1
            target = self._next(answer, body, items, url)
            if target is None:
                return
            if target in asked or again:
                raise SourceError("answer", _("%(url)s leads to a page that it has given before.") % {"url": shown(url)})
            url = target
        raise SourceError("too_large", _("%(url)s has more than %(most)d pages.") % {"url": shown(first), "most": PAGES})

    def _moved(self, url: str, known: list[Any]) -> list[Any]:
        """What stands on a page now and did not before the next one was read: it would have slipped from that to this one.

        Only where records are asked for by their time: else the next run reads all pages again.
        """
        answer = self.client.get(url, headers={"Accept": "application/json"}, accept=(200, 404))
        items = at_path(answer.json(), self.settings.get("records") or "") if answer.status == 200 else None
        return [item for item in items if item not in known] if isinstance(items, list) and items != known else []

    def _changed(self, found: dict[str, Any], sha: str, cursor: Cursor) -> bool:
        found["sha"] = sha
        return bool(sha != cursor.get("sha"))

    def _next(self, answer: Answer, body: Any, items: list[Any], url: str) -> str | None:
        match self.settings.get("paging"):
            case "link":
                target = next((link["url"] for link in links(answer.headers) if link.get("rel") == "next"), None)
            case "next":
                target = at_path(body, self.settings["paging_name"])
            case "page" | "offset":
                return "" if items else None  # `_json` makes the address
            case _:
                return None
        if not target:
            return None
        target = urljoin(url, str(target))
        if origin(target) != origin(self.address):
            text = _("%(url)s names a next page on another server, which is not asked.")
            raise SourceError("answer", text % {"url": shown(url)})
        return target

    def _csv(self, url: str, headers: dict[str, str], cursor: Cursor, found: dict[str, Any]) -> Iterator[Row | Faulty]:
        with temporary.file("arrived-") as kept:
            total = hashlib.sha256()
            accept = {"Accept": "text/csv, text/plain;q=0.9, */*;q=0.1"}
            with self.client.stream(url, headers={**accept, **headers}, accept=(200, 304), seconds=http.FILE_SECONDS) as (
                response,
                chunks,
            ):
                if response.status_code == 304:
                    found.update({name: cursor[name] for name in ("etag", "modified", "sha") if name in cursor})
                    return
                if "html" in response.headers.get("content-type", ""):
                    text = _("%(url)s gives a web page and no CSV: perhaps one to sign in.")
                    raise SourceError("answer", text % {"url": shown(url)})
                found.update(state_of(response.headers))
                for chunk in limited(chunks, installation.MAX_UPLOAD_BYTES, url):
                    kept.write(chunk)
                    total.update(chunk)
            kept.flush()
            if not self._changed(found, total.hexdigest(), cursor):
                return
            yield from table(Path(kept.name), url)


class Since:
    """The greatest value of the field so far, and which records there were from a little before it on."""

    def __init__(self, settings: Mapping[str, Any], cursor: Cursor) -> None:
        self.field, self.settings = settings.get("since_field") or "", settings
        self.value: str | None = cursor.get("since")
        self.known: dict[str, str] = {each[0]: each[1] for each in cursor.get("at", ())}  # their values, by their hash
        self.at = dict(self.known)
        self.least: str | None = cursor.get("from")  # where more had come than is remembered: the first that is

    def begin(self) -> str | None:
        """From where on to ask."""
        if self.value is None:
            return None
        begin = earlier(self.value, self.settings)
        return self.least if self.least is not None and order(self.least) > order(begin) else begin

    def is_new(self, row: Row) -> bool:
        """Whether it has not come already; remembers it."""
        value = row.get(self.field) if self.field else None
        if value is None:
            return True
        mark = f"{digest(row):016x}"
        now = order(value)
        self.at[mark] = value
        ahead = now[0] == 1 and now[1] > overlap.limit().timestamp()
        if not ahead and (self.value is None or now > order(self.value)):
            self.value = value
        if len(self.at) > 4 * AT_LAST:
            self._forget()
        return mark not in self.known

    def _forget(self) -> None:
        """Only what may be given again is remembered, the latest of it."""
        begin = self.begin()
        kept = [item for item in self.at.items() if begin is None or order(item[1]) >= order(begin)]
        kept.sort(key=lambda item: order(item[1]))
        if len(kept) > AT_LAST:
            kept = kept[-AT_LAST:]
            self.least = kept[0][1]
        self.at = dict(kept)

    def cursor(self) -> dict[str, Any]:
        self._forget()
        found = {"since": self.value, "from": self.least, "at": [[mark, value] for mark, value in self.at.items()]}
        return {name: value for name, value in found.items() if value}


def order(value: str) -> tuple[int, float]:
    """Times and numbers in their order. Raises SourceError for others, which may name a patient."""
    if re.fullmatch(NUMBER, value):
        return 0, float(value)
    try:
        at = datetime.fromisoformat(value)
        return 1, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        text = _("The field with the time of the last change holds something that is neither a time nor a number.")
        raise SourceError("answer", text) from None


def earlier(value: str, settings: Mapping[str, Any]) -> str:
    """The value less the overlap, written as it was."""
    if re.fullmatch(NUMBER, value):
        return format(overlap.back(Decimal(value), settings), "f")
    if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return str(overlap.back(date.fromisoformat(value), settings))
    at = overlap.back(datetime.fromisoformat(value), settings)
    text = at.isoformat("T" if "T" in value else " ")
    return f"{text.removesuffix('+00:00')}Z" if value.endswith("Z") else str(text)


def state_of(headers: httpx.Headers) -> dict[str, str]:
    """What a server says of the state that it gives."""
    said = {"etag": headers.get("etag", ""), "modified": headers.get("last-modified", "")}
    return {name: value for name, value in said.items() if value and len(value) < 300 and value.isprintable()}


def record(item: Any, number: int) -> Row | Faulty:
    """A JSON object as a row, objects in it as columns of their own."""
    where = _("record %(number)d") % {"number": number}
    if not isinstance(item, dict):
        return Faulty(where, _("It is no JSON object."))
    try:
        return {name: text_of(value) for name, value in flat(item)}
    except ValueError:
        return Faulty(where, _("A value in it is longer than a million characters."))


def flat(item: Mapping[str, Any], before: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for name, value in item.items():
        if isinstance(value, dict) and value and depth < DEEPEST:
            yield from flat(value, f"{before}{name}.", depth + 1)
        else:
            yield f"{before}{name}", value


def table(path: Path, url: str) -> Iterator[Row | Faulty]:
    """The rows of a CSV file by its header."""
    try:
        header: list[str] = []
        for batch in DelimitedTable(path, {}).batches(size=ROWS):
            for number, cells in enumerate(batch.rows, batch.first):
                if not header:
                    header = [str(cell or "").strip() for cell in cells]
                    if len(set(header)) < len(header) or not all(header):
                        text = _("The first row of %(url)s does not name each column, or names two alike.")
                        raise SourceError("answer", text % {"url": shown(url)})
                elif len(cells) > len(header):
                    text = _("It has %(count)d cells, the header %(expected)d.") % {"count": len(cells), "expected": len(header)}
                    yield Faulty(_("row %(number)d") % {"number": number}, text)
                elif cells:
                    yield {**dict.fromkeys(header), **dict(zip(header, map(text_of, cells), strict=False))}
    except ReadError as error:
        raise SourceError("answer", f"{shown(url)}: {error}") from None


def at_path(body: Any, path: str) -> Any:
    """What lies behind the names, None where nothing does."""
    for name in path.split(".") if path else ():
        body = body.get(name) if isinstance(body, dict) else None
    return body


def links(headers: httpx.Headers) -> Iterable[dict[str, str]]:
    """Of a Link header."""
    for target, rest in re.findall(r"<([^>]{1,4000})>([^,<]*)", headers.get("link", "")):
        rel = re.search(r'rel="?([^";\s]+)', rest)
        yield {"url": target, "rel": rel.group(1).casefold() if rel else ""}
