"""What a request for diagnoses asks: which model or version, which records."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from rest_framework import exceptions

from accounts.rest.parsers import check, no_constant


def _identifier(data: dict[str, Any], name: str) -> UUID | None:
    """The UUID under this name, or None when it is not given."""
    value = data.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return UUID(value)
    except ValueError:
        pass
    raise exceptions.ValidationError({name: [_("Give an id.")]})


def from_parts(fields: Mapping[str, Any], hashes: Mapping[str, str]) -> dict[str, Any]:
    """A multipart request's body as the object that `parse` takes: `record` and `records` are JSON texts.

    `hashes`: part → its file's hash. A part called like a column of `record` fills it; a cell that is a part's name
    becomes that part's file. Raises ValidationError.
    """
    body: dict[str, Any] = {name: fields[name] for name in ("model", "version") if name in fields}
    for name in ("record", "records"):
        if name in fields:
            try:
                body[name] = json.loads(fields[name], parse_constant=no_constant)
            except (ValueError, TypeError, RecursionError) as error:
                raise exceptions.ValidationError({name: [_("Give JSON: %(why)s") % {"why": str(error)[:100]}]}) from error
    if "record" not in body and "records" not in body:
        body["record"] = {}
    check(body)
    many = "records" in body
    rows = body["records"] if many else [body["record"]]
    if isinstance(rows, list):
        filled = [_filled(row, hashes, beside=not many) for row in rows]
        body["records" if many else "record"] = filled if many else filled[0]
    return body


def _filled(row: Any, hashes: Mapping[str, str], *, beside: bool) -> Any:
    if isinstance(row, str):
        return hashes.get(row, row)
    if not isinstance(row, dict):
        return row
    named = {name: hashes[value] if isinstance(value, str) and value in hashes else value for name, value in row.items()}
    used = {value for value in row.values() if isinstance(value, str)}
    more = {name: sha for name, sha in hashes.items() if name not in used and name not in row} if beside else {}
    return {**named, **more}


def parse(data: Any) -> tuple[UUID | None, UUID | None, list[Any], bool]:
    """(model, version, records, single) of a request's body. Raises ValidationError."""
    if not isinstance(data, dict):
        raise exceptions.ValidationError({"": [_("Send an object with “model” and “record” or “records”.")]})
    model, version = _identifier(data, "model"), _identifier(data, "version")
    if (model is None) == (version is None):
        raise exceptions.ValidationError({"model": [_("Give either “model” (its champion answers) or “version”.")]})
    if ("record" in data) == ("records" in data):
        raise exceptions.ValidationError({"records": [_("Give either “record” or “records”.")]})
    if "record" in data:
        return model, version, [data["record"]], True
    if not isinstance(data["records"], list):
        raise exceptions.ValidationError({"records": [_("Give a list of records.")]})
    return model, version, data["records"], False
