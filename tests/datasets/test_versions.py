"""Freezing a data set: real rows in, the same rows out, by split, with a hash that only their content decides."""

from typing import Any

import numpy as np
import pytest

from datasets import parquet, versions
from datasets.models import Dataset, Record, StoredFile, Upload
from datasets.records import add_records, change_label
from datasets.services import create_dataset
from tests.conftest import actor
from tests.datasets.conftest import COLUMNS, rows


def test_frozen_rows_come_back_as_they_are(cancer: Dataset, dana: Any) -> None:
    version = versions.freeze(actor=actor(dana), dataset=cancer)
    frame = versions.frame(version)
    assert len(frame) == version.record_count == 120
    assert frame["mean radius"].dtype == "float64" and frame["diagnosis"].dtype == object
    for given, (_index, row) in zip(rows(), frame.iterrows(), strict=True):
        assert row.to_dict() == given
    assert version.patient_count == 108
    assert frame.index.tolist() == list(
        Record.objects.filter(dataset=cancer).order_by("id").values_list("id", flat=True)
    )


def test_splits_are_apart_and_no_patient_is_on_both_sides(cancer: Dataset, dana: Any) -> None:
    version = versions.freeze(actor=actor(dana), dataset=cancer)
    train, test = versions.frame(version, "train"), versions.frame(version, "test")
    assert len(train) + len(test) == 120 and len(test) == version.test_count == cancer.test_count > 0
    assert not set(train["mrn"]) & set(test["mrn"])


def test_freezing_again_gives_the_same_version_until_something_changes(cancer: Dataset, dana: Any) -> None:
    who = actor(dana)
    first = versions.freeze(actor=who, dataset=cancer)
    assert versions.freeze(actor=who, dataset=cancer) == first
    record = Record.objects.filter(dataset=cancer).first()
    assert record is not None
    change_label(actor=who, record=record, value="unsure", reason="second reading")
    second = versions.freeze(actor=who, dataset=cancer)
    assert (second.number, second != first) == (2, True)
    assert second.content_hash != first.content_hash
    assert (
        versions.frame(first).loc[record.pk, "diagnosis"]
        != "unsure"
        == versions.frame(second).loc[record.pk, "diagnosis"]
    )


def test_hash_does_not_depend_on_the_chunks(cancer: Dataset, dana: Any, monkeypatch: Any) -> None:
    version = versions.freeze(actor=actor(dana), dataset=cancer)
    version_hash = version.content_hash
    version.delete()
    monkeypatch.setattr(parquet, "CHUNK", 7)
    again = versions.freeze(actor=actor(dana), dataset=cancer)
    assert again.content_hash == version_hash
    assert len(versions.frame(again)) == 120


def test_frames_come_in_bounded_pieces_and_chosen_columns(cancer: Dataset, dana: Any) -> None:
    version = versions.freeze(actor=actor(dana), dataset=cancer)
    pieces = list(versions.iter_frames(version, "train", rows=50, columns=["diagnosis", "mean radius"]))
    assert all(0 < len(piece) <= 50 for piece in pieces)
    assert [list(piece) for piece in pieces] == [["diagnosis", "mean radius"]] * len(pieces)
    whole = versions.frame(version, "train", columns=["diagnosis", "mean radius"])
    assert sum(map(len, pieces)) == len(whole)
    with pytest.raises(KeyError):
        versions.frame(version, columns=["nothing"])


def test_missing_values_are_nan_and_none(dana: Any) -> None:
    who = actor(dana)
    dataset = create_dataset(actor=who, name="Gaps", columns=COLUMNS)
    add_records(
        actor=who, dataset=dataset, rows=[{"mrn": "A", "mean radius": None, "diagnosis": ""}], source="api"
    )
    frame = versions.frame(versions.freeze(actor=who, dataset=dataset))
    assert np.isnan(frame["mean radius"].iloc[0]) and frame["diagnosis"].iloc[0] is None


def test_nothing_to_freeze_is_said(dana: Any) -> None:
    dataset = create_dataset(actor=actor(dana), name="Empty", columns=COLUMNS)
    with pytest.raises(versions.FreezeRefused):
        versions.freeze(actor=actor(dana), dataset=dataset)


def test_a_patient_erased_while_freezing_is_not_in_the_version(
    cancer: Dataset, dana: Any, monkeypatch: Any
) -> None:
    """The erasure commits after the rows were read, just before the version is kept."""
    from datasets.erasure import erase_patient

    who, keep = actor(dana), versions._keep
    key = Record.objects.filter(dataset=cancer).values_list("patient_key", flat=True)[0]
    gone = set(Record.objects.filter(dataset=cancer, patient_key=key).values_list("id", flat=True))

    def erased_first(*args: Any) -> Any:
        monkeypatch.setattr(versions, "_keep", keep)
        erase_patient(actor=who, dataset=cancer, patient_key=key, reason="asked for it")
        return keep(*args)

    monkeypatch.setattr(versions, "_keep", erased_first)
    version = versions.freeze(actor=who, dataset=cancer)
    assert gone and not gone & set(versions.frame(version).index)
    assert version.record_count == 120 - len(gone)


def test_half_an_upload_is_never_frozen(cancer: Dataset, dana: Any) -> None:
    file = StoredFile.objects.create(organisation=cancer.organisation, sha256="0" * 64, size=1, path="x")
    upload = Upload.objects.create(
        organisation=cancer.organisation, dataset=cancer, file=file, original_name="a.csv", state="importing"
    )
    with pytest.raises(versions.FreezeRefused):
        versions.freeze(actor=actor(dana), dataset=cancer)
    Upload.objects.filter(pk=upload.pk).update(state="imported")
    assert versions.freeze(actor=actor(dana), dataset=cancer).record_count == 120
