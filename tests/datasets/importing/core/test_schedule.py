"""When importers run by themselves, and when somebody is told."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Notification
from datasets.importing import schedules, services
from datasets.importing.clock import next_time
from datasets.importing.models import Importer
from jobs.models import Job
from tests.conftest import actor
from tests.datasets.importing.core.conftest import Run, Visits
from tests.datasets.importing.databases import PASSWORD

NOON = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
RUNS = "datasets.importing.tasks.run"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"schedule": ""}, None),
        ({"schedule": "minutes", "every": 15}, NOON + timedelta(minutes=15)),
        ({"schedule": "hours", "every": 6}, NOON + timedelta(hours=6)),
        # Missed while the server was down: the next of its own times, and not all that were missed.
        (
            {"schedule": "minutes", "every": 15, "next_run_at": NOON - timedelta(days=2, minutes=5)},
            NOON + timedelta(minutes=10),
        ),
        ({"schedule": "daily", "at": time(2, 30), "zone": "UTC"}, datetime(2026, 3, 29, 2, 30, tzinfo=UTC)),
        (
            {"schedule": "daily", "at": time(23, 0), "zone": "Asia/Shanghai"},
            datetime(2026, 3, 28, 15, 0, tzinfo=UTC),
        ),
        (
            {"schedule": "daily", "at": time(19, 0), "zone": "Asia/Shanghai"},
            datetime(2026, 3, 29, 11, 0, tzinfo=UTC),
        ),
        # In Berlin the clocks go from 2 to 3 that night: 2:30 is said of the hour before.
        (
            {"schedule": "daily", "at": time(2, 30), "zone": "Europe/Berlin"},
            datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        ),
    ],
)
def test_next_time(given: dict[str, Any], expected: datetime | None) -> None:
    assert next_time(Importer(**given), NOON) == expected


def test_zone_follows_the_clocks() -> None:
    row = Importer(schedule="daily", at=time(8, 0), zone="Europe/Berlin")
    assert next_time(row, NOON + timedelta(days=2)).hour == 6  # type: ignore[union-attr]
    assert next_time(row, NOON - timedelta(days=2)).hour == 7  # type: ignore[union-attr]


@pytest.fixture
def hourly(nightly: Importer, alice: Any) -> Importer:
    return services.set_schedule(
        actor=actor(alice), importer=nightly, schedule="hours", every=1, quiet_days=2
    )


def due(row: Importer, **more: Any) -> None:
    Importer.objects.filter(pk=row.pk).update(next_run_at=timezone.now() - timedelta(minutes=1), **more)


@pytest.mark.django_db
def test_only_what_is_due_is_started_and_not_twice(hourly: Importer, run_jobs: Run) -> None:
    assert schedules.dispatch() == 0
    due(hourly)
    assert schedules.dispatch() == 1 and schedules.dispatch() == 0
    due(hourly)
    schedules.dispatch()  # it waits still: the same job
    assert Job.objects.filter(task=RUNS).count() == 1
    hourly.refresh_from_db()
    assert hourly.next_run_at is not None and hourly.next_run_at > timezone.now()
    run_jobs()
    assert hourly.runs.get().state == "done"
    job = Job.objects.get(task=RUNS)
    assert job.requested_by is None


@pytest.mark.django_db
def test_paused_does_not_run_until_it_goes_on(hourly: Importer, alice: Any) -> None:
    due(hourly)
    services.pause(actor=actor(alice), importer=hourly, paused=True)
    assert schedules.dispatch() == 0
    with pytest.raises(services.ImporterRefused, match="paused"):
        hourly.refresh_from_db()
        services.run_now(actor=actor(alice), importer=hourly)
    services.pause(actor=actor(alice), importer=hourly, paused=False)
    assert schedules.dispatch() == 0  # an hour from now
    due(hourly)
    assert schedules.dispatch() == 1


@pytest.mark.django_db
def test_silence_is_told_once_until_something_comes(
    hourly: Importer, visits: Visits, alice: Any, bob: Any, run_jobs: Run
) -> None:
    told = Notification.objects.filter(key__contains=":quiet:")
    Importer.objects.filter(pk=hourly.pk).update(came_at=timezone.now() - timedelta(days=1, hours=23))
    schedules.dispatch()
    assert not told.exists()
    Importer.objects.filter(pk=hourly.pk).update(came_at=timezone.now() - timedelta(days=2, hours=1))
    for _time in range(3):
        schedules.dispatch()
    assert [note.user for note in told] == [alice]
    Importer.objects.filter(pk=hourly.pk).update(quiet_told_at=timezone.now() - timedelta(days=8))
    for _time in range(2):
        schedules.dispatch()
    assert told.all().count() == 2  # once more, after a week
    services.run_now(actor=actor(alice), importer=hourly)
    run_jobs()
    hourly.refresh_from_db()
    assert hourly.quiet_told_at is None and timezone.now() - hourly.came_at < timedelta(minutes=5)
    Importer.objects.filter(pk=hourly.pk).update(came_at=timezone.now() - timedelta(days=3), paused=True)
    schedules.dispatch()
    assert told.all().count() == 2


@pytest.mark.django_db
def test_a_refused_password_is_not_tried_at_each_turn(
    hourly: Importer, visits: Visits, alice: Any, run_jobs: Run, client_of: Any
) -> None:
    visits.database.run("ALTER ROLE reader PASSWORD 'another one'")
    try:
        waits = []
        for _time in range(5):
            due(hourly)
            assert schedules.dispatch() == 1
            run_jobs()
            hourly.refresh_from_db()
            assert hourly.next_run_at is not None
            waits.append(round((hourly.next_run_at - timezone.now()) / timedelta(minutes=1)))
        assert waits[0] in (59, 60)  # the schedule's own, which is later than a quarter of an hour
        assert waits[1:] == [60, 360, 1440, 1440]
        assert hourly.runs.filter(error_code="sign_in").count() == 5  # one try each
        assert schedules.dispatch() == 0
        page = client_of(alice).get(f"/datasets/importers/{hourly.pk}/").content.decode()
        assert "it is tried again only at" in page
        services.run_now(actor=actor(alice), importer=hourly)
        hourly.refresh_from_db()
        assert hourly.sign_ins_refused == 0
        assert hourly.next_run_at is not None and hourly.next_run_at < timezone.now() + timedelta(hours=2)
        run_jobs()
        hourly.refresh_from_db()
        assert hourly.sign_ins_refused == 1
        given = {"name": hourly.name, "treatment": "rows", "dataset": hourly.dataset}
        services.change_importer(actor=actor(alice), importer=hourly, settings=visits.settings(), **given)
        hourly.refresh_from_db()
        assert hourly.sign_ins_refused == 0
    finally:
        visits.database.run(f"ALTER ROLE reader PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")


@pytest.mark.django_db
def test_an_alarm_that_stands_is_told_again_each_week(hourly: Importer, visits: Visits, alice: Any, run_jobs: Run) -> None:
    told = Notification.objects.filter(key__contains=":still:")
    visits.database.run("DROP TABLE visits")
    services.run_now(actor=actor(alice), importer=hourly)
    run_jobs()
    week = timedelta(days=7, hours=1)
    Importer.objects.filter(pk=hourly.pk).update(next_run_at=None)
    for days, expected in ((6, 0), (7, 1), (7, 2)):
        Importer.objects.update(failing_told_at=timezone.now() - timedelta(days=days, hours=1))
        for _time in range(2):
            schedules.dispatch()
        assert told.count() == expected
    assert "still fails" in told[0].title
    Importer.objects.update(failing_told_at=timezone.now() - week, paused=True)
    schedules.dispatch()
    assert told.count() == 2


@pytest.mark.django_db
def test_what_a_look_showed_is_forgotten_after_a_day(visits: Visits, alice: Any, run_jobs: Run) -> None:
    row = visits.importer(alice)
    run_jobs()
    schedules.dispatch()
    row.refresh_from_db()
    assert "p001" in str(row.look)
    Importer.objects.update(looked_at=timezone.now() - timedelta(days=2))
    schedules.dispatch()
    row.refresh_from_db()
    assert row.look == {}
