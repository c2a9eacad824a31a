"""Diagnoses as JSON. What was serialised for the database is sent as it is, not a second time."""

import json
from functools import cache
from typing import Any
from uuid import UUID

from django.urls import reverse
from rest_framework.response import Response

from inference.models import Diagnosis
from inference.predictions import answer_value
from inference.serializers import output_of
from inference.services import Asked

_ANY = UUID(int=0)


class PreparedResponse(Response):
    """A response whose JSON is there already; `data` is parsed only for those who ask (the idempotency store)."""

    def __init__(self, body: bytes, status: int) -> None:
        self._data: Any = None
        self._body = body
        super().__init__(None, status=status)

    @property
    def data(self) -> Any:
        if self._data is None:
            self._data = json.loads(self._body)
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = value

    @property
    def rendered_content(self) -> Any:
        self["Content-Type"] = "application/json"
        return self._body


@cache
def _address() -> tuple[str, str]:
    """What stands before and after the identifier in the address of a diagnosis's page."""
    before, after = reverse("inference:diagnosis", args=[_ANY]).split(str(_ANY))
    return before, after


def answered(asked: Asked, *, single: bool, reasons: list[dict[str, Any]] | None = None) -> bytes:
    """The body of the answer to one call."""
    before, after = _address()
    moment = asked.at.isoformat().replace("+00:00", "Z")
    tail = (
        f'"model":"{asked.version.model_id}","model_version":"{asked.version.pk}",'
        f'"created_at":"{moment}","url":"{before}'
    )
    parts = []
    written: dict[str, str] = {}  # classes repeat
    for i, row in enumerate(asked.rows):
        value = written.get(row.value)
        if value is None:
            value = written[row.value] = json.dumps(answer_value(row.value, asked.outputs[i]))
        probability = "null" if row.probability is None else repr(row.probability)
        why = "" if reasons is None else f',"reasons":{json.dumps(reasons[i])}'
        parts.append(
            f'{{"id":"{row.id}","value":{value},"probability":{probability},'
            f'{row.output[1:-1]},{tail}{row.id}{after}"{why}}}'
        )
    if single:
        return parts[0].encode()
    return ('{"diagnoses":[' + ",".join(parts) + "]}").encode()


def saved(row: Diagnosis) -> dict[str, Any]:
    """A saved diagnosis for the list."""
    output = output_of(row)
    return {
        "id": str(row.pk),
        "value": answer_value(row.value, output),
        "probability": row.probability,
        **output,
        "model": str(row.model_id),
        "model_version": str(row.model_version_id),
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "url": reverse("inference:diagnosis", args=[row.pk]),
        "patient": row.patient_key,
        "verdict": row.verdict,
        "batch": str(row.batch_id) if row.batch_id else None,
        "erased": row.erased_at is not None,
    }
