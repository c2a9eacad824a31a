"""Reviews: confirm, correct, reject; the labelled record that comes of them; erasing the patient."""

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from datasets.models import Record
from inference.errors import ReviewRefused
from inference.models import Diagnosis, Review
from inference.services import diagnose, review
from tests.conftest import actor
from tests.inference.stored import OLD_MAN

pytestmark = pytest.mark.django_db


@pytest.fixture
def diagnosis(bob: Any, heart_version: Any) -> Diagnosis:
    return diagnose(actor=actor(bob), version=heart_version, records=[{**OLD_MAN, "mrn": "p-1"}])[0]


def test_confirmed_becomes_one_labelled_record(bob: Any, diagnosis: Diagnosis, heart_version: Any) -> None:
    for _twice in range(2):
        saved = review(actor=actor(bob), diagnosis=diagnosis, verdict="confirmed")
    record = Record.objects.get()
    assert saved.record == record
    assert record.dataset_id == heart_version.model.dataset_id
    assert record.values == {**OLD_MAN, "mrn": "p-1", "disease": "yes"}
    assert (record.target, record.patient_key, record.source) == ("yes", "p-1", "review")
    assert Diagnosis.objects.get().verdict == "confirmed"
    assert AuditEvent.objects.filter(action="diagnosis.reviewed").count() == 2


def test_correction_gives_the_corrected_label(bob: Any, diagnosis: Diagnosis) -> None:
    review(actor=actor(bob), diagnosis=diagnosis, verdict="corrected", corrected_value="no")
    assert Record.objects.get().target == "no"


def test_a_later_review_relabels_the_same_record(bob: Any, alice: Any, diagnosis: Diagnosis) -> None:
    review(actor=actor(bob), diagnosis=diagnosis, verdict="confirmed")
    review(actor=actor(alice), diagnosis=diagnosis, verdict="corrected", corrected_value="no", reason="angiography")
    record = Record.objects.get()
    assert (record.target, record.values["disease"]) == ("no", "no")
    assert record.changes.get().reason == "angiography"
    assert Diagnosis.objects.get().verdict == "corrected"
    assert Review.objects.count() == 2


def test_rejection_gives_no_record_and_takes_a_label_back(bob: Any, diagnosis: Diagnosis) -> None:
    review(actor=actor(bob), diagnosis=diagnosis, verdict="rejected", reason="wrong patient")
    assert not Record.objects.exists()
    review(actor=actor(bob), diagnosis=diagnosis, verdict="confirmed")
    review(actor=actor(bob), diagnosis=diagnosis, verdict="rejected", reason="wrong patient after all")
    assert Record.objects.get().target is None


def test_row_that_was_uploaded_already_is_not_touched(bob: Any, diagnosis: Diagnosis, heart_version: Any) -> None:
    from datasets.records import add_record

    values = {**OLD_MAN, "mrn": "p-1", "disease": "yes"}
    uploaded, _ = add_record(actor=actor(bob), dataset=heart_version.model.dataset, values=values, source="api")
    saved = review(actor=actor(bob), diagnosis=diagnosis, verdict="confirmed")
    assert saved.record is None
    assert "already holds" in saved.record_refused  # type: ignore[attr-defined]
    assert Record.objects.get() == uploaded


def test_no_record_is_made_of_nobody_in_a_data_set_that_keeps_patients_apart(
    client_of: Any, api_of: Any, bob: Any, heart_version: Any
) -> None:
    """Dealt by its content, the record of a test patient could land in training."""
    nobody, again = diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN, {**OLD_MAN, "age": 74}])
    sentence = "No labelled record was made: the diagnosis names no patient, and the data set keeps patients apart."
    answer = api_of(bob).post(f"/api/v1/diagnoses/{nobody.pk}/review/", {"verdict": "confirmed"})
    assert answer.status_code == 201
    assert (answer.json()["record"], answer.json()["record_refused"]) == (None, sentence)
    page = client_of(bob).post(reverse("inference:review", args=[again.pk]), {"verdict": "confirmed"}, follow=True)
    assert sentence in page.content.decode()
    assert Diagnosis.objects.filter(verdict="confirmed").count() == 2 and not Record.objects.exists()


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"verdict": "corrected"}, "corrected_value"), ({"verdict": "corrected", "corrected_value": "maybe"}, "corrected_value"),
        ({"verdict": "rejected"}, "reason"), ({"verdict": "perhaps"}, "verdict"),
        ({"verdict": "rejected", "reason": "x" * 501}, "reason"),
    ],
)  # fmt: skip
def test_incomplete_review_is_refused_by_field(bob: Any, diagnosis: Diagnosis, said: dict[str, str], field: str) -> None:
    with pytest.raises(ReviewRefused) as refusal:
        review(actor=actor(bob), diagnosis=diagnosis, **said)
    assert refusal.value.field == field
    assert not Review.objects.exists()


def test_regression_is_corrected_by_a_number(bob: Any, pressure_version: Any) -> None:
    (made,) = diagnose(actor=actor(bob), version=pressure_version, records=[{"age": 60, "chol": 240}])
    with pytest.raises(ReviewRefused):
        review(actor=actor(bob), diagnosis=made, verdict="corrected", corrected_value="high")
    review(actor=actor(bob), diagnosis=made, verdict="corrected", corrected_value="150")
    assert Record.objects.get().values["pressure"] == 150


