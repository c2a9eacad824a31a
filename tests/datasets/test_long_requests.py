"""Long creating requests with an Idempotency-Key: they hold no transaction, happen once, and can be tried again."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import IdempotencyKey
from accounts.rest.idempotency import CLAIM_LASTS
from datasets.models import Dataset, DatasetVersion, Upload

KEY = {"Idempotency-Key": "long"}


def freeze_at(dataset: Dataset) -> str:
    return f"/api/v1/datasets/{dataset.pk}/versions/"


def watched(monkeypatch: Any, module: Any, name: str, during: Any) -> None:
    """Call `during` before the real function does its work."""
    real = getattr(module, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        during()
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, call)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["upload", "freeze", "run"])
def test_long_work_holds_no_transaction_and_a_repeat_meanwhile_is_told_so(
    cancer: Dataset, dana: Any, api_of: Any, monkeypatch: Any, what: str
) -> None:
    from datasets import api as datasets_api
    from datasets import intake
    from training import services

    api = api_of(dana)
    seen: list[Any] = []

    def send() -> Any:
        if what == "upload":
            file = io.BytesIO(b"mrn,age\np1,60\np2,70\n")
            file.name = "a.csv"
            return api.post("/api/v1/uploads/", {"file": file}, format="multipart", headers=KEY)
        if what == "freeze":
            return api.post(freeze_at(cancer), headers=KEY)
        return api.post("/api/v1/training-runs/", {"dataset": str(cancer.pk), "options": {}}, headers=KEY)

    def during() -> None:
        if not seen:
            seen.append(connection.in_atomic_block)
            seen.append(send())

    module, name = {
        "upload": (intake, "build"), "freeze": (datasets_api, "freeze"), "run": (services, "start_run")
    }[what]  # fmt: skip
    watched(monkeypatch, module, name, during)
    first = send()
    in_transaction, meanwhile = seen
    assert first.status_code == 201, first.data
    assert in_transaction is False
    assert meanwhile.status_code == 409 and meanwhile.data["type"] == "urn:aimass:problem:in-progress"
    again = send()
    assert again.json() == first.json() and again["Idempotent-Replayed"] == "true"
    assert Upload.objects.count() == (what == "upload")
    assert DatasetVersion.objects.count() == (what != "upload")


def test_what_was_refused_or_failed_may_be_tried_again(
    cancer: Dataset, dana: Any, api_of: Any, monkeypatch: Any
) -> None:
    from datasets import api as datasets_api

    def fail() -> None:
        raise RuntimeError("the disk is full")

    api = api_of(dana)
    Dataset.objects.filter(pk=cancer.pk).update(record_count=10**9)
    assert api.post(freeze_at(cancer), headers=KEY).status_code == 409
    Dataset.objects.filter(pk=cancer.pk).update(record_count=120)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        watched(patch, datasets_api, "freeze", fail)
        api.post(freeze_at(cancer), headers=KEY)
    assert not IdempotencyKey.objects.exists()
    assert api.post(freeze_at(cancer), headers=KEY).status_code == 201


def test_the_claim_of_a_dead_process_is_taken_over_in_the_end(
    cancer: Dataset, dana: Any, api_of: Any
) -> None:
    api = api_of(dana)
    first = api.post(freeze_at(cancer), headers=KEY)
    claims = IdempotencyKey.objects.filter(key="long")
    claims.update(status=None, body=None)
    assert api.post(freeze_at(cancer), headers=KEY).status_code == 409, "it may still be running"
    claims.update(created_at=timezone.now() - CLAIM_LASTS - timedelta(seconds=1))
    assert api.post("/api/v1/uploads/", {}, format="multipart", headers=KEY).status_code == 422
    taken = api.post(freeze_at(cancer), headers=KEY)
    assert taken.status_code == 200 and taken.json()["id"] == first.json()["id"]
    assert claims.get().status == 200


def test_a_claim_that_was_taken_over_is_no_longer_answered_by_the_first(
    cancer: Dataset, dana: Any, api_of: Any, monkeypatch: Any
) -> None:
    from datasets import api as datasets_api

    claims = IdempotencyKey.objects.filter(key="long")
    watched(monkeypatch, datasets_api, "freeze", lambda: claims.update(created_at=timezone.now()))
    assert api_of(dana).post(freeze_at(cancer), headers=KEY).status_code == 201
    assert claims.get().status is None
