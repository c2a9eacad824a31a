"""A FHIR R4 server: resources of one type, each made one flat record together with what its patient has else.

New and changed resources are found by `_lastUpdated`, oldest first where the server can sort, so that the cursor moves with each
page; where it can't, with the last. A patient's record also comes again when something of theirs that the mapping uses is new.

fhirclient and fhir.resources were looked at: they model resources as classes (R4B and R5 in the newest), which a mapping by
paths has no use for, and bring an HTTP client of their own; fhirpathpy (MIT) evaluates the paths.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode, urljoin

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.importing import fhir_mapping
from datasets.importing.base import Cursor, Delivers, Faulty, Piece, Preview, SourceError
from datasets.importing.fhir_mapping import TYPES, Resource, sortable
from datasets.importing.http import Client, origin, shown
from datasets.importing.network import Network
from datasets.importing.sources.web import SECRETS, WebForm, client_of
from datasets.importing.values import Row

COUNT = 100  # resources in a page
PAGES = 20_000
OF_PATIENT = 5000  # resources of one type of one patient
AT_LAST = 1000  # resources of the last moment that are remembered
HELD = 500  # patients whose resources are kept in memory during a run
ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
TOLD = (200, 400, 405, 406, 412, 422)  # answers that hold an OperationOutcome when they are no 200


class FhirForm(WebForm):
    """What a person fills in."""

    resource = forms.ChoiceField(
        label=gettext_lazy("One record for each"),
        choices=[(name, name) for name in TYPES],
        help_text=gettext_lazy("The resource type that a record is made of."),
    )
    filter = forms.CharField(
        label=gettext_lazy("Search"),
        required=False,
        max_length=1000,
        help_text=gettext_lazy("FHIR search parameters, such as category=laboratory&status=final. Empty: all."),
    )
    mapping = forms.CharField(
        label=gettext_lazy("Columns"),
        widget=forms.Textarea,
        required=False,
        max_length=20_000,
        help_text=gettext_lazy(
            "One line for each column, such as “hb = Observation[718-7]”, “sex = Patient.gender” or "
            "“diagnoses = Condition[*].code.coding.code”: a resource, a code or * in brackets, a FHIRPath. Empty: a usual choice."
        ),
    )

    def clean_filter(self) -> str:
        given = str(self.cleaned_data["filter"]).strip().lstrip("?")
        names = [name.partition(":")[0] for name, _value in parse_qsl(given, keep_blank_values=True)]
        if given and (not names or {"_sort", "_count", "_lastUpdated", "_format", "_summary", "_elements"} & set(names)):
            raise forms.ValidationError(_("Give search parameters without _sort, _count, _lastUpdated and _format."))
        return given

    def clean_mapping(self) -> str:
        given = str(self.cleaned_data["mapping"]).strip()
        if given:
            try:
                fhir_mapping.parse(given)
            except ValueError as error:
                raise forms.ValidationError(str(error)) from None
        return given


class FhirSource:
    """See the module's text."""

    kind: ClassVar[str] = "fhir"
    label: ClassVar[Any] = gettext_lazy("FHIR server (R4)")
    explained: ClassVar[Any] = gettext_lazy("Patients, reports, observations and more from a FHIR server, a flat record each.")
    delivers: ClassVar[Delivers] = Delivers.ROWS
    Form: ClassVar[type[forms.Form]] = FhirForm
    secrets: ClassVar[frozenset[str]] = SECRETS

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        self.settings, self.network = settings, network
        self.address = str(settings["address"]).rstrip("/")
        self.type = str(settings["resource"])
        self.columns = fhir_mapping.parse(str(settings.get("mapping") or "") or fhir_mapping.default(self.type))
        self.joined = sorted({column.type for column in self.columns} - {self.type, "Patient"})
        self.with_patient = self.type == "Patient" or any(column.type == "Patient" for column in self.columns)
        self.filter = parse_qsl(str(settings.get("filter") or ""), keep_blank_values=True)
        self._client: Client | None = None
        self._held: dict[str, dict[str, Sequence[Resource]]] = {}
        self._parameters: dict[str, set[str]] | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = client_of(self.settings, self.network)
        return self._client

    def check(self) -> str:
        """Ask what the server can, and how many resources there are."""
        statement = self._get("metadata")
        version = str(statement.get("fhirVersion") or "")
        if statement.get("resourceType") != "CapabilityStatement":
            raise SourceError("answer", _("%(url)s is no FHIR server: it gives no statement of what it can.") % self._where())
        if not version.startswith("4."):
            text = _("%(url)s speaks FHIR %(version)s; R4 (4.0) is read.")
            raise SourceError("answer", text % {**self._where(), "version": version[:20] or "?"})
        known = self._known(statement)
        for name in sorted({self.type, *self.joined}):
            if known and name not in known:
                raise SourceError("not_found", _("%(url)s has no resources of type %(type)s.") % {**self._where(), "type": name})
        total = self._get(f"{self.type}?{urlencode([*self.filter, ('_summary', 'count')])}").get("total")
        count = total if isinstance(total, int) else "?"
        text = _("%(url)s speaks FHIR %(version)s. Resources of type %(type)s that fit: %(count)s.")
        return text % {**self._where(), "version": version[:20], "type": self.type, "count": count}

    def preview(self, most: int = 20) -> Preview:
        """The first records."""
        made = list(islice((self._record(each) for page in self._pages(self.type, self.filter) for each in page), most))
        rows = [row for row in made if not isinstance(row, Faulty)]
        return Preview([column.name for column in self.columns], rows, faulty=[row for row in made if isinstance(row, Faulty)])

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """Records of what is new or changed since the cursor."""
        last = Last(cursor.get("since", ""), cursor.get("at", ()))
        touched, others = self._touched(cursor)
        asked = [*self.filter, ("_sort", "_lastUpdated")]
        if last.since:
            asked.append(("_lastUpdated", f"ge{last.since}"))
        come: set[str] = set()
        # What is to be looked at for further types counts from before the first page on, also if this run is cut off.
        begun = {**cursor, "others": {**others, **cursor.get("others", {})}} if others else cursor
        moved: Cursor = begun
        given = cursor  # with the last piece
        for page in self._pages(self.type, asked):
            made = []
            for each in page:
                if last.is_new(each):
                    come.add(str(each.get("id")))
                    made.append(self._record(each))
            if last.sorted:
                moved = {**begun, **last.cursor()}
            if made:
                given = moved
                yield _piece(given, made)
        more = sorted(touched - come)
        for start in range(0, len(more), COUNT):
            found = [self._patient(identity) for identity in more[start : start + COUNT]]
            given = moved
            yield _piece(given, [self._record(each) for each in found if each is not None])
        end = {**begun, **last.cursor(), **({"others": others} if others else {})}
        if end != given:
            yield Piece(end)

    def close(self) -> None:
        self._held.clear()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _touched(self, cursor: Cursor) -> tuple[set[str], dict[str, Any]]:
        """Patients of whom something is new, and where to go on. At first only where to begin, before anything is read."""
        touched: set[str] = set()
        others: dict[str, Any] = {}
        for name in self.joined if self.type == "Patient" else ():
            known = cursor.get("others", {}).get(name, {})
            last = Last(known.get("since", ""), known.get("at", ()))
            asked = [("_sort", "-_lastUpdated")]
            if last.since:
                asked = [("_sort", "_lastUpdated"), ("_lastUpdated", f"ge{last.since}")]
            for page in self._pages(name, asked):
                touched |= {patient for each in page if last.is_new(each) and known and (patient := patient_of(each))}
                if not known:
                    break  # the newest is on the first page
            others[name] = last.cursor() or known
        return touched, {name: value for name, value in others.items() if value}

    def _record(self, base: Resource) -> Row | Faulty:
        """A resource with what its patient has. What is asked for them is kept, as the next record is often theirs too."""
        where = f"{self.type}/{base['id']}"
        patient = patient_of(base)
        try:
            others = self._others(patient) if patient else {}
            if self.with_patient and self.type != "Patient" and not others.get("Patient"):
                return Faulty(where, _("It names no patient of this server."))
            return fhir_mapping.row(self.columns, base, others)
        except SourceError as error:
            if error.code == "too_many":
                return Faulty(where, str(error))
            raise
        except Exception:  # whatever FHIRPath and a resource that is none make of each other
            return Faulty(where, _("It can't be mapped: it is not as FHIR says, or a path of the mapping does not fit it."))

    def _others(self, patient: str) -> dict[str, Sequence[Resource]]:
        if patient not in self._held:
            if len(self._held) >= HELD:
                self._held.pop(next(iter(self._held)))
            found: dict[str, Sequence[Resource]] = {name: self._of_patient(name, patient) for name in self.joined}
            if self.with_patient and self.type != "Patient":
                person = self._patient(patient)
                found["Patient"] = [person] if person else []
            self._held[patient] = found
        return self._held[patient]

    def _of_patient(self, name: str, patient: str) -> list[Resource]:
        asked = [("patient", patient)]
        codes = {column.which for column in self.columns if column.type == name}
        if name == "Observation" and not codes & {"", "*"} and "combo-code" in self._searchable(name):
            asked.append(("combo-code", ",".join(sorted(codes))))
        found: list[Resource] = []
        for page in self._pages(name, asked, plain=False):
            found += page
            if len(found) > OF_PATIENT:
                text = _("Its patient has more than %(most)d resources of type %(type)s.")
                raise SourceError("too_many", text % {"most": OF_PATIENT, "type": name})
        return found

    def _patient(self, identity: str) -> Resource | None:
        found = self._get(f"Patient/{quote(identity)}", gone=True, plain=False)
        return found if found.get("resourceType") == "Patient" else None

    def _searchable(self, name: str) -> set[str]:
        if self._parameters is None:
            self._parameters = self._known(self._get("metadata"))
        return self._parameters.get(name, set())

    @staticmethod
    def _known(statement: Mapping[str, Any]) -> dict[str, set[str]]:
        known: dict[str, set[str]] = {}
        for rest in statement.get("rest") or ():
            for each in (rest.get("resource") if isinstance(rest, dict) else None) or ():
                known[str(each.get("type"))] = {str(one.get("name")) for one in each.get("searchParam") or ()}
        return known

    def _pages(self, name: str, asked: Sequence[tuple[str, str]], *, plain: bool = True) -> Iterator[list[Resource]]:
        """The resources that a search finds. `plain`: it names no patient, so that the server's own words may be shown."""
        url: str | None = f"{name}?{urlencode([*asked, ('_count', str(COUNT))])}"
        seen: set[str] = set()
        for _number in range(PAGES):
            bundle = self._get(url or "", plain=plain)
            if bundle.get("resourceType") != "Bundle":
                raise SourceError("answer", _("%(url)s answers a search with something that is no Bundle.") % self._where())
            seen.add(url or "")
            entries = [entry for entry in bundle.get("entry") or () if isinstance(entry, dict)]
            found = [entry.get("resource") for entry in entries if (entry.get("search") or {}).get("mode", "match") == "match"]
            yield [each for each in found if isinstance(each, dict) and each.get("resourceType") == name and _has_id(each)]
            links = [link for link in bundle.get("link") or () if isinstance(link, dict)]
            url = next((str(link["url"]) for link in links if link.get("relation") == "next" and link.get("url")), None)
            if url is None:
                return
            url = urljoin(f"{self.address}/", url)
            if origin(url) != origin(self.address):
                text = _("%(url)s names a next page on another server, which is not asked.")
                raise SourceError("answer", text % self._where())
            if url in seen:
                raise SourceError("answer", _("%(url)s leads to a page that it has given before.") % self._where())
        raise SourceError("too_large", _("%(url)s has more than %(most)d pages.") % {**self._where(), "most": PAGES})

    def _get(self, path: str, *, gone: bool = False, plain: bool = True) -> dict[str, Any]:
        url = path if path.startswith(("http://", "https://")) else f"{self.address}/{path}"
        accept = (*TOLD, 404, 410) if gone else TOLD
        answer = self.client.get(url, headers={"Accept": "application/fhir+json"}, accept=accept)
        if answer.status in {404, 410}:
            return {}
        if answer.status != 200:
            raise SourceError("answer", self._outcome(answer.status, answer.body, plain))
        found = answer.json()
        if not isinstance(found, dict):
            raise SourceError("answer", _("%(url)s answers with something that is no FHIR resource.") % self._where())
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
        text = _("%(url)s refuses the request (%(status)d, %(code)s).") % {**self._where(), "status": status, "code": code}
        return f"{text} {' '.join(words.split())[:200]}".strip() if plain and words.isprintable() else text

    def _where(self) -> dict[str, str]:
        return {"url": shown(self.address)}


