"""How FHIR resources become one flat record: lines "column = Resource[which].path", evaluated by FHIRPath.

    sex = Patient.gender                              of the record's patient
    hb = Observation[718-7]                           the latest with that code (also as a component), its value
    unit = Observation[718-7].valueQuantity.unit      any FHIRPath from there
    diagnoses = Condition[*].code.coding.code         of all, joined
    report = DiagnosticReport.conclusion              of the base resource where it is of that type, else of the latest

What has a date counts for a record only up to the record's own date: what was found later can't have been known.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext as _

from datasets.importing.values import text_of

Resource = Mapping[str, Any]
TYPES = ("Patient", "Condition", "Observation", "DiagnosticReport", "ImagingStudy", "DocumentReference")
LINE = re.compile(r"(?P<type>[A-Za-z]+)(\[(?P<which>[^\]\s]{1,120})\])?(\.(?P<path>.+))?")
COLUMNS = 200
DATES = {
    "Patient": (),
    "Condition": ("recordedDate", "onsetDateTime"),
    "Observation": ("effectiveDateTime", "effectiveInstant", "issued"),
    "DiagnosticReport": ("effectiveDateTime", "issued"),
    "ImagingStudy": ("started",),
    "DocumentReference": ("date",),
}
# LOINC codes of what most hospitals measure.
LABS = {
    "systolic": "8480-6", "diastolic": "8462-4", "heart_rate": "8867-4", "temperature": "8310-5", "respiratory_rate": "9279-1",
    "oxygen_saturation": "59408-5", "weight": "29463-7", "height": "8302-2", "bmi": "39156-5", "haemoglobin": "718-7",
    "leukocytes": "6690-2", "platelets": "777-3", "creatinine": "2160-0", "glucose": "2345-7", "hba1c": "4548-4",
    "sodium": "2951-2", "potassium": "2823-3", "crp": "1988-5",
}  # fmt: skip
OWN = {
    "Patient": {"diagnoses": "Condition[*].code.coding.code"},
    "Condition": {"condition": "Condition.code.coding.code", "recorded": "Condition.recordedDate"},
    "Observation": {
        "code": "Observation.code.coding.code",
        "value": "Observation",
        "unit": "Observation.valueQuantity.unit",
        "at": "Observation.effectiveDateTime",
    },
    "DiagnosticReport": {
        "report": "DiagnosticReport.code.coding.code",
        "conclusion": "DiagnosticReport.conclusion",
        "conclusion_code": "DiagnosticReport.conclusionCode.coding.code",
        "at": "DiagnosticReport.effectiveDateTime",
    },
    "ImagingStudy": {
        "modality": "ImagingStudy.modality.code",
        "description": "ImagingStudy.description",
        "at": "ImagingStudy.started",
        "series": "ImagingStudy.numberOfSeries",
    },
    "DocumentReference": {
        "document": "DocumentReference.type.coding.code",
        "text": "DocumentReference",
        "at": "DocumentReference.date",
    },
}


@dataclass(frozen=True)
class Column:
    """One line of a mapping."""

    name: str
    type: str
    which: str  # "": the latest, "*": all, else a code, or system|code
    path: str  # FHIRPath; empty: the resource's own value


def default(base: str) -> str:
    """The mapping of a base resource where a person gives none."""
    lines = {"patient": "Patient.id", "sex": "Patient.gender", "birth_date": "Patient.birthDate", **OWN[base]}
    if base != "Observation":
        lines |= {name: f"Observation[{code}]" for name, code in LABS.items()}
    return "\n".join(f"{name} = {path}" for name, path in lines.items())


def parse(text: str) -> list[Column]:
    """Raises ValueError with a sentence that names the line."""
    columns = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, sign, expression = (part.strip() for part in line.partition("="))
        match = LINE.fullmatch(expression)
        if not sign or not name or not match or match["type"] not in TYPES:
            text = _("Line %(number)d is not “column = Resource.path” with one of %(types)s.")
            raise ValueError(text % {"number": number, "types": ", ".join(TYPES)})
        column = Column(name, match["type"], match["which"] or "", (match["path"] or "").strip())
        try:
            compiled(column.path)
        except Exception:  # the library raises bare ones
            raise ValueError(_("Line %(number)d: the path is no FHIRPath that is known here.") % {"number": number}) from None
        columns.append(column)
    if not 1 <= len(columns) <= COLUMNS or len({column.name for column in columns}) < len(columns):
        raise ValueError(_("A mapping has 1 to %(most)d columns, each with a name of its own.") % {"most": COLUMNS})
    return columns


@lru_cache(1000)
def compiled(path: str) -> Callable[[Any], list[Any]] | None:
    """Raises Exception for what is no FHIRPath. Evaluated once, so that an unknown function is found now."""
    if not path:
        return None
    from fhirpathpy import compile as compile_path

    made: Callable[[Any], list[Any]] = compile_path(path)
    made({"resourceType": "Basic"})
    return made


def row(columns: Sequence[Column], base: Resource, others: Mapping[str, Sequence[Resource]]) -> dict[str, str | None]:
    """The record. `others`: the same patient's resources by type. Raises Exception where a resource is not what FHIR says."""
    until = date_of(base)
    found: dict[str, str | None] = {}
    for column in columns:
        candidates: Sequence[Any] = [base] if column.type == base["resourceType"] else others.get(column.type, ())
        if column.type != base["resourceType"] and until:
            candidates = [each for each in candidates if date_of(each) <= until]  # no date: "" comes first
        candidates = sorted(candidates, key=date_of, reverse=True)
        if column.which not in {"", "*"}:
            candidates = [part for each in candidates for part in with_code(each, column.which)]
        values: list[Any] = []
        for each in candidates:
            values += [value for value in values_of(each, column.path) if value not in values]
            if values and column.which != "*":
                break
        texts = [text for value in values if (text := text_of(value)) is not None]
        found[column.name] = "; ".join(texts) or None
    return found


