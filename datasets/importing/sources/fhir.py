"""A FHIR R4 server: resources of one type, each made one flat record together with what its patient has else.

New and changed resources are found by `_lastUpdated` (see `fhir_reading`). A patient's record also comes again when something of
theirs that the mapping uses is new.

fhirclient and fhir.resources were looked at: they model resources as classes (R4B and R5 in the newest), which a mapping by
paths has no use for, and bring an HTTP client of their own; fhirpathpy (MIT) evaluates the paths.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode

from django import forms
from django.utils.translation import gettext_lazy

from datasets.importing import fhir_mapping
from datasets.importing.base import Cursor, Delivers, Faulty, Piece, Preview, SourceError
from datasets.importing.fhir_mapping import TYPES
from datasets.importing.fhir_values import Resource, is_void
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.sources import overlap
from datasets.importing.sources.fhir_reading import Last, Reader, patient_of
from datasets.importing.sources.web import SECRETS, WebForm, clean_parameters
from datasets.importing.values import Row

OF_PATIENT = 5000  # resources of one type of one patient
TOGETHER = 40  # patients asked for at once, as the address has to hold their IDs
HELD = 20_000  # resources of patients that are kept in memory during a run
LOOK_SECONDS = 30.0  # for a preview, which then shows what has come


class FhirForm(WebForm, overlap.OverlapForm):
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
            "“diagnoses = Condition[*].code.coding.code”: a resource, a code or * in brackets, a FHIRPath. Empty: a usual "
            "choice. A column of a code has one unit: where a server has several, name it, as in “Observation[718-7|g/dL]”. What "
            "is below or above what can be measured stays as it is written, such as “<5”."
        ),
    )
    field_order = (*WebForm.base_fields, "resource", "filter", "mapping", "overlap_minutes")

    def clean_filter(self) -> str:
        given = str(self.cleaned_data["filter"]).strip().lstrip("?")
        names = [name.partition(":")[0] for name, _value in parse_qsl(given, keep_blank_values=True)]
        if given and (not names or {"_sort", "_count", "_lastUpdated", "_format", "_summary", "_elements"} & set(names)):
            raise forms.ValidationError(_("Give search parameters without _sort, _count, _lastUpdated and _format."))
        clean_parameters(given)
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
        self.type = str(settings["resource"])
        self.columns = fhir_mapping.parse(str(settings.get("mapping") or "") or fhir_mapping.default(self.type))
        self.joined = sorted({column.type for column in self.columns} - {self.type, "Patient"})
        self.with_patient = self.type == "Patient" or any(column.type == "Patient" for column in self.columns)
        self.filter = parse_qsl(str(settings.get("filter") or ""), keep_blank_values=True)
        self.reader = Reader(settings, network)
        self.units: dict[str, str] = {}
        self._held: dict[str, dict[str, Sequence[Resource]]] = {}

    def check(self) -> str:
        """Ask what the server can, and how many resources there are."""
        statement, where = self.reader.get("metadata"), self.reader.where()
        version = str(statement.get("fhirVersion") or "")
        if statement.get("resourceType") != "CapabilityStatement":
            raise SourceError("answer", _("%(url)s is no FHIR server: it gives no statement of what it can.") % where)
        if not version.startswith("4."):
            text = _("%(url)s speaks FHIR %(version)s; R4 (4.0) is read.")
            raise SourceError("answer", text % {**where, "version": version[:20] or "?"})
        known = self.reader.known(statement)
        for name in sorted({self.type, *self.joined}):
            if known and name not in known:
                raise SourceError("not_found", _("%(url)s has no resources of type %(type)s.") % {**where, "type": name})
        total = self.reader.get(f"{self.type}?{urlencode([*self.filter, ('_summary', 'count')])}").get("total")
        count = total if isinstance(total, int) else "?"
        text = _("%(url)s speaks FHIR %(version)s. Resources of type %(type)s that fit: %(count)s.")
        return text % {**where, "version": version[:20], "type": self.type, "count": count}

    def preview(self, most: int = 20) -> Preview:
        """The first records, as many as come in half a minute: each of them asks for what its patient has."""
        until = time.monotonic() + LOOK_SECONDS
        made: list[Row | Faulty] = []
        notes = []
        for each in islice((each for page in self.reader.pages(self.type, self.filter) for each in page.resources), most):
            made.append(self._record(each))
            if time.monotonic() > until:
                notes.append(_("The server is slow: only the first %(count)d are shown.") % {"count": len(made)})
                break
        rows = [row for row in made if not isinstance(row, Faulty)]
        faulty = [row for row in made if isinstance(row, Faulty)]
        return Preview([column.name for column in self.columns], rows, faulty=faulty, notes=notes)

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """Records of what is new or changed since the cursor."""
        self.units = dict(cursor.get("units", {}))
        last = Last(cursor, self.settings)
        touched, others = self._touched(cursor)
        come: set[str] = set()
        # What is to be looked at for further types counts from before the first page on, also if this run is cut off.
        begun = {**cursor, "others": {**others, **cursor.get("others", {})}} if others else cursor
        given = cursor  # with the last piece
        for new in self.reader.new(self.type, self.filter, last):
            made = []
            for each in new:
                come.add(str(each.get("id")))
                made.append(self._record(each))
            if made:
                given = self._at({**begun, **last.cursor()} if last.sorted else begun)
                yield _piece(given, made)
        more = sorted(touched - come)
        for start in range(0, len(more), TOGETHER):
            made = [self._record(each) for each in self._fitting(more[start : start + TOGETHER])]
            given = self._at({**begun, **last.cursor()} if last.sorted else begun)
            yield _piece(given, made)
        end = self._at({**begun, **last.cursor(), **({"others": others} if others else {})})
        if end != given:
            yield Piece(end)

    def close(self) -> None:
        self._held.clear()
        self.reader.close()

    def _at(self, cursor: Cursor) -> Cursor:
        return {**cursor, "units": dict(self.units)} if self.units else cursor

    def _touched(self, cursor: Cursor) -> tuple[set[str], dict[str, Any]]:
        """Patients of whom something is new, and where to go on. At first only where to begin, before anything is read."""
        touched: set[str] = set()
        others: dict[str, Any] = {}
        for name in self.joined if self.type == "Patient" else ():
            known = cursor.get("others", {}).get(name)
            last = Last(known or {}, self.settings)
            if known is None:
                self.reader.newest(name, last)
            else:
                for new in self.reader.new(name, (), last):
                    touched |= {patient for each in new if (patient := patient_of(each))}
            others[name] = last.cursor()  # empty where there is none yet: what comes later is new
        return touched, others

    def _fitting(self, identities: Sequence[str]) -> Iterator[Resource]:
        """These patients, as far as they fit the search: others are none of this importer's business."""
        asked = [*self.filter, ("_id", ",".join(identities))]
        for page in self.reader.pages("Patient", asked, plain=False):
            yield from (each for each in page.resources if each["id"] in identities)

    def _record(self, base: Resource) -> Row | Faulty:
        """A resource with what its patient has. What is asked for them is kept, as the next record is often theirs too."""
        where = f"{self.type}/{base['id']}"
        try:
            if is_void(base):
                text = _("It is marked as entered in error, refuted or cancelled. If its record came earlier, remove that here.")
                return Faulty(where, text)
            patient = patient_of(base)
            others = self._others(patient) if patient else {}
            if self.with_patient and self.type != "Patient" and not others.get("Patient"):
                return Faulty(where, _("It names no patient of this server."))
            return fhir_mapping.row(self.columns, base, others, self.units)
        except fhir_mapping.Mixed as mixed:
            return Faulty(where, str(mixed))
        except SourceError as error:
            if error.code == "too_many":
                return Faulty(where, str(error))
            raise
        except Exception:  # whatever FHIRPath and a resource that is none make of each other
            return Faulty(where, _("It can't be mapped: it is not as FHIR says, or a path of the mapping does not fit it."))

    def _others(self, patient: str) -> dict[str, Sequence[Resource]]:
        if patient not in self._held:
            while self._held and sum(len(each) for held in self._held.values() for each in held.values()) >= HELD:
                self._held.pop(next(iter(self._held)))
            found: dict[str, Sequence[Resource]] = {name: self._of_patient(name, patient) for name in self.joined}
            if self.with_patient and self.type != "Patient":
                person = self._patient(patient)
                found["Patient"] = [person] if person else []
            self._held[patient] = found
        return self._held[patient]

    def _of_patient(self, name: str, patient: str) -> list[Resource]:
        asked = [("patient", patient)]
        codes = {column.code for column in self.columns if column.type == name}
        if name == "Observation" and not codes & {"", "*"} and "combo-code" in self.reader.searchable(name):
            asked.append(("combo-code", ",".join(sorted(codes))))
        found: list[Resource] = []
        for page in self.reader.pages(name, asked, plain=False):
            found += [each for each in page.resources if not is_void(each)]
            if len(found) > OF_PATIENT:
                text = _("Its patient has more than %(most)d resources of type %(type)s.")
                raise SourceError("too_many", text % {"most": OF_PATIENT, "type": name})
        return found

    def _patient(self, identity: str) -> Resource | None:
        found = self.reader.get(f"Patient/{quote(identity)}", gone=True, plain=False)
        return found if found.get("resourceType") == "Patient" else None


def _piece(cursor: Cursor, made: Sequence[Row | Faulty]) -> Piece:
    rows = [row for row in made if not isinstance(row, Faulty)]
    return Piece(cursor, rows, faulty=[row for row in made if isinstance(row, Faulty)])
