"""Asking for diagnoses: predict, then save all of them with their audit events, or nothing."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from accounts.models import IdempotencyKey, Organisation
from datasets.cells.folder import at_hand
from inference import files, insertion, predictions, serving
from inference.errors import DiagnosisRefused, RecordsInvalid
from inference.identifiers import uuid7s
from inference.insertion import Row
from inference.models import Batch, Diagnosis
from inference.reviews import review
from inference.serving import Servable, Standing
from inference.validation import MAX_RECORDS
from training.models import ModelVersion

__all__ = ["Asked", "ask", "audit_refusal", "diagnose", "diagnose_once", "review"]


@dataclass
class Asked:
    """The diagnoses of one call, as they were saved."""

    version: ModelVersion
    at: Any
    rows: list[Row]
    batch_id: UUID | None = None
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)


_json = json.JSONEncoder(allow_nan=False).encode  # as Django's JSONField writes it, so that lookups by value find it


def ask(
    *,
    actor: Actor,
    served: Servable,
    records: Sequence[Any],
    prefix: str = "records",
    patient: str = "",
    standing: Standing | None = None,
) -> Asked:
    """Diagnose 1 to 1,000 records (objects, or bare texts for a single text column), all or nothing.

    More than one makes a Batch. Raises RecordsInvalid (naming each wrong cell) and ModelUnavailable; then nothing is
    saved. The caller has decided, by `serving`, that this version may serve the actor. `patient` is the identifier
    given beside the records, for models without a patient column. `standing`: see `insertion.insert`.
    """
    if not 1 <= len(records) <= MAX_RECORDS:
        message = _("Send 1 to %(most)d records in one call.") % {"most": MAX_RECORDS}
        raise RecordsInvalid([{"field": prefix, "message": message, "code": "count"}])
    assert actor.organisation is not None  # serving lets nobody through
    checked = served.columns.check(records, prefix, patient)
    version = served.version
    cells = {}
    if served.columns.files:
        cells = files.found(actor.organisation, served.columns, checked.records, prefix)
        if standing is not None:  # its statement writes no files: the caller asks again without it
            raise insertion.StandingLost(standing)
    fitted = serving.fitted_of(version)
    found = predictions.outcomes(fitted, predict(actor.organisation, served, fitted, checked.records), checked.warnings)
    rows = [
        Row(str(id_), i, checked.patients[i], _json(record), value[:200], probability, _json(output))
        for i, (id_, record, (value, probability, output)) in enumerate(
            zip(uuid7s(len(found)), checked.records, found, strict=True)
        )
    ]
    asked = Asked(version, timezone.now(), rows, inputs=checked.records, outputs=[f[2] for f in found])
    if len(rows) == 1 and not cells:
        insertion.insert(actor=actor, version=version, rows=rows, at=asked.at, standing=standing)
        return asked
    with transaction.atomic():
        if len(rows) == 1:
            insertion.insert(actor=actor, version=version, rows=rows, at=asked.at)
            files.point([row.id for row in rows], served.columns, checked.records, cells)
            return asked
        batch = Batch.objects.create(
            organisation=actor.organisation, model_version=version, record_count=len(rows), requested_by=actor.user
        )
        asked.batch_id = batch.pk
        insertion.insert(actor=actor, version=version, rows=rows, at=asked.at, batch_id=batch.pk)
        if cells:
            files.point([row.id for row in rows], served.columns, checked.records, cells)
    return asked


def predict(organisation: Organisation, served: Servable, fitted: Any, records: Sequence[dict[str, Any]]) -> Any:
    """The engine's prediction; columns of files are given the paths of the organisation's stored files."""
    if not served.columns.files:
        return fitted.predict_records(records)
    with at_hand(organisation, records, list(served.columns.files)) as ready:
        return fitted.predict_records(ready)


def diagnose(*, actor: Actor, version: ModelVersion, records: Sequence[Any]) -> list[Diagnosis]:
    """Like `ask`, for callers that want Diagnosis objects. Also raises Http404 and NotServing."""
    asked = ask(actor=actor, served=serving.version_of(actor, version.pk), records=records)
    return [
        Diagnosis(
            id=UUID(row.id),
            organisation=actor.organisation,
            model_id=version.model_id,
            model_version=version,
            batch_id=asked.batch_id,
            position=row.position,
            patient_key=row.patient_key,
            inputs=asked.inputs[i],
            value=row.value,
            probability=row.probability,
            output=asked.outputs[i],
            requested_by=actor.user,
            api_key=actor.api_key,
            created_at=asked.at,
        )
        for i, row in enumerate(asked.rows)
    ]


@transaction.atomic
def diagnose_once(
    *, actor: Actor, served: Servable, record: dict[str, Any], token: str, patient: str = ""
) -> UUID:
    """One diagnosis for one filled form: sending the same form again gives the same diagnosis, changed values a new one.

    Returns the diagnosis's id; raises what `ask` raises.
    """
    assert actor.organisation is not None
    content = json.dumps([token, str(served.version.pk), record, patient], sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    key = f"form:{digest}"
    try:
        with transaction.atomic():
            held = IdempotencyKey.objects.create(organisation=actor.organisation, key=key, request_hash=digest)
    except IntegrityError:
        first = IdempotencyKey.objects.for_organisation(actor.organisation).get(key=key)
        return UUID(first.body["id"])
    asked = ask(actor=actor, served=served, records=[record], prefix="record", patient=patient)
    held.status, held.body = 201, {"id": asked.rows[0].id}
    held.save(update_fields=["status", "body"])
    return UUID(asked.rows[0].id)


def audit_refusal(actor: Actor, refusal: DiagnosisRefused) -> None:
    """A diagnosis that was asked for and not given is written to the audit log too.

    Called by views after the refused transaction has been rolled back, or the event would be lost with it.
    """
    audit.record(actor, "diagnosis.refused", outcome="failed", code=refusal.code, **refusal.detail)
