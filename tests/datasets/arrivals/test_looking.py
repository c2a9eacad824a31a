"""A picture that may name the patient: a person sees it as it came, and only then it is let in."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.urls import reverse
from PIL import Image

from accounts.models import AuditEvent
from datasets.arrivals import looking, services
from datasets.arrivals.models import ArrivedFile
from tests.conftest import actor
from tests.datasets.dicom.files import saved, slice_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def held(dana: Any, run_jobs: Any, tmp_path: Path) -> ArrivedFile:
    """A clip of 30 frames whose header says that text is burned in; each has a brightness, and its window hides what is dark."""
    frames = np.repeat(np.arange(30, dtype="<u2") * 40 + 1000, 32 * 32).reshape(30, 32, 32)
    frames[:, 0], frames[:, 5], frames[:, 6] = 2500, 400, 24  # the last two below the window: black and black
    data = slice_of(BurnedInAnnotation="YES", NumberOfFrames=30, WindowCenter=0, WindowWidth=1200, PixelData=frames.tobytes())
    content = saved(data, tmp_path / "in.dcm").read_bytes()
    sent = services.receive(actor=actor(dana), files=[("us.dcm", io.BytesIO(content))])
    run_jobs()
    row = sent.files.get()
    assert row.code == "burned_in_declared"
    return row


def grey(answer: Any) -> int:
    assert answer.headers["Content-Type"] == "image/png" and answer.headers["Cache-Control"] == "no-store"
    return int(np.asarray(Image.open(io.BytesIO(answer.content)).convert("L")).mean())


def test_every_frame_can_be_seen_and_only_then_the_picture_is_let_in(
    held: ArrivedFile, dana: Any, client_of: Any, run_jobs: Any
) -> None:
    client, address = client_of(dana), reverse("datasets:arrived_file", args=[held.pk])
    page = client.get(address).content.decode()
    assert "Frames 1 to 24 of 30" in page and page.count("<img src=") == 24
    second = client.get(address, {"frames": "2"}).content.decode()
    assert "Frames 25 to 30 of 30" in second and second.count("<img src=") == 6
    assert "Frames 25 to 30" in client.get(address, {"frames": "99"}).content.decode()
    assert "Frames 1 to 24" in client.get(address, {"frames": "²"}).content.decode()
    seen = [grey(client.get(reverse("datasets:arrived_file_frame", args=[held.pk, n]))) for n in (0, 29)]
    assert seen[1] > seen[0] + 100
    assert client.get(reverse("datasets:arrived_file_frame", args=[held.pk, 30])).status_code == 404
    assert "range=whole" in client.get(address, {"range": "whole"}).content.decode()
    whole = client.get(reverse("datasets:arrived_file_frame", args=[held.pk, 0]), {"range": "whole"})
    lines = np.asarray(Image.open(io.BytesIO(whole.content)).convert("L"))
    assert lines[6, 10] == 0 and lines[5, 10] > 30, "what the file's own window hides is there to see"
    retry = reverse("datasets:arrived_file_retry", args=[held.pk])
    answer = client.post(retry, {"action": "confirm"}, follow=True).content.decode()
    assert "Look at every frame" in answer
    held.refresh_from_db()
    assert held.outcome == "quarantined"
    assert client.post(retry, {"action": "confirm", "looked": "yes"}).status_code == 302
    run_jobs()
    held.refresh_from_db()
    assert held.outcome == "imported" and held.file is not None and held.original is None
    assert AuditEvent.objects.filter(action="arrival.picture_looked_at", actor_user=dana).exists()
    assert AuditEvent.objects.filter(action="dicom.pixels_checked", actor_user=dana).count() == 1
    assert client.get(reverse("datasets:arrived_file_frame", args=[held.pk, 0])).status_code == 404


def test_trying_again_without_a_look_lets_nothing_in(held: ArrivedFile, dana: Any, run_jobs: Any) -> None:
    services.try_again(actor=actor(dana), file=held)
    run_jobs()
    held.refresh_from_db()
    assert held.code == "burned_in_declared" and held.file is None


def test_a_confirmation_counts_only_for_what_a_look_can_clear(dana: Any, run_jobs: Any, tmp_path: Path) -> None:
    data = slice_of(PatientID="", PatientName="", StudyInstanceUID="", BurnedInAnnotation="YES")
    content = saved(data, tmp_path / "nobody.dcm").read_bytes()
    sent = services.receive(actor=actor(dana), files=[("us.dcm", io.BytesIO(content))])
    run_jobs()
    row = sent.files.get()
    assert row.code == "no_patient" and not looking.waits(row)
    services.try_again(actor=actor(dana), file=row, confirmed=True)
    row.refresh_from_db()
    assert row.reason_facts == {}


def test_a_program_cannot_say_that_it_has_looked(held: ArrivedFile, dana: Any, client_of: Any) -> None:
    address = reverse("api:arrived_file_retry", args=[held.pk])
    answer = client_of(dana).post(address, {"confirm": True}, content_type="application/json")
    assert answer.status_code == 409 and answer.json()["type"].endswith("look-first")
    held.refresh_from_db()
    assert held.outcome == "quarantined"


def test_who_may_only_read_sees_no_frame(held: ArrivedFile, victor: Any, client_of: Any) -> None:
    client = client_of(victor)
    assert "<img src=" not in client.get(reverse("datasets:arrived_file", args=[held.pk])).content.decode()
    assert client.get(reverse("datasets:arrived_file_frame", args=[held.pk, 0])).status_code == 403
