"""Texts of a diagnosis are masked before the model reads them and before they are kept."""

from typing import Any

import pytest

from datasets.models import Column
from inference.models import Diagnosis

pytestmark = pytest.mark.django_db


def test_a_diagnosis_is_asked_and_kept_with_masked_texts(
    notes_version: Any, dana: Any, api_of: Any, client_of: Any
) -> None:
    api = api_of(dana)
    record = {"note": "Jones (0047-1122): chest pain on exertion, tel 13800138000", "patient_name": "Peter Jones"}
    body = {"version": str(notes_version.pk), "record": record}
    answer = api.post("/api/v1/diagnoses/", body, format="json")
    assert answer.status_code == 201, answer.content
    masked = "[NAME] (0047-1122): chest pain on exertion, tel [PHONE]"
    plain = api.post("/api/v1/diagnoses/", {**body, "record": {"note": masked}}, format="json")
    row, other = Diagnosis.objects.order_by("pk")
    assert row.inputs == other.inputs == {"note": masked}
    assert answer.json()["value"] == plain.json()["value"]
    page = client_of(dana).get(f"/diagnoses/{row.pk}/").content.decode()
    assert "<mark>[NAME]</mark> (0047-1122): chest pain" in page and "Jones" not in page


def test_what_people_ticked_in_the_data_set_tells_here_too(notes_version: Any, dana: Any, api_of: Any) -> None:
    Column.objects.create(dataset=notes_version.model.dataset, position=9, name="who", kind="text", identifies=True)
    record = {"note": "Cough of Adebayo Z-4711-22", "who": "Adebayo", "patient_id": "Z-4711-22"}
    body = {"version": str(notes_version.pk), "record": record}
    assert api_of(dana).post("/api/v1/diagnoses/", body, format="json").status_code == 201
    assert Diagnosis.objects.get().inputs == {"note": "Cough of [NAME] [NUMBER]"}