def test_review_over_the_portal(client_of: Any, bob: Any, diagnosis: Diagnosis) -> None:
    client = client_of(bob)
    url = reverse("inference:review", args=[diagnosis.pk])
    page = client.post(url, {"verdict": "rejected"})
    assert page.status_code == 400
    assert "Say why the diagnosis is rejected." in page.content.decode()
    page = client.post(url, {"verdict": "corrected", "corrected_value": "no"}, follow=True)
    assert "Your review is saved." in page.content.decode()
    assert "corrected by Bob" in page.content.decode()
    assert client.get(url).status_code == 405


def test_review_over_rest_names_the_field(api_of: Any, bob: Any, diagnosis: Diagnosis) -> None:
    client = api_of(bob)
    url = f"/api/v1/diagnoses/{diagnosis.pk}/review/"
    answer = client.post(url, {"verdict": "corrected"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "corrected_value"
    answer = client.post(url, {"verdict": "confirmed"})
    assert answer.status_code == 201
    assert (answer.json()["record"], answer.json()["record_refused"]) == (Record.objects.get().pk, "")
    assert client.get(f"/api/v1/diagnoses/{diagnosis.pk}/").json()["reviews"][0]["verdict"] == "confirmed"


def test_erasing_the_patient_blanks_the_diagnoses(
    api_of: Any, client_of: Any, alice: Any, bob: Any, diagnosis: Diagnosis, heart_version: Any
) -> None:
    from datasets.erasure import erase_patient, preview_erasure

    review(actor=actor(bob), diagnosis=diagnosis, verdict="corrected", corrected_value="no", reason="Mr Smith said so")
    diagnose(actor=actor(bob), version=heart_version, records=[{**OLD_MAN, "mrn": "p-2"}])
    dataset = heart_version.model.dataset
    assert ("Diagnoses", 1) in [(str(label), n) for label, n in preview_erasure(dataset=dataset, patient_key="p-1").others]
    erase_patient(actor=actor(alice), dataset=dataset, patient_key="p-1", reason="asked for it")
    row = Diagnosis.objects.get(pk=diagnosis.pk)
    assert (row.inputs, row.output, row.value, row.probability, row.patient_key) == ({}, {}, "", None, "")
    assert row.erased_at is not None
    assert "Smith" not in str(list(Review.objects.values()))
    assert Diagnosis.objects.exclude(pk=diagnosis.pk).get().inputs == OLD_MAN
    page = client_of(bob).get(reverse("inference:diagnosis", args=[diagnosis.pk]))
    assert "This patient was erased" in page.content.decode()
    body = api_of(bob).get(f"/api/v1/diagnoses/{diagnosis.pk}/").json()
    assert body["erased"] is True and body["value"] is None
    with pytest.raises(ReviewRefused):
        review(actor=actor(bob), diagnosis=row, verdict="confirmed")


def test_erasing_reaches_other_models_and_remembered_answers(
    api_of: Any, alice: Any, bob: Any, charlie: Any, diagnosis: Diagnosis, heart_version: Any, heart: Any, other_organisation: Any
) -> None:
    """The same patient key in the same organisation is the same patient, whatever model was asked."""
    from accounts.models import IdempotencyKey, Organisation
    from datasets.erasure import erase_patient, preview_erasure
    from tests.inference.stored import store

    review(actor=actor(bob), diagnosis=diagnosis, verdict="confirmed")
    own, dataset = heart_version.model.organisation, heart_version.model.dataset
    second = store(heart, own, name="Second")
    published = store(heart, Organisation.objects.create(name="Publisher"), name="Published")
    type(published.model).objects.filter(pk=published.model.pk).update(published_at=timezone.now())
    theirs = store(heart, other_organisation, name="Theirs")
    sick = {**OLD_MAN, "mrn": "p-1"}
    client = api_of(bob)
    for version in (second, published):
        body = {"version": str(version.pk), "record": sick}
        answer = client.post("/api/v1/diagnoses/", body, headers={"Idempotency-Key": f"k-{version.pk}"})
        assert answer.status_code == 201, answer.json()
    elsewhere = diagnose(actor=actor(charlie), version=theirs, records=[sick])[0]
    (other,) = diagnose(actor=actor(bob), version=second, records=[{**OLD_MAN, "mrn": "p-2"}])
    kept = [
        IdempotencyKey.objects.create(organisation=other_organisation, key="k", request_hash="x", status=201, body={"a": 1}),
        IdempotencyKey.objects.create(organisation=own, key="form:x", request_hash="x", status=201, body={"id": "y"}),
        IdempotencyKey.objects.create(organisation=own, key="running", request_hash="x"),
    ]
    assert IdempotencyKey.objects.count() == 5
    shown = {str(label): n for label, n in preview_erasure(dataset=dataset, patient_key="p-1").others}
    assert (shown["Diagnoses"], shown["Diagnoses by models of other data sets"]) == (1, 2)
    erase_patient(actor=actor(alice), dataset=dataset, patient_key="p-1", reason="asked for it")
    left = Diagnosis.objects.filter(erased_at=None)
    assert set(left.values_list("pk", flat=True)) == {elsewhere.pk, other.pk}
    assert not Diagnosis.objects.exclude(erased_at=None).exclude(inputs={}, value="", patient_key="").exists()
    assert set(IdempotencyKey.objects.all()) == set(kept)
