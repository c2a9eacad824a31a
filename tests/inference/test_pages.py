"""The portal's pages: choosing, the form, double clicks, the result, the list, the batch."""

import re
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import AuditEvent
from inference.models import Diagnosis
from inference.services import diagnose
from tests.conftest import actor
from tests.inference.stored import OLD_MAN, YOUNG_WOMAN, store

pytestmark = pytest.mark.django_db


def fill(client: Any, version: Any, **values: Any) -> dict[str, Any]:
    """The form's data as a browser would send it: fields by the labels of their columns."""
    page = client.get(reverse("inference:form", args=[version.model_id]))
    assert page.status_code == 200
    form = page.context["form"]
    names = {column["name"]: name for name, column in form.columns.items()}
    token = re.search(r'name="token" value="(\w+)"', page.content.decode())
    assert token is not None
    data = {"token": token[1], "patient": values.pop("patient", "")}
    for column, value in values.items():
        base, _, other = column.partition("_other")
        data[names[base] + ("_other" if other or column.endswith("_other") else "")] = value
    return data


def test_start_shows_own_and_published_models_with_a_champion(
    client_of: Any, bob: Any, heart: Any, heart_version: Any, notes: Any, other_organisation: Any, notes_version: Any
) -> None:
    from django.utils import timezone

    theirs = store(heart, other_organisation, name="Their heart")
    theirs.model.published_at = timezone.now()
    theirs.model.save()
    private = store(notes, other_organisation, name="Their secret")
    notes_version.model.champion = None
    notes_version.model.save()
    text = client_of(bob).get(reverse("inference:start")).content.decode()
    assert reverse("inference:form", args=[heart_version.model_id]) in text
    assert reverse("inference:form", args=[theirs.model_id]) in text
    assert str(private.model_id) not in text
    assert str(notes_version.model_id) not in text


def test_form_has_a_field_per_column_with_its_usual_range(client_of: Any, bob: Any, heart_version: Any) -> None:
    page = client_of(bob).get(reverse("inference:form", args=[heart_version.model_id]))
    form = page.context["form"]
    assert [c["name"] for c in form.columns.values()] == ["age", "chol", "sex"]
    low, high = (c["quantiles"] for c in heart_version.schema["columns"] if c["name"] == "age").__next__()[1:6:4]
    assert f"Usually {low:.4g} to {high:.4g}." in page.content.decode()
    assert [label for _value, label in form.fields["c2"].choices] == ["not known", "female", "male", "another value…"]
    assert not any(f.required for name, f in form.fields.items() if name != "token")


def test_filled_form_gives_a_diagnosis_page(client_of: Any, bob: Any, heart_version: Any) -> None:
    client = client_of(bob)
    url = reverse("inference:form", args=[heart_version.model_id])
    page = client.post(url, fill(client, heart_version, **OLD_MAN, patient="p-9"), follow=True)
    row = Diagnosis.objects.get()
    assert page.redirect_chain[-1][0] == reverse("inference:diagnosis", args=[row.pk])
    assert row.inputs == OLD_MAN and row.patient_key == "p-9"
    text = page.content.decode()
    assert "Decision support, not a diagnosis made by a physician." in text
    found = round(100 * heart_version.metrics["sensitivity"]["value"])
    assert f"Finds {found} of 100 patients with “yes”." in text
    alarms = 100 - round(100 * heart_version.metrics["specificity"]["value"])
    assert f"Wrongly alarms {alarms} of 100 patients without it." in text
    assert f"measured on {heart_version.metrics['sensitivity']['n']} test records" in text
    assert "What spoke for and against" in text
    assert "p-9" in text and "version 1" in text
    assert "<script>" not in text and " style=" not in text
    assert AuditEvent.objects.filter(action="diagnosis.read", object_id=str(row.pk)).exists()


def test_double_click_makes_one_diagnosis(client_of: Any, bob: Any, heart_version: Any) -> None:
    client = client_of(bob)
    url = reverse("inference:form", args=[heart_version.model_id])
    data = fill(client, heart_version, **OLD_MAN)
    first, second = client.post(url, data), client.post(url, data)
    assert first.status_code == second.status_code == 302
    assert first["Location"] == second["Location"]
    assert Diagnosis.objects.count() == 1
    changed = client.post(url, {**data, "c0": "50"})
    assert changed["Location"] != first["Location"]
    assert Diagnosis.objects.count() == 2


