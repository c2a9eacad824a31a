"""What the clinician says of a diagnosis, and the labelled record that comes of it."""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets.models import Record, Role
from datasets.records import RecordRefused, add_record, change_label
from inference.errors import ReviewRefused
from inference.files import names_of
from inference.models import Diagnosis, Review

Verdict = Review.Verdict


@transaction.atomic
def review(
    *, actor: Actor, diagnosis: Diagnosis, verdict: str, corrected_value: str = "", reason: str = ""
) -> Review:
    """Save what was said of a diagnosis; the latest review counts. Raises ReviewRefused.

    Confirmed or corrected, a diagnosis of the organisation's own model becomes one labelled record of the model's data
    set; a later review changes that record's label, a later rejection takes the label away. `review.record_refused`
    says in a sentence why there is no record, or why its label stays, or is "".
    """
    # The lock lets two clinicians who review at the same moment make one record, not two.
    diagnosis = (
        Diagnosis.objects.select_for_update(of=("self",)).select_related("model__dataset", "model_version").get(pk=diagnosis.pk)
    )
    corrected_value, reason = _clean(diagnosis, verdict, corrected_value.strip(), reason.strip())
    label = corrected_value if verdict == Verdict.CORRECTED else diagnosis.value
    record, refused = _record(actor, diagnosis, verdict, label, reason)
    row = Review.objects.create(
        diagnosis=diagnosis,
        verdict=verdict,
        corrected_value=corrected_value,
        reason=reason,
        record=record,
        reviewed_by=actor.user,
    )
    Diagnosis.objects.filter(pk=diagnosis.pk).update(verdict=verdict)
    audit.record(actor, "diagnosis.reviewed", diagnosis, verdict=verdict, record=record.pk if record else None)
    row.record_refused = refused  # type: ignore[attr-defined]
    return row


def _clean(diagnosis: Diagnosis, verdict: str, corrected: str, reason: str) -> tuple[str, str]:
    """The parts that belong to this verdict. Raises ReviewRefused naming the wrong one."""
    if diagnosis.erased_at is not None:
        raise ReviewRefused("verdict", _("This patient was erased, so there is nothing left to review."))
    if verdict not in Verdict.values:
        raise ReviewRefused("verdict", _("Choose confirmed, corrected or rejected."))
    if len(reason) > 500 or "\x00" in reason + corrected:
        raise ReviewRefused("reason", _("Give a reason of at most 500 characters."))
    if verdict == Verdict.REJECTED and not reason:
        raise ReviewRefused("reason", _("Say why the diagnosis is rejected."))
    if verdict != Verdict.CORRECTED:
        return "", reason
    if not corrected:
        raise ReviewRefused("corrected_value", _("Say what the right value is."))
    if diagnosis.model.task == "regression":
        try:
            corrected = repr(float(corrected.replace("_", "x")))
        except ValueError:
            corrected = "nan"
        if corrected in {"nan", "inf", "-inf"}:
            raise ReviewRefused("corrected_value", _("Enter a number."))
    elif corrected not in (classes := [str(c) for c in diagnosis.model_version.classes]):
        known = ", ".join(classes[:20])
        raise ReviewRefused("corrected_value", _("Choose one of the model's classes: %(classes)s.") % {"classes": known})
    return corrected, reason


def _record(
    actor: Actor, diagnosis: Diagnosis, verdict: str, label: str, reason: str
) -> tuple[Record | None, str]:
    """The record that this diagnosis has become: made, relabelled, or left without a label. With why there is none."""
    if actor.organisation is None or diagnosis.model.organisation_id != actor.organisation.pk:
        return None, ""
    record = Record.objects.filter(
        pk__in=Review.objects.filter(diagnosis=diagnosis, record__isnull=False).values("record")
    ).first()
    wanted = None if verdict == Verdict.REJECTED else label
    try:
        with transaction.atomic():
            if record is not None:
                why = reason or _("The diagnosis was reviewed again.")
                change_label(actor=actor, record=record, value=wanted, reason=why)
                return record, ""
            if wanted is None:
                return None, ""
            return _add(actor, diagnosis, wanted)
    except RecordRefused as error:
        if record is not None:
            return record, _("The labelled record was not changed: %(why)s") % {"why": error}
        return None, _("No labelled record was made: %(why)s") % {"why": error}


def _add(actor: Actor, diagnosis: Diagnosis, label: str) -> tuple[Record | None, str]:
    """The diagnosis as a new record; a row that was uploaded already stays the uploader's and is not linked."""
    dataset = diagnosis.model.dataset
    columns = {column.name: column for column in dataset.columns.all()}
    values: dict[str, Any] = {name: value for name, value in diagnosis.inputs.items() if name in columns}
    values[diagnosis.model.target] = label
    patient = next((c.name for c in columns.values() if c.role == Role.PATIENT), None)
    if patient is not None:
        if not diagnosis.patient_key:  # dealt by its content it could land in training, with its patient in the test part
            return None, _(
                "No labelled record was made: the diagnosis names no patient, and the data set keeps patients apart."
            )
        values[patient] = diagnosis.patient_key
    record, created = add_record(
        actor=actor, dataset=dataset, values=values, source=Record.Source.REVIEW, names=names_of(diagnosis.pk)
    )
    if not created and record.source != Record.Source.REVIEW:
        return None, _("No labelled record was made: the data set already holds this record with this label.")
    return record, ""
