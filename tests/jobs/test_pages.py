"""The pages and the API of jobs: who sees what, live progress, cancel and retry."""

from typing import Any
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from jobs import lease
from jobs.models import Job, Node, State
from jobs.services import submit
from tests.conftest import actor


@pytest.fixture
def job(dana: Any) -> Job:
    return submit(actor=actor(dana), task="tests.jobs.handlers.foreseen", title="Import of heart.csv", payload={})


def url(name: str, job: Job) -> str:
    return reverse(f"jobs:{name}", args=[job.pk])


def test_list_shows_the_organisations_jobs_and_filters(job: Job, client_of: Any, dana: Any, charlie: Any) -> None:
    page = client_of(dana).get("/jobs/").content.decode()
    assert "Import of heart.csv" in page and "Place in the queue: 1" in page
    assert "Import of heart.csv" not in client_of(dana).get("/jobs/?state=done").content.decode()
    assert "Import of heart.csv" in client_of(dana).get("/jobs/?state=live").content.decode()
    assert "Import of heart.csv" not in client_of(charlie).get("/jobs/").content.decode()
    assert client_of(dana).get("/jobs/?before=junk").status_code == 404


def test_list_goes_through_all_pages(client_of: Any, dana: Any) -> None:
    for n in range(60):
        submit(actor=actor(dana), task="x.y", title=f"job-{n:02}", payload={})
    first = client_of(dana).get("/jobs/?state=queued")
    assert "job-59" in first.content.decode() and "job-09" not in first.content.decode()
    second = client_of(dana).get(first.context["next_url"]).content.decode()
    assert "job-09" in second and "job-00" in second and "job-10" not in second


def test_outsider_gets_404_and_auditor_cannot_cancel(job: Job, client_of: Any, charlie: Any, victor: Any) -> None:
    for name in ("detail", "progress"):
        assert client_of(charlie).get(url(name, job)).status_code == 404
    assert client_of(charlie).post(url("cancel", job)).status_code == 404
    assert client_of(victor).post(url("cancel", job)).status_code == 403
    assert client_of(victor).get(url("detail", job)).status_code == 200


def test_progress_shows_step_and_time_left_and_looks_again(job: Job, client_of: Any, dana: Any) -> None:
    lease.claim(job.pk, "w")
    eta = timezone.now() + timezone.timedelta(minutes=5, seconds=2)
    Job.objects.filter(pk=job.pk).update(fraction=0.42, step="reading rows", eta_at=eta)
    answer = client_of(dana).get(url("progress", job), headers={"HX-Request": "true"})
    text = answer.content.decode()
    assert "42 %" in text and "reading rows" in text and "about 5 minutes" in text and "hx-get" in text
    assert "HX-Refresh" not in answer.headers
    assert client_of(dana).get(url("progress", job)).url == url("detail", job)


def test_ended_job_refreshes_the_page_once_and_hides_the_engineers_text(
    job: Job, client_of: Any, dana: Any, run_jobs: Any
) -> None:
    run_jobs()
    answer = client_of(dana).get(url("progress", job), headers={"HX-Request": "true"})
    assert answer.headers["HX-Refresh"] == "true"
    page = client_of(dana).get(url("detail", job)).content.decode()
    assert "hx-get" not in page and "Add more records." in page
    assert page.index("<details") < page.index("3 &lt; 20")


def test_the_engineers_text_is_for_those_who_manage_jobs(
    job: Job, client_of: Any, api_of: Any, dana: Any, run_jobs: Any
) -> None:
    from accounts.models import Membership

    run_jobs()
    path = f"/api/v1/jobs/{job.pk}/"
    assert api_of(dana).get(path).json()["error"]["engineer"] == "3 < 20"
    Membership.objects.filter(user=dana).update(role="auditor")
    assert api_of(dana).get(path).json()["error"] == {"person": "Add more records.", "engineer": ""}
    assert api_of(dana).get("/api/v1/jobs/").json()["results"][0]["error"]["engineer"] == ""
    page = client_of(dana).get(url("detail", job)).content.decode()
    assert "Add more records." in page and "3 &lt; 20" not in page


