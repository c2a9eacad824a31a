"""What a job could not look at is not lost: it is seen, told of, and tried again, by itself and by a click."""

import errno
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Notification
from datasets import storage
from datasets.arrivals import again, services
from datasets.arrivals.models import Arrival
from jobs.models import Job
from jobs.reaper import reap
from jobs.services import cancel, retry
from tests.conftest import actor
from tests.datasets.arrivals import samples
from tests.datasets.arrivals.test_arrivals import Run, outcomes, send

pytestmark = pytest.mark.django_db


def killed_three_times(arrival: Arrival) -> None:
    """As the reaper finds it when each attempt's process was ended from outside."""
    Job.objects.filter(pk=arrival.job_id).update(
        state="running", owner="gone", attempt=3, lease_until=timezone.now() - timedelta(minutes=1)
    )
    reap()


@pytest.fixture
def held(dana: Any) -> Arrival:
    """Two pictures, of which one is in an archive; the job that was to look at them was killed three times."""
    arrival = send(dana, {"a.png": samples.picture("PNG"), "z.zip": samples.packed({"b.bmp": samples.picture("BMP")})})
    killed_three_times(arrival)
    arrival.refresh_from_db()
    return arrival


def test_killed_job_is_seen_told_of_and_tried_again_by_itself(
    held: Arrival, dana: Any, client_of: Any, api_of: Any, run_jobs: Run
) -> None:
    assert held.job.state == "failed" and outcomes(held) == {"a.png": "interrupted", "z.zip": "interrupted"}
    note = Notification.objects.get(user=dana)
    assert note.title == "2 of the files that you sent could not be looked at" and "in 15 minutes" in note.body
    page = client_of(dana).get(note.url).content.decode()
    assert "2 files could not be looked at" in page and "What may pass is tried again by itself at" in page
    assert "2" in client_of(dana).get("/datasets/arrivals/").content.decode()
    seen = api_of(dana).get(f"/api/v1/arrivals/{held.pk}/").json()
    assert seen["again_at"] and seen["counts"]["quarantined"] == 2
    assert again.sweep() == 0, "not yet"
    later = timezone.now() + timedelta(minutes=16)
    assert (again.sweep(later), again.sweep(later)) == (1, 0)
    run_jobs()
    assert outcomes(held) == {"a.png": "imported", "z.zip": "imported", "b.bmp": "imported"}
    held.refresh_from_db()
    assert "again_at" not in held.notes and "tries" not in held.notes
    assert "could not be looked at" not in client_of(dana).get(note.url).content.decode()


def test_it_is_tried_ever_more_seldom_and_given_up_loudly(held: Arrival, dana: Any, client_of: Any) -> None:
    waits = []
    for _try in again.WAITS:
        held.refresh_from_db()
        due = again.due_at(held)
        assert due is not None
        waits.append(round((due - timezone.now()).total_seconds() / 60))
        assert again.sweep(due) == 1
        held.refresh_from_db()
        killed_three_times(held)
    assert waits == [15, 60, 240, 960, 1440]
    held.refresh_from_db()
    assert again.due_at(held) is None and outcomes(held)["a.png"] == "interrupted"
    assert "It is not tried again by itself." in client_of(dana).get(f"/datasets/arrivals/{held.pk}/").content.decode()
    _first, last = Notification.objects.filter(user=dana).order_by("pk")
    assert "not tried again by itself any more" in last.body


def test_full_disk_passes(dana: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real, large = storage.keep, samples.picture("BMP", size=(200, 200))

    def keep(**given: Any) -> Any:
        if given["size"] > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(**given)

    archive = samples.packed({"large": large, "small": samples.picture("PNG", size=(8, 8)), "no": b"\0" * 99})
    arrival = send(dana, {"z.zip": archive})
    with monkeypatch.context() as patch:
        patch.setattr(storage, "keep", keep)
        run_jobs()
    assert outcomes(arrival) == {"z.zip": "imported", "large": "disk_full", "small": "imported", "no": "unknown"}
    assert again.sweep(timezone.now() + timedelta(minutes=16)) == 1
    run_jobs()
    assert outcomes(arrival) == {"z.zip": "imported", "large": "imported", "small": "imported", "no": "unknown"}


def test_everything_is_tried_again_by_one_click(held: Arrival, dana: Any, client_of: Any, api_of: Any, run_jobs: Run) -> None:
    answer = api_of(dana).post(f"/api/v1/arrivals/{held.pk}/retry/")
    assert answer.status_code == 202 and answer.json()["counts"]["waiting"] == 2 and answer.json()["again_at"] is None
    assert api_of(dana).post(f"/api/v1/arrivals/{held.pk}/retry/").status_code == 409
    held.refresh_from_db()
    killed_three_times(held)
    answer = client_of(dana).post(f"/datasets/arrivals/{held.pk}/retry/", follow=True)
    assert "The files are looked at again." in answer.content.decode()
    run_jobs()
    assert outcomes(held)["b.bmp"] == "imported"
    answer = client_of(dana).post(f"/datasets/arrivals/{held.pk}/retry/", follow=True)
    assert "nothing here that could be looked at again" in answer.content.decode()


def test_job_that_is_tried_again_from_its_own_page_takes_up_what_it_left(held: Arrival, dana: Any, run_jobs: Run) -> None:
    retry(actor=actor(dana), job=held.job)
    run_jobs()
    assert outcomes(held) == {"a.png": "imported", "z.zip": "imported", "b.bmp": "imported"}


def test_what_a_person_stopped_is_not_begun_again(dana: Any, run_jobs: Run) -> None:
    arrival = send(dana, {"a": samples.picture("PNG")})
    cancel(actor=actor(dana), job=arrival.job)
    run_jobs()
    arrival.refresh_from_db()
    assert outcomes(arrival) == {"a": "interrupted"} and again.due_at(arrival) is None
    assert again.sweep(timezone.now() + timedelta(days=9)) == 0 and not Notification.objects.exists()
    assert again.try_all_again(actor=actor(dana), arrival=arrival) == 1
    assert services.counts(arrival)["waiting"] == 1
