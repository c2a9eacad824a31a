"""What a request for diagnoses asks: which model or version, which records."""

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from rest_framework import exceptions


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