def test_cancel_and_retry_by_a_person(job: Job, client_of: Any, dana: Any) -> None:
    browser = client_of(dana)
    assert browser.get(url("cancel", job)).status_code == 405
    browser.post(url("cancel", job))
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    again = browser.post(url("retry", job)).url
    assert Job.objects.get(retry_of=job).pk and again != url("detail", job)
    assert "cancelled" in browser.post(url("cancel", job), follow=True).content.decode()


def test_nodes_page_is_the_administrators_and_hides_other_organisations_jobs(
    job: Job, client_of: Any, alice: Any, charlie: Any, dana: Any
) -> None:
    node = Node.objects.create(name="ward-7", queue="light", pid=7, cpus=2, memory_mb=4000, heartbeat_at=timezone.now())
    lease.claim(job.pk, "w", node_id=node.pk)
    assert client_of(dana).get("/jobs/nodes/").status_code == 403
    own, others = (client_of(person).get("/jobs/nodes/").content.decode() for person in (alice, charlie))
    assert "ward-7" in own and "Import of heart.csv" in own
    assert "ward-7" in others and "Import of heart.csv" not in others and "1 job of another organisation" in others


def test_a_job_that_no_computer_could_take_says_what_it_waits_for(job: Job, client_of: Any, dana: Any) -> None:
    small = Node.objects.create(name="n", queue="heavy", pid=7, cpus=2, memory_mb=4000, heartbeat_at=timezone.now())
    told = "No computer that works now has enough"
    assert told not in client_of(dana).get(url("detail", job)).content.decode()
    Job.objects.filter(pk=job.pk).update(profile="huge", queue="heavy")
    assert told in client_of(dana).get(url("detail", job)).content.decode()
    Node.objects.filter(pk=small.pk).update(memory_mb=64_000)
    assert told not in client_of(dana).get(url("detail", job)).content.decode()


def test_api_tells_state_error_and_log(job: Job, api_of: Any, dana: Any, charlie: Any, run_jobs: Any) -> None:
    api = api_of(dana)
    body = api.get("/api/v1/jobs/").json()["results"][0]
    assert (body["id"], body["state"], body["queue_position"], body["error"]) == (str(job.pk), "queued", 1, None)
    run_jobs()
    body = api.get(f"/api/v1/jobs/{job.pk}/").json()
    assert (body["state"], body["error"]["person"], body["queue_position"]) == ("failed", "Add more records.", None)
    assert api.get(f"/api/v1/jobs/{job.pk}/log/").json()["results"] == []
    assert api.post(f"/api/v1/jobs/{job.pk}/cancel/").status_code == 409
    again = api.post(f"/api/v1/jobs/{job.pk}/retry/", headers={"Idempotency-Key": "r"})
    assert again.status_code == 201 and again.json()["id"] != str(job.pk)
    assert api.post(f"/api/v1/jobs/{again.json()['id']}/cancel/").json()["state"] == "cancelled"
    junk = api.get("/api/v1/jobs/?state=junk")
    assert junk.status_code == 400 and junk.json()["errors"][0]["field"] == "state"
    assert api.get(f"/api/v1/jobs/{uuid4()}/").status_code == 404
    for path in ("", "log/"):
        assert api_of(charlie).get(f"/api/v1/jobs/{job.pk}/{path}").status_code == 404
        assert api_of(charlie).get("/api/v1/jobs/").json()["results"] == []


def test_api_list_costs_the_same_however_many_jobs(api_of: Any, dana: Any, django_assert_max_num_queries: Any) -> None:
    for n in range(30):
        submit(actor=actor(dana), task="x.y", title=f"{n}", payload={})
    api = api_of(dana)
    with django_assert_max_num_queries(6):
        body = api.get("/api/v1/jobs/").json()
    assert [row["queue_position"] for row in body["results"]] == list(range(30, 0, -1))


def test_a_title_is_told_in_the_readers_language(client: Any, dana: Any) -> None:
    what = {"target": "disease", "dataset": "Heart 100%"}
    job = submit(
        actor=actor(dana), task="x.y", title="Train “%(target)s” on %(dataset)s", title_params=what, payload={}
    )
    client.force_login(dana)
    assert "Train “disease” on Heart 100%" in client.get(reverse("jobs:detail", args=[job.pk])).content.decode()
    client.cookies["django_language"] = "zh-hans"
    with override("zh-hans"):
        chinese = job.label
    assert chinese != str(job) and "disease" in chinese
    assert chinese in client.get(reverse("jobs:detail", args=[job.pk])).content.decode()
