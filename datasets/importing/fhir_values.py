"""What one FHIR resource says: its value, its unit, its codes, when it was, and whether it holds at all."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from datasets.importing.values import text_of

Resource = Mapping[str, Any]
VOID = {"entered-in-error", "cancelled", "refuted"}
DATES = {
    "Patient": (),
    "Condition": ("recordedDate", "onsetDateTime"),
    "Observation": ("effectiveDateTime", "effectiveInstant", "issued"),
    "DiagnosticReport": ("effectiveDateTime", "issued"),
    "ImagingStudy": ("started",),
    "DocumentReference": ("date",),
}


@lru_cache(1000)
def compiled(path: str) -> Callable[[Any], list[Any]] | None:
    """Raises Exception for what is no FHIRPath."""
    if not path:
        return None
    from fhirpathpy import compile as compile_path

    made: Callable[..., list[Any]] = compile_path(path)
    return made


def is_void(resource: Resource) -> bool:
    """Whether it says of itself that it does not hold."""
    if resource.get("status") in VOID or resource.get("docStatus") in VOID:
        return True
    concept = resource.get("verificationStatus")
    return isinstance(concept, Mapping) and any(each.get("code") in VOID for each in concept.get("coding") or ())


def units_of(resource: Resource) -> list[str]:
    """What the unit of its value is called, its UCUM code first."""
    quantity = resource.get("valueQuantity")
    if not isinstance(quantity, Mapping):
        return []
    return [unit for name in ("code", "unit") if isinstance(unit := quantity.get(name), str) and unit]


def values_of(resource: Resource, path: str) -> list[Any]:
    evaluate = compiled(path)
    return [own_value(resource)] if evaluate is None else list(evaluate(resource))


def own_value(resource: Resource) -> Any:
    """What a resource says where no path is given: an observation's value, a document's text, the names of its codes."""
    if resource.get("resourceType") == "DocumentReference":
        return "\n".join(filter(None, (attached(item.get("attachment") or {}) for item in resource.get("content") or ()))) or None
    if isinstance(quantity := resource.get("valueQuantity"), Mapping):
        value = text_of(quantity.get("value"))
        return f"{quantity['comparator']}{value}" if value and quantity.get("comparator") else quantity.get("value")
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
