"""Champions are in memory before the first request asks for them; what cannot be loaded stops nothing."""

from typing import Any

import pytest

from inference import warming
from training import artefacts
from training.models import Model

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: Any) -> None:
    from collections import OrderedDict

    monkeypatch.setattr(artefacts, "_loaded", OrderedDict())


def test_champions_are_loaded_and_others_are_not(heart_version: Any, notes_version: Any) -> None:
    Model.objects.filter(pk=notes_version.model_id).update(champion=None)
    assert warming.warm() == 1
    assert [key[0] for key in artefacts._loaded] == [heart_version.pk]


def test_damaged_artefact_is_left_out(heart_version: Any, notes_version: Any) -> None:
    type(heart_version).objects.filter(pk=heart_version.pk).update(artefact_hash="0" * 64)
    assert warming.warm() == 1
    assert [key[0] for key in artefacts._loaded] == [notes_version.pk]


def test_memory_is_bounded_and_the_last_asked_come_first(
    bob: Any, heart_version: Any, notes_version: Any, monkeypatch: Any
) -> None:
    from inference.services import diagnose
    from tests.conftest import actor

    diagnose(actor=actor(bob), version=heart_version, records=[{"age": 60}])
    monkeypatch.setattr(warming, "MOST_VERSIONS", 1)
    assert [v.pk for v in warming.wanted()] == [heart_version.pk]
    monkeypatch.setattr(warming, "MOST_BYTES", heart_version.artefact_bytes - 1)
    assert warming.wanted() == []