def test_text_in_a_number_is_an_error_at_the_field(client_of: Any, bob: Any, heart_version: Any) -> None:
    client = client_of(bob)
    url = reverse("inference:form", args=[heart_version.model_id])
    page = client.post(url, fill(client, heart_version, age="sixty", sex="male"))
    assert page.status_code == 400
    assert list(page.context["form"].errors) == ["c0"]
    assert "Enter a number" in page.content.decode()
    assert not Diagnosis.objects.exists()


def test_unusual_and_missing_values_are_accepted_with_visible_warnings(client_of: Any, bob: Any, heart_version: Any) -> None:
    client = client_of(bob)
    url = reverse("inference:form", args=[heart_version.model_id])
    data = fill(client, heart_version, age="300", sex="\x1fother", sex_other="unknown to it")
    text = client.post(url, data, follow=True).content.decode()
    assert "Be careful with this result" in text
    assert "outside what training saw" in text
    assert "“unknown to it”, which the model has not seen in training" in text
    assert "“chol” is missing" in text
    assert text.index("Be careful with this result") < text.index('id="decision"')
    assert Diagnosis.objects.get().inputs == {"age": 300, "sex": "unknown to it"}


def test_empty_form_is_refused(client_of: Any, bob: Any, heart_version: Any) -> None:
    client = client_of(bob)
    url = reverse("inference:form", args=[heart_version.model_id])
    page = client.post(url, fill(client, heart_version))
    assert page.status_code == 400
    assert "Fill in at least one field." in page.content.decode()


def test_text_and_number_models_have_pages_too(client_of: Any, bob: Any, notes_version: Any, pressure_version: Any) -> None:
    client = client_of(bob)
    data = fill(client, notes_version, note="wheezing <b>all night</b>")
    text = client.post(reverse("inference:form", args=[notes_version.model_id]), data, follow=True).content.decode()
    assert "lung" in text and "<b>all night</b>" not in text
    data = fill(client, pressure_version, age="60", chol="240")
    text = client.post(reverse("inference:form", args=[pressure_version.model_id]), data, follow=True).content.decode()
    assert "for 95 of 100 patients" in text
    assert "on average" in text


def test_model_without_champion_says_so(client_of: Any, bob: Any, heart_version: Any) -> None:
    heart_version.model.champion = None
    heart_version.model.save()
    page = client_of(bob).get(reverse("inference:form", args=[heart_version.model_id]))
    assert page.status_code == 409
    assert "no champion yet" in page.content.decode()


def test_damaged_artefact_says_so_and_saves_nothing(client_of: Any, bob: Any, heart_version: Any) -> None:
    import shutil

    from training.artefacts import folder

    client = client_of(bob)
    data = fill(client, heart_version, **OLD_MAN)
    shutil.rmtree(folder(heart_version))
    page = client.post(reverse("inference:form", args=[heart_version.model_id]), data)
    assert page.status_code == 503
    assert "missing or damaged" in page.content.decode()
    assert not Diagnosis.objects.exists()
    assert AuditEvent.objects.filter(action="diagnosis.refused", outcome="failed").exists()


def test_diagnosis_can_be_read_when_its_artefact_is_gone(client_of: Any, bob: Any, heart_version: Any) -> None:
    import shutil

    from training.artefacts import folder

    shutil.rmtree(folder(heart_version))  # after this process has loaded another copy or none
    row = Diagnosis.objects.create(
        organisation=bob.last_organisation, model=heart_version.model, model_version=heart_version,
        inputs={"age": 1}, value="yes", probability=0.9, output={},
    )  # fmt: skip
    page = client_of(bob).get(reverse("inference:diagnosis", args=[row.pk]))
    assert page.status_code == 200
    assert "missing or damaged" in page.content.decode()


