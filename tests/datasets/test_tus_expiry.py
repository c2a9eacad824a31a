"""What becomes of transfers that nobody goes on with, and who may go on with which."""

import os
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEvent
from datasets.models import Dataset, Upload
from datasets.tus import expiry, parts, services
from datasets.tus.models import Transfer
from jobs.schedules import SCHEDULES
from tests.datasets.tus_calls import TABLE, Tus, encoded, part_of

pytestmark = pytest.mark.django_db


class TestExpiry:
    def test_a_piece_moves_it_on(self, tus: Tus, half: str) -> None:
        soon = timezone.now() + timedelta(minutes=1)
        Transfer.objects.update(expires_at=soon)
        tus.piece(half, 100, b"x")
        assert Transfer.objects.get().expires_at > soon + timedelta(hours=1)

    def test_expired_is_gone_and_then_swept(self, tus: Tus, half: str) -> None:
        part = part_of(half)
        Transfer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert tus.head(half).status_code == tus.piece(half, 100, b"x").status_code == 410
        assert expiry.sweep() == {"expired": 1, "completed": 0, "left": 0}
        assert not part.exists() and tus.head(half).status_code == 404
        event = AuditEvent.objects.get(action="transfer.expired")
        assert (event.actor_label, event.detail) == ("system", {"size": len(TABLE), "came": 100})

    def test_what_is_being_written_or_can_go_on_stays(self, tus: Tus, half: str) -> None:
        assert expiry.sweep()["expired"] == 0
        row = Transfer.objects.get()
        Transfer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        with parts.locked(row.pk):
            assert expiry.sweep()["expired"] == 0
        assert Transfer.objects.count() == 1

    def test_the_upload_of_an_arrived_file_outlives_the_transfer(self, tus: Tus) -> None:
        tus.begin(len(TABLE), TABLE)
        Transfer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert expiry.sweep()["expired"] == 1
        assert Upload.objects.get().state == "preview" and Transfer.objects.count() == 0

    def test_a_whole_file_that_nobody_asks_for_is_completed(self, tus: Tus, half: str) -> None:
        row = Transfer.objects.get()
        parts.path_of(row.pk).write_bytes(TABLE)
        Transfer.objects.update(offset=len(TABLE))
        assert expiry.sweep()["completed"] == 0, "its last request may still be at it"
        Transfer.objects.update(expires_at=timezone.now() + services.expiry() - timedelta(minutes=6))
        assert expiry.sweep()["completed"] == 1
        assert Upload.objects.get().created_by == row.created_by

    def test_parts_without_a_row_are_removed(self, tus: Tus, half: str) -> None:
        kept, left, young = Transfer.objects.get().pk, uuid.uuid4(), uuid.uuid4()
        for pk in (left, young):
            with parts.locked(pk) as part:
                part.write(b"x")
        long_ago = time.time() - 2 * expiry.LEFT_SECONDS
        for pk in (left, kept):
            os.utime(parts.path_of(pk), (long_ago, long_ago))
        assert expiry.sweep()["left"] == 1
        assert [parts.path_of(pk).exists() for pk in (kept, left, young)] == [True, False, True]

    def test_it_runs_by_the_clock(self) -> None:
        assert "datasets.tus.expiry.sweep" in [periodic.task for periodic in SCHEDULES]


class TestWho:
    def test_an_outsider_gets_404(self, half: str, charlie: Any, api_of: Any) -> None:
        other = Tus(api_of(charlie))
        answers = [other.head(half), other.piece(half, 100, b"x"), other.delete(half), other.client.get(half)]
        assert [a.status_code for a in answers] == [404] * 4
        assert other.client.get("/api/v1/transfers/").json()["results"] == []

    def test_a_viewer_gets_403_and_nobody_401(self, half: str, victor: Any, api_of: Any, client: Any) -> None:
        viewer = Tus(api_of(victor))
        assert [viewer.begin(5).status_code, viewer.piece(half, 100, b"x").status_code] == [403, 403]
        nobody = Tus(client)
        assert [nobody.begin(5).status_code, nobody.piece(half, 100, b"x").status_code] == [401, 401]

    def test_a_session_needs_the_csrf_token(self, dana: Any) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(dana)
        client.get("/datasets/upload/")
        assert Tus(client).begin(len(TABLE)).status_code == 403
        token = client.cookies["csrftoken"].value
        answer = Tus(client).begin(len(TABLE), X_CSRFToken=token)
        assert answer.status_code == 201
        assert Tus(client).piece(answer.headers["Location"], 0, b"x").status_code == 403
        assert Tus(client).piece(answer.headers["Location"], 0, b"x", X_CSRFToken=token).status_code == 204

    def test_a_colleague_can_go_on(self, half: str, bob: Any, api_of: Any) -> None:
        assert Tus(api_of(bob)).piece(half, 100, TABLE[100:]).status_code == 204

    def test_the_data_set_must_be_ones_own(self, tus: Tus, cancer: Dataset, charlie: Any) -> None:
        mine = tus.begin(10, Upload_Metadata=encoded(filename="a.csv", dataset=str(cancer.pk)))
        assert mine.status_code == 201 and Transfer.objects.get().dataset == cancer
        others = Dataset.objects.create(organisation=charlie.last_organisation, name="Secret", split_salt="x")
        for wrong in (str(others.pk), "no id"):
            answer = tus.begin(10, Upload_Metadata=encoded(dataset=wrong))
            assert answer.status_code == 400 and answer.json()["type"] == "urn:aimass:problem:unknown-dataset"
