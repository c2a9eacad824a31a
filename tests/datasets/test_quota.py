"""Whatever way a file comes, it counts for the organisation's quota, and is refused with the sentence that uploads give."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from datasets import quota
from datasets.arrivals import services
from datasets.models import StoredFile, Upload
from tests.conftest import actor
from tests.datasets.arrivals import samples
from tests.datasets.arrivals.test_arrivals import outcomes, send

pytestmark = pytest.mark.django_db
SAID = "Your organisation may keep"
Run = Callable[[], int]


@pytest.fixture
def pictures() -> list[bytes]:
    return [samples.picture("PNG", seed) for seed in range(4)]


def test_files_of_cells_count_from_the_moment_they_are_kept(
    bob: Any, api_of: Any, settings: Any, pictures: list[bytes]
) -> None:
    settings.UPLOAD_QUOTA_BYTES = len(pictures[0]) + len(pictures[1]) + 10
    api = api_of(bob)

    def sent(content: bytes) -> Any:
        return api.post("/api/v1/files/", {"file": SimpleUploadedFile("a.png", content)}, format="multipart")

    assert [sent(content).status_code for content in pictures[:3]] == [201, 201, 422]
    assert SAID in sent(pictures[2]).json()["detail"]
    assert sent(pictures[0]).status_code == 201, "what is here needs no room"
    assert StoredFile.objects.count() == 2


def test_an_arrival_keeps_what_fits_and_says_why_the_rest_is_not_kept(
    dana: Any, client_of: Any, settings: Any, pictures: list[bytes], run_jobs: Run
) -> None:
    settings.UPLOAD_QUOTA_BYTES = len(pictures[0]) + 10
    arrival = send(dana, {"a.png": pictures[0], "b.png": pictures[1], "again.png": pictures[0]})
    run_jobs()
    assert outcomes(arrival) == {"a.png": "imported", "b.png": "quota", "again.png": "duplicate"}
    assert StoredFile.objects.exclude(path="").count() == 1
    row = arrival.files.get(name="b.png")
    assert row.original is None and not services.can_retry(row)
    page = client_of(dana).get(reverse("datasets:arrived_file", args=[row.pk])).content.decode()
    assert SAID in page


def test_members_of_an_archive_wait_in_it_until_there_is_room(
    dana: Any, settings: Any, pictures: list[bytes], run_jobs: Run
) -> None:
    archive = samples.packed({f"{n}.png": content for n, content in enumerate(pictures)})
    settings.UPLOAD_QUOTA_BYTES = len(archive) + len(pictures[0]) + 10
    arrival = send(dana, {"z.zip": archive})
    run_jobs()
    assert sorted(outcomes(arrival).values()) == ["imported", "imported", "quota", "quota", "quota"]
    settings.UPLOAD_QUOTA_BYTES = 10 * len(archive)
    for row in arrival.files.filter(code="quota"):
        assert services.can_retry(row)
        services.try_again(actor=actor(dana), file=row)
        run_jobs()
    assert set(outcomes(arrival).values()) == {"imported"}


def test_what_replaces_the_original_is_not_counted_twice(dana: Any, settings: Any, run_jobs: Run) -> None:
    note = b"Seen by Peter Jones.\n" + samples.NOTE.encode() * 40
    table = samples.TABLE.encode() * 1
    settings.UPLOAD_QUOTA_BYTES = len(note) + len(table) + len(note) // 2
    arrival = send(dana, {"note.txt": note, "table.csv": table}, known=["Peter Jones"])
    run_jobs()
    assert outcomes(arrival) == {"note.txt": "imported", "table.csv": "imported"}
    assert Upload.objects.count() == 1


def test_a_table_that_came_in_an_archive_is_told_the_same(dana: Any, settings: Any, run_jobs: Run) -> None:
    table = b"mrn,age,diagnosis\n" + b"".join(b"p%d,%d,ill\n" % (n, 20 + n % 60) for n in range(500))
    archive = samples.packed({"table.csv": table})
    settings.UPLOAD_QUOTA_BYTES = len(archive) + 100
    arrival = send(dana, {"z.zip": archive})
    run_jobs()
    assert outcomes(arrival)["table.csv"] == "quota" and not Upload.objects.exists()
    assert SAID in arrival.files.get(code="quota").reason


def test_what_is_kept_since_it_was_added_up_counts_at_once(dana: Any, settings: Any) -> None:
    organisation = actor(dana).organisation
    assert quota.used(organisation) == 0
    services.receive(actor=actor(dana), files=[("a", io.BytesIO(b"x" * 1000))])
    assert quota.used(organisation) == 1000
