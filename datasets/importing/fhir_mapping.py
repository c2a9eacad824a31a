"""How FHIR resources become one flat record: lines "column = Resource[which].path", evaluated by FHIRPath.

    sex = Patient.gender                              of the record's patient
    hb = Observation[718-7]                           the latest with that code (also as a component), its value
    hb = Observation[718-7|g/dL]                      only where it is in that unit (system|code|unit with the system)
    unit = Observation[718-7].valueQuantity.unit      any FHIRPath from there, of the functions that always end
    diagnoses = Condition[*].code.coding.code         of all, joined
    report = DiagnosticReport.conclusion              of the base resource where it is of that type, else of the latest

What has a date counts for a record only up to the record's own date: what was found later can't have been known.
What is void (entered in error, refuted, cancelled) counts for nothing. A column of a code keeps to the unit that it had first:
values in two units would become one column of numbers that mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from datasets.importing.fhir_values import Resource, date_of, units_of, values_of, with_code
from datasets.importing.said import gettext as _
from datasets.importing.values import text_of

TYPES = ("Patient", "Condition", "Observation", "DiagnosticReport", "ImagingStudy", "DocumentReference")
LINE = re.compile(r"(?P<type>[A-Za-z]+)(\[(?P<which>(?:[^\[\]\s]|\[[^\[\]\s]*\]){1,120})\])?(\.(?P<path>.+))?")
COLUMNS = 200
LONGEST, DEEPEST = 300, 8  # characters of a path, and brackets within brackets
# Those that give at most as much as they are given, in a time that the resource bounds. Left out: what repeats, walks through all
# that there is, joins what it doubles, or takes a regular expression.
FUNCTIONS = frozenset({
    "where", "select", "exists", "empty", "not", "all", "any", "count", "first", "last", "tail", "skip", "take",
    "single", "distinct", "isDistinct", "ofType", "as", "is", "iif", "hasValue", "getValue", "extension", "toString",
    "toInteger", "toDecimal", "toDate", "toDateTime", "toTime", "toBoolean", "toQuantity", "upper", "lower", "trim",
    "length", "substring", "startsWith", "endsWith", "contains", "indexOf", "abs", "round", "floor", "ceiling",
    "truncate", "allTrue", "anyTrue", "allFalse", "anyFalse",
})  # fmt: skip
# LOINC codes of what most hospitals measure.
LABS = {
    "systolic": "8480-6", "diastolic": "8462-4", "heart_rate": "8867-4", "temperature": "8310-5", "respiratory_rate": "9279-1",
    "oxygen_saturation": "59408-5", "weight": "29463-7", "height": "8302-2", "bmi": "39156-5", "haemoglobin": "718-7",
    "leukocytes": "6690-2", "platelets": "777-3", "creatinine": "2160-0", "glucose": "2345-7", "hba1c": "4548-4",
    "sodium": "2951-2", "potassium": "2823-3", "crp": "1988-5",
}  # fmt: skip
# Who the patient is, for what has texts: not kept, but looked for in these and masked (see datasets.masking).
WHO = {
    "family_name": "Patient.name.family", "given_name": "Patient.name.given", "patient_number": "Patient.identifier.value",
    "phone": "Patient.telecom.value", "address": "Patient.address.line",
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
        **WHO,
        "report": "DiagnosticReport.code.coding.code",
        "conclusion": "DiagnosticReport.conclusion",
        "conclusion_code": "DiagnosticReport.conclusionCode.coding.code",
        "at": "DiagnosticReport.effectiveDateTime",
    },
    "ImagingStudy": {
        **WHO,
        "modality": "ImagingStudy.modality.code",
        "description": "ImagingStudy.description",
        "at": "ImagingStudy.started",
        "series": "ImagingStudy.numberOfSeries",
    },
    "DocumentReference": {
        **WHO,
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

    @property
    def code(self) -> str:
        """Of `which`, without the unit."""
        parts = self.which.split("|")
        return "|".join(parts[: 2 if ":" in parts[0] else 1])

    @property
    def unit(self) -> str:
        """Of `which`; empty: the one that comes first."""
        return "|".join(self.which.split("|")[2 if ":" in self.which.split("|")[0] else 1 :])


class Mixed(Exception):
    """A value in another unit than the column has; the text tells what to do."""


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
        if not harmless(column.path):
            text = _("Line %(number)d: the path is no FHIRPath of at most %(most)d characters that is known here.")
            raise ValueError(text % {"number": number, "most": LONGEST})
        columns.append(column)
    if not 1 <= len(columns) <= COLUMNS or len({column.name for column in columns}) < len(columns):
        raise ValueError(_("A mapping has 1 to %(most)d columns, each with a name of its own.") % {"most": COLUMNS})
    return columns


@lru_cache(1000)
def harmless(path: str) -> bool:
    """Whether it is a FHIRPath of functions that end. It is only read, never evaluated: that is for a job."""
    from fhirpathpy.parser import parse as parse_path

    depth = deepest = 0
    for sign in path:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    if len(path) > LONGEST or deepest > DEEPEST or not path.isprintable():
        return False
    if not path:
        return True
    try:
        waiting: list[Any] = [parse_path(path)]  # type: ignore[no-untyped-call]  # fhirpathpy gives this one no types
    except Exception:  # the library raises bare ones
        return False
    while waiting:
        node = waiting.pop()
        waiting += node.get("children") or ()
        if node.get("type") == "ExternalConstantTerm":
            return False
        if node.get("type") == "Functn" and node["children"][0].get("text") not in FUNCTIONS:
            return False
    return True


def row(
    columns: Sequence[Column], base: Resource, others: Mapping[str, Sequence[Resource]], units: dict[str, str]
) -> dict[str, str | None]:
    """The record. `others`: the same patient's resources by type. `units`: of the columns so far, to which is added.

    Raises Mixed, and Exception where a resource is not what FHIR says.
    """
    until = date_of(base)
    found: dict[str, str | None] = {}
    fresh: dict[str, str] = {}
    for column in columns:
        candidates: Sequence[Any] = [base] if column.type == base["resourceType"] else others.get(column.type, ())
        if column.type != base["resourceType"] and until:
            candidates = [each for each in candidates if date_of(each) <= until]  # no date: "" comes first
        candidates = sorted(candidates, key=date_of, reverse=True)
        coded = column.which not in {"", "*"}
        if coded:
            candidates = [part for each in candidates for part in with_code(each, column.code)]
        if column.unit:
            candidates = [each for each in candidates if column.unit in units_of(each)]
        values: list[Any] = []
        for each in candidates:
            got = values_of(each, column.path)
            if coded and not column.unit and not column.path and (unit := next(iter(units_of(each)), "")):
                known = units.get(column.name) or fresh.setdefault(column.name, unit)
                if known not in units_of(each):
                    raise Mixed(_mixed(column, unit, known))
            values += [value for value in got if value not in values]
            if values and column.which != "*":
                break
        texts = [text for value in values if (text := text_of(value)) is not None]
        found[column.name] = "; ".join(texts) or None
    units.update(fresh)
    return found


def _mixed(column: Column, unit: str, known: str) -> str:
    text = _(
        "%(column)s is in %(unit)s here and was in %(known)s so far. "
        "Say which one you want, as in %(type)s[%(code)s|%(known)s]."
    )
    return text % {"column": column.name, "unit": unit[:40], "known": known[:40], "type": column.type, "code": column.code}