class Last:
    """The latest `meta.lastUpdated` so far and what had it; `sorted` while none came before an earlier one."""

    def __init__(self, since: str, at: Sequence[str]) -> None:
        self.before, self.known = since, frozenset(at)
        self.since, self.at, self.sorted = since, list(at), True

    def is_new(self, resource: Resource) -> bool:
        """Whether it has not come with the cursor already; remembers it. What tells no time is new each time."""
        meta = resource.get("meta")
        updated = meta.get("lastUpdated") if isinstance(meta, Mapping) else None
        if not isinstance(updated, str) or not (now := sortable(updated)):
            self.sorted = False
            return True
        text = f"{resource.get('resourceType')}/{resource.get('id')}/{meta.get('versionId') if meta else ''}"
        mark = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        latest = sortable(self.since) if self.since else ""
        if now > latest:
            self.since, self.at = updated, [mark]
        elif now == latest:
            self.at = [*self.at, mark][-AT_LAST:] if mark not in self.at else self.at
        else:
            self.sorted = False
        return not (self.before and now == sortable(self.before) and mark in self.known)

    def cursor(self) -> dict[str, Any]:
        return {"since": self.since, "at": self.at} if self.since else {}


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


def _piece(cursor: Cursor, made: Sequence[Row | Faulty]) -> Piece:
    rows = [row for row in made if not isinstance(row, Faulty)]
    return Piece(cursor, rows, faulty=[row for row in made if isinstance(row, Faulty)])
