"""A patient who is erased while a run learns from them, or just as a process dies, stays in no stored prediction."""

from datetime import date
from typing import Any

import pytest

from datasets.erasure import erase_patient
from datasets.models import Record
from tests.conftest import actor
from tests.training.conftest import QUICK
from training import artefacts, erasure
from training.errors import ChangeRefused
from training.services import confirm_champion, start_run


def test_a_version_that_arrives_after_the_erasure_is_flagged_and_forgets(
    dataset: Any, dana: Any, alice: Any, run_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import fitting

    record = Record.objects.filter(dataset=dataset, split="test")[0]
    judge_all = fitting.judge_all

    def erased_after_judging(*args: Any) -> Any:
        made = judge_all(*args)
        erase_patient(
            actor=actor(alice), dataset=dataset, patient_key=record.patient_key, reason="asked for it"
        )
        return made

    monkeypatch.setattr(fitting, "judge_all", erased_after_judging)
    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    run_jobs()
    version = run.versions.get()
    assert version.erased_at is not None and version.retired_at is not None
    stored = artefacts.predictions(version)
    assert stored is not None and stored["records"] and record.pk not in stored["records"]
    assert len(stored["report"]["true"]) == len(stored["records"])
    with pytest.raises(ChangeRefused):
        confirm_champion(actor=actor(dana), version=version)


def test_what_a_dead_process_left_is_forgotten_at_night(
    dataset: Any,
    version: Any,
    alice: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    from training.nightly import retrain_all

    stored = artefacts.predictions(version)
    assert stored is not None
    record = Record.objects.get(pk=stored["records"][0])
    monkeypatch.setattr(erasure, "forget_all", lambda versions, gone: None)  # the process dies before it
    with django_capture_on_commit_callbacks(execute=True):
        erase_patient(
            actor=actor(alice), dataset=dataset, patient_key=record.patient_key, reason="asked for it"
        )
    left = artefacts.predictions(version)
    assert left is not None and record.pk in left["records"]
    retrain_all(date(2026, 1, 1))
    left = artefacts.predictions(version)
    assert left is not None and record.pk not in left["records"]