def values_of(resource: Resource, path: str) -> list[Any]:
    evaluate = compiled(path)
    return [own_value(resource)] if evaluate is None else list(evaluate(resource))


def own_value(resource: Resource) -> Any:
    """What a resource says where no path is given: an observation's value, a document's text, the names of its codes."""
    if resource.get("resourceType") == "DocumentReference":
        return "\n".join(filter(None, (attached(item.get("attachment") or {}) for item in resource.get("content") or ()))) or None
    if isinstance(quantity := resource.get("valueQuantity"), Mapping):
        return quantity.get("value")
    if isinstance(concept := resource.get("valueCodeableConcept"), Mapping):
        return concept.get("text") or next((each.get("code") for each in concept.get("coding") or ()), None)
    for name in ("valueString", "valueInteger", "valueBoolean", "valueDateTime", "valueTime"):
        if name in resource:
            return resource[name]
    code = resource.get("code")
    if isinstance(code, Mapping) and resource.get("resourceType") != "Observation":
        return code.get("text") or next((each.get("display") or each.get("code") for each in code.get("coding") or ()), None)
    return None


def attached(attachment: Mapping[str, Any]) -> str | None:
    """The text of an attachment that stands in the resource itself."""
    if not str(attachment.get("contentType", "")).startswith("text/") or not isinstance(attachment.get("data"), str):
        return None
    return base64.b64decode(attachment["data"]).decode("utf-8", "replace")


def with_code(resource: Resource, which: str) -> list[Resource]:
    """The resource if it has the code, else those of its components that have."""
    if _has(resource.get("code") or resource.get("type"), which):
        return [resource]
    return [part for part in resource.get("component") or () if _has(part.get("code"), which)]


def _has(concept: Any, which: str) -> bool:
    system, sign, code = which.rpartition("|")
    codings = concept.get("coding") or () if isinstance(concept, Mapping) else ()
    return any(each.get("code") == code and (not sign or each.get("system") == system) for each in codings)


def date_of(resource: Resource) -> str:
    """When it was, as a text in the order of time (UTC); empty where it does not say."""
    for name in DATES.get(str(resource.get("resourceType")), ()):
        if isinstance(text := resource.get(name), str):
            return sortable(text)
    period = resource.get("effectivePeriod")
    return sortable(str(period.get("end") or period.get("start") or "")) if isinstance(period, Mapping) else ""


def sortable(text: str) -> str:
    """A FHIR date or time as UTC; a date without a time is the day's end."""
    try:
        if len(text) == 10:
            return f"{date.fromisoformat(text)}T23:59:59"
        if len(text) > 10:
            at = datetime.fromisoformat(text)
            return (at - (at.utcoffset() or at - at)).replace(tzinfo=None).isoformat()
    except ValueError:
        return ""
    return f"{text}-12-31T23:59:59"[:19] if len(text) == 4 else f"{text}-31T23:59:59"
