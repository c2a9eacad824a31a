"""The quick inserts write what the ORM and `accounts.audit` would have written; identifiers grow."""

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.forms.models import model_to_dict

from accounts import audit
from accounts.models import AuditEvent
from inference.identifiers import first_at, uuid7s
from inference.models import Diagnosis
from inference.services import diagnose
from tests.conftest import actor
from tests.inference.stored import OLD_MAN, YOUNG_WOMAN

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("records", [[OLD_MAN], [OLD_MAN, {**YOUNG_WOMAN, "mrn": "50 % Ü “p”"}]])
def test_saved_rows_equal_the_objects_returned(bob: Any, heart_version: Any, records: list[Any]) -> None:
    for made in diagnose(actor=actor(bob), version=heart_version, records=records):
        saved = Diagnosis.objects.get(pk=made.pk)
        for field in Diagnosis._meta.concrete_fields:
            assert getattr(saved, field.attname) == getattr(made, field.attname), field.attname
        assert Diagnosis.objects.filter(inputs=made.inputs, output=made.output, pk=made.pk).exists()


@pytest.mark.parametrize("count", [1, 3])
def test_events_equal_those_of_accounts_audit(bob: Any, heart_version: Any, count: int) -> None:
    made = diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN] * count)
    detail = {"model": str(heart_version.model_id), "version": str(heart_version.pk)}
    if count > 1:
        detail["batch"] = str(made[0].batch_id)
    for event, row in zip(AuditEvent.objects.filter(action="diagnosis.created").order_by("pk"), made, strict=True):
        expected = audit.event(actor(bob), "diagnosis.created", row, **detail)
        expected.at, expected.pk = row.created_at, event.pk
        assert model_to_dict(event) == model_to_dict(expected)


def test_identifiers_grow_and_are_version_7() -> None:
    made = uuid7s(10_000)
    assert made == sorted(made)
    assert len(set(made)) == 10_000
    assert {u.version for u in made} == {7}
    assert {u.variant for u in made} == {"specified in RFC 4122"}


def test_identifier_of_a_moment_divides_before_and_after(bob: Any, heart_version: Any) -> None:
    from django.utils import timezone

    (before,) = uuid7s(1)
    moment = timezone.now() + timedelta(seconds=60)
    assert before < first_at(moment)
    assert first_at(moment - timedelta(seconds=120)) < before


class Unstorable(str):
    """A user agent that no database driver takes: the first table's row is written, the audit event is refused."""

    def __getitem__(self, _key: Any) -> Any:
        return object()


@pytest.mark.parametrize("count", [1, 2])
def test_failure_of_the_second_insert_leaves_nothing(bob: Any, heart_version: Any, count: int) -> None:
    asking = replace(actor(bob), user_agent=Unstorable("ward"))
    with pytest.raises(Exception, match=r"object|type"), transaction.atomic():
        diagnose(actor=asking, version=heart_version, records=[OLD_MAN] * count)
    assert not Diagnosis.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_both_tables_are_written_or_none(bob: Any, heart_version: Any) -> None:
    (made,) = diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN])
    assert AuditEvent.objects.filter(action="diagnosis.created", object_id=str(made.pk)).count() == 1
    with pytest.raises(Exception, match=r"object|type"):
        diagnose(actor=replace(actor(bob), user_agent=Unstorable("ward")), version=heart_version, records=[OLD_MAN])
    diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN])  # the connection is usable as before
    assert Diagnosis.objects.count() == AuditEvent.objects.filter(action="diagnosis.created").count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_writers_wait_for_each_other_and_lose_nothing(bob: Any, heart_version: Any) -> None:
    from django.db import connection

    failures: list[BaseException] = []

    def write() -> None:
        try:
            for _each in range(10):
                diagnose(actor=actor(bob), version=heart_version, records=[OLD_MAN])
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _each in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Diagnosis.objects.count() == AuditEvent.objects.filter(action="diagnosis.created").count() == 30
