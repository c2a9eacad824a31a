"""The portal's pages of a data set: what each shows, who may open it, and that others see nothing."""

from typing import Any

import pytest
from django.urls import reverse

from accounts.models import AuditEvent
from datasets import panels
from datasets.models import Dataset, Record
from datasets.services import create_dataset
from datasets.versions import freeze
from tests.conftest import actor

PAGES = ["detail", "change", "columns", "archive", "export", "quality", "records", "erase", "versions"]


def url(name: str, dataset: Dataset, *args: Any) -> str:
    return reverse(f"datasets:{name}", args=[dataset.pk, *args])


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_for_the_administrator(
    page: str, cancer: Dataset, alice: Any, client_of: Any
) -> None:
    response = client_of(alice).get(url(page, cancer))
    assert response.status_code == 200
    assert "Breast cancer" in response.content.decode()


@pytest.mark.parametrize("page", PAGES)
def test_outsider_gets_404(page: str, cancer: Dataset, charlie: Any, client_of: Any) -> None:
    assert client_of(charlie).get(url(page, cancer)).status_code == 404


@pytest.mark.parametrize("page", ["change", "columns", "archive", "export", "erase"])
def test_auditor_gets_403_where_something_changes_or_leaves(
    page: str, cancer: Dataset, victor: Any, client_of: Any
) -> None:
    assert client_of(victor).get(url(page, cancer)).status_code == 403


def test_nobody_is_sent_to_sign_in(cancer: Dataset, client_of: Any) -> None:
    response = client_of().get(url("detail", cancer))
    assert response.status_code == 302 and reverse("account_login") in response["Location"]


def test_empty_list_leads_to_the_upload(alice: Any, client_of: Any) -> None:
    text = client_of(alice).get(reverse("datasets:list")).content.decode()
    assert "No data sets yet" in text


def test_list_shows_counts_and_target_in_few_queries(
    cancer: Dataset, dana: Any, client_of: Any, django_assert_max_num_queries: Any
) -> None:
    client = client_of(dana)
    client.get(reverse("datasets:list"))
    for number in range(20):
        create_dataset(actor=actor(dana), name=f"Ward {number}")
    with django_assert_max_num_queries(12):
        text = client.get(reverse("datasets:list")).content.decode()
    assert "Ward 19" in text and "diagnosis" in text and ">120<" in text