@pytest.mark.parametrize(("value", "said"), [("no", True), ("yes", False)])
def test_it_is_said_when_the_decided_class_is_the_less_likely_one(
    client_of: Any, bob: Any, heart_version: Any, value: str, said: bool
) -> None:
    heart_version.operating_point = {"positive": "yes", "threshold": 0.7, "n": 48}
    heart_version.save()
    row = Diagnosis.objects.create(
        organisation=bob.last_organisation, model=heart_version.model, model_version=heart_version,
        inputs=OLD_MAN, value=value, probability=0.4, output={"probabilities": {"no": 0.4, "yes": 0.6}},
    )  # fmt: skip
    text = client_of(bob).get(reverse("inference:diagnosis", args=[row.pk])).content.decode()
    sentence = "“yes” is likelier, but the model decides by its limit: “yes” from a probability of 70% on, else “no”."
    assert (sentence in text) is said


def test_ambiguous_set_is_said(client_of: Any, bob: Any, heart_version: Any) -> None:
    row = Diagnosis.objects.create(
        organisation=bob.last_organisation, model=heart_version.model, model_version=heart_version,
        inputs=OLD_MAN, value="yes", probability=0.55, output={"set": ["no", "yes"], "probabilities": {"no": 0.45, "yes": 0.55}},
    )  # fmt: skip
    page = client_of(bob).get(reverse("inference:diagnosis", args=[row.pk]))
    assert "Cannot tell “no” from “yes”" in page.content.decode()


def test_list_filters_pages_and_batch(client_of: Any, bob: Any, heart_version: Any) -> None:
    made = diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN, YOUNG_WOMAN] * 30)
    client = client_of(bob)
    url = reverse("inference:diagnoses")
    seen, page = [], client.get(url)
    while True:
        seen += [line["row"].pk for line in page.context["rows"]]
        if not page.context["next_url"]:
            break
        page = client.get(url + page.context["next_url"])
    assert seen == [d.pk for d in reversed(made)]
    back = client.get(url + page.context["previous_url"])
    assert [line["row"].pk for line in back.context["rows"]] == seen[:50]
    assert len(client.get(url, {"value": "no"}).context["rows"]) == 30
    assert len(client.get(url, {"patient": "nobody"}).context["rows"]) == 0
    assert client.get(url, {"model": "junk", "before": "junk", "since": "junk"}).status_code == 200
    batch = client.get(reverse("inference:batch", args=[made[0].batch_id]))
    assert [line["row"].position for line in batch.context["rows"]] == list(range(50))
    assert {c["value"]: c["count"] for c in batch.context["counts"]} == {"yes": 30, "no": 30}
    assert len(client.get(reverse("inference:batch", args=[made[0].batch_id]) + batch.context["next_url"]).context["rows"]) == 10


def test_list_asks_the_same_few_queries_for_one_and_for_fifty(
    client_of: Any, bob: Any, heart_version: Any, django_assert_max_num_queries: Any
) -> None:
    client = client_of(bob)
    diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN] * 60)
    with django_assert_max_num_queries(12):
        client.get(reverse("inference:diagnoses"))


def test_nobody_is_sent_to_the_login(client_of: Any, heart_version: Any) -> None:
    for name, args in (("start", []), ("form", [heart_version.model_id]), ("diagnoses", [])):
        page = client_of().get(reverse(f"inference:{name}", args=args))
        assert page.status_code == 302 and "login" in page["Location"]


def test_outsider_gets_404(client_of: Any, bob: Any, charlie: Any, heart_version: Any) -> None:
    made = diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN, OLD_MAN])
    client = client_of(charlie)
    assert client.get(reverse("inference:form", args=[heart_version.model_id])).status_code == 404
    assert client.get(reverse("inference:diagnosis", args=[made[0].pk])).status_code == 404
    assert client.get(reverse("inference:batch", args=[made[0].batch_id])).status_code == 404
    assert client.post(reverse("inference:review", args=[made[0].pk]), {"verdict": "confirmed"}).status_code == 404
    assert client.get(reverse("inference:diagnoses")).context["rows"] == []


def test_auditor_reads_and_may_not_ask_or_review(client_of: Any, bob: Any, victor: Any, heart_version: Any) -> None:
    (made,) = diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN])
    client = client_of(victor)
    assert client.get(reverse("inference:start")).status_code == 403
    assert client.get(reverse("inference:form", args=[heart_version.model_id])).status_code == 403
    assert client.post(reverse("inference:review", args=[made.pk]), {"verdict": "confirmed"}).status_code == 403
    page = client.get(reverse("inference:diagnosis", args=[made.pk]))
    assert page.status_code == 200
    assert reverse("inference:review", args=[made.pk]) not in page.content.decode()
