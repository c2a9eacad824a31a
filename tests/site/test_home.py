"""The home page tells each person what to do next, in a bounded number of queries."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from aimass_site.home import STEPS, facts, next_step, steps
from tests.conftest import actor

pytestmark = pytest.mark.django_db


def add_dataset(organisation: Any, records: int = 920) -> Any:
    from datasets.models import Dataset

    return Dataset.objects.create(organisation=organisation, name="Heart", split_salt="s", record_count=records)


def test_nobody_is_sent_to_sign_in() -> None:
    response = Client().get("/")
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/accounts/login/")


def test_person_without_organisation_is_sent_to_make_one(client_of: Any, db: None) -> None:
    from tests.conftest import make_user

    response = client_of(make_user("new@example.org", None, "")).get("/")
    assert response.headers["Location"] == "/organisations/new/"


def test_new_organisation_starts_with_an_upload(client_of: Any, bob: Any) -> None:
    text = client_of(bob).get("/").content.decode()
    assert 'href="/datasets/upload/"' in text
    assert text.count("step-current") == 1
    assert text.count("step-later") == len(STEPS) - 1


def test_with_records_the_next_step_is_training(client_of: Any, dana: Any, organisation: Any) -> None:
    add_dataset(organisation)
    response = client_of(dana).get("/")
    assert [item["state"] for item in response.context["steps"]] == ["done", "current", "later", "later"]
    assert response.context["next"]["title"] == "Train models"


def test_empty_and_archived_datasets_are_no_records(organisation: Any) -> None:
    dataset = add_dataset(organisation, records=0)
    assert facts(organisation)["has_records"] is False
    dataset.record_count = 5
    dataset.save()
    assert facts(organisation)["has_records"] is True
    dataset.archived_at = timezone.now()
    dataset.save()
    assert facts(organisation)["has_records"] is False


def test_other_organisations_records_do_not_count(organisation: Any, other_organisation: Any) -> None:
    add_dataset(other_organisation)
    assert not any(facts(organisation).values())


def test_running_training_is_what_to_watch(alice: Any, organisation: Any) -> None:
    from datasets.models import DatasetVersion
    from jobs.models import Job
    from training.models import TrainingRun

    dataset = add_dataset(organisation)
    version = DatasetVersion.objects.create(
        dataset=dataset, number=1, content_hash="x", columns=[], record_count=1, test_count=0, patient_count=1
    )
    job = Job.objects.create(organisation=organisation, task="training.tasks.run_training", title="Train")
    run = TrainingRun.objects.create(organisation=organisation, dataset=dataset, version=version, number=1, recipe={}, job=job)
    who = actor(alice)
    assert next_step(who, steps(who, facts(organisation)))["url"] == f"/training/{run.pk}/"
    Job.objects.filter(pk=job.pk).update(state="failed", finished_at=timezone.now())
    assert next_step(who, steps(who, facts(organisation)))["title"] == "Train models"


def test_a_colleagues_preview_is_not_put_before_somebody_else(dana: Any, alice: Any, organisation: Any) -> None:
    import io

    from aimass_site.home import waiting
    from datasets.intake import receive

    upload = receive(actor=actor(dana), file=io.BytesIO(b"age,label\n1,a\n2,b\n"), name="a.csv")
    mine = waiting(actor(dana))
    assert mine is not None and mine["url"] == f"/datasets/uploads/{upload.pk}/"
    assert waiting(actor(alice)) is None


def test_english_dates_have_the_month_in_letters_and_24_hours() -> None:
    from datetime import UTC, datetime

    from django.utils.formats import date_format
    from django.utils.translation import override

    with override("en"):
        written = date_format(datetime(2026, 2, 11, 21, 8, tzinfo=UTC), "SHORT_DATETIME_FORMAT")
    assert written == "11 Feb 2026, 21:08"


def test_auditor_is_led_to_the_audit_log(client_of: Any, victor: Any) -> None:
    response = client_of(victor).get("/")
    assert response.context["next"]["url"] == "/audit/"
    assert 'href="/datasets/upload/"' not in response.content.decode()


def test_header_shows_unread_notifications(client_of: Any, alice: Any, organisation: Any) -> None:
    from accounts.models import Notification

    Notification.objects.create(organisation=organisation, user=alice, key="1", title="Done")
    Notification.objects.create(organisation=organisation, user=alice, key="2", title="Old", read_at=timezone.now())
    assert '<span class="count" aria-hidden="true">1</span>' in client_of(alice).get("/").content.decode()


def test_header_offers_the_other_organisation(client_of: Any, alice: Any, other_organisation: Any) -> None:
    from accounts.models import Membership

    assert "Elsewhere Clinic" not in client_of(alice).get("/").content.decode()
    Membership.objects.create(organisation=other_organisation, user=alice, role="auditor")
    text = client_of(alice).get("/").content.decode()
    assert "Elsewhere Clinic" in text
    assert 'action="/organisations/switch/"' in text


def test_page_can_be_used_without_seeing_it(client_of: Any, alice: Any) -> None:
    text = client_of(alice).get("/").content.decode()
    assert text.index('class="skip-link"') < text.index("<header")
    assert 'href="#content"' in text
    assert '<main id="content" tabindex="-1">' in text
    assert text.count("<h1>") == 1
    assert 'lang="en"' in text


def test_language_is_switched_by_a_plain_form(client_of: Any, alice: Any) -> None:
    client = client_of(alice)
    response = client.post("/language/", {"language": "zh-hans", "next": "/"})
    assert response.headers["Location"] == "/"
    assert 'lang="zh-hans"' in client.get("/").content.decode()