def test_panels_of_the_apps_above_are_drawn(
    cancer: Dataset, dana: Any, client_of: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(panels, "_NAMES", [])
    panels.register("tests.datasets.test_dataset_pages.example_panel")
    assert "<p>7 new records since</p>" in client_of(dana).get(url("detail", cancer)).content.decode()


def example_panel(request: Any, dataset: Dataset) -> str:
    from django.utils.html import format_html

    return format_html("<p>{} new records since</p>", 7)


def test_rename_is_kept_and_a_taken_name_is_said(cancer: Dataset, dana: Any, client_of: Any) -> None:
    create_dataset(actor=actor(dana), name="Taken")
    client = client_of(dana)
    response = client.post(url("change", cancer), {"name": "Taken", "description": ""})
    assert response.status_code == 200 and "has a data set of this name" in response.content.decode()
    assert client.post(url("change", cancer), {"name": "Mamma", "description": "x"}).status_code == 302
    cancer.refresh_from_db()
    assert (cancer.name, cancer.description) == ("Mamma", "x")


def test_archiving_takes_it_out_of_the_list_and_back(cancer: Dataset, dana: Any, client_of: Any) -> None:
    client = client_of(dana)
    client.post(url("archive", cancer))
    assert "No data sets yet" in client.get(reverse("datasets:list")).content.decode()
    assert "Breast cancer" in client.get(reverse("datasets:list"), {"archived": "1"}).content.decode()
    client.post(url("archive", cancer))
    assert "Breast cancer" in client.get(reverse("datasets:list")).content.decode()


def test_records_page_filters_and_pages_on_and_back(cancer: Dataset, dana: Any, client_of: Any) -> None:
    client = client_of(dana)
    first = client.get(url("records", cancer))
    assert len(first.context["page"].records) == 50 and "120" in first.content.decode()
    second = client.get(url("records", cancer) + first.context["next_url"])
    third = client.get(url("records", cancer) + second.context["next_url"])
    seen = [r.pk for page in (first, second, third) for r in page.context["page"].records]
    assert seen == list(Record.objects.filter(dataset=cancer).order_by("-id").values_list("pk", flat=True))
    assert not third.context["next_url"]
    back = client.get(url("records", cancer) + third.context["previous_url"])
    assert back.context["page"].records == second.context["page"].records
    found = client.get(url("records", cancer), {"patient": "P0008"})
    assert [r.patient_key for r in found.context["page"].records] == ["P0008", "P0008"]
    event = AuditEvent.objects.filter(action="records.listed").first()
    assert event is not None and event.detail["filters"] == ["patient"] and "P0008" not in str(event.detail)


def test_a_foreign_cursor_starts_at_the_beginning(cancer: Dataset, dana: Any, client_of: Any) -> None:
    assert client_of(dana).get(url("records", cancer), {"cursor": "bm90aGluZw"}).status_code == 302


def test_record_page_shows_values_split_and_other_records_and_is_audited(
    cancer: Dataset, dana: Any, client_of: Any
) -> None:
    one, other = Record.objects.filter(dataset=cancer, patient_key="P0008").order_by("id")
    text = client_of(dana).get(url("record", cancer, one.pk)).content.decode()
    assert str(one.values["mean radius"]) in text and f"#{other.pk}" in text
    assert ("locked test" in text) == (one.split == "test")
    assert AuditEvent.objects.filter(action="record.read", object_id=str(one.pk)).count() == 1


def test_label_is_corrected_with_a_reason_and_kept_in_the_history(
    cancer: Dataset, bob: Any, client_of: Any
) -> None:
    record = Record.objects.filter(dataset=cancer).first()
    assert record is not None
    client = client_of(bob)
    assert client.post(url("label", cancer, record.pk), {"label": "benign"}).status_code == 400
    given = {"label": "unsure", "reason": "biopsy"}
    refused = client.post(url("label", cancer, record.pk), given)
    assert refused.status_code == 400, "a label that no record has may be misspelled"
    assert "No record of this data set has this label" in refused.content.decode()
    assert client.post(url("label", cancer, record.pk), given | {"new_label": "on"}).status_code == 302
    record.refresh_from_db()
    assert (record.target, record.values["diagnosis"]) == ("unsure", "unsure")
    text = client.get(url("record", cancer, record.pk)).content.decode()
    assert "biopsy" in text and "bob@example.org" in text


def test_auditor_may_not_correct_a_label(cancer: Dataset, victor: Any, client_of: Any) -> None:
    record = Record.objects.filter(dataset=cancer).first()
    assert record is not None
    assert (
        client_of(victor).post(url("label", cancer, record.pk), {"label": "x", "reason": "y"}).status_code
        == 403
    )


def test_version_is_frozen_listed_and_downloaded(
    cancer: Dataset, dana: Any, victor: Any, client_of: Any
) -> None:
    client = client_of(dana)
    client.post(url("freeze", cancer))
    version = cancer.versions.get()
    assert version.content_hash[:12] in client.get(url("versions", cancer)).content.decode()
    response = client.get(url("version_download", cancer, version.pk))
    assert b"".join(response.streaming_content)[:4] == b"PAR1"
    assert client_of(victor).get(url("version_download", cancer, version.pk)).status_code == 403
    assert AuditEvent.objects.filter(action="version.downloaded").count() == 1


def test_new_patient_column_is_asked_for_then_deals_anew(cancer: Dataset, dana: Any, client_of: Any) -> None:
    client, before = client_of(dana), dict(Record.objects.values_list("pk", "split"))
    roles = {"mrn": "ignore"}
    form = {}
    for column in cancer.columns.all():
        form |= {f"c{column.pk}-kind": column.kind, f"c{column.pk}-role": roles.get(column.name, column.role)}
    asked = client.post(url("columns", cancer), form)
    assert "dealt anew" in asked.content.decode()
    assert dict(Record.objects.values_list("pk", "split")) == before
    assert client.post(url("columns", cancer), form | {"confirmed": "yes"}).status_code == 302
    assert not Record.objects.exclude(patient_key="").exists()
    assert dict(Record.objects.values_list("pk", "split")) != before


def test_patient_column_stays_once_a_version_is_frozen(cancer: Dataset, dana: Any, client_of: Any) -> None:
    freeze(actor=actor(dana), dataset=cancer)
    form = {}
    for column in cancer.columns.all():
        role = "ignore" if column.name == "mrn" else column.role
        form |= {f"c{column.pk}-kind": column.kind, f"c{column.pk}-role": role}
    text = client_of(dana).post(url("columns", cancer), form | {"confirmed": "yes"}).content.decode()
    assert "has been frozen" in text
    assert cancer.columns.get(name="mrn").role == "patient"
