"""The audit log takes events and gives none back: the model and the database both refuse changes."""

import pytest
from django.db import DatabaseError, connection, transaction

from accounts import append_only, audit
from accounts.models import AppendOnlyError, AuditEvent
from tests.conftest import actor


@pytest.fixture
def row(alice):
    return audit.record(actor(alice), "record.read", alice)


def test_an_event_can_be_added_and_read(row):
    assert AuditEvent.objects.get(pk=row.pk).action == "record.read"


def test_the_model_refuses_to_change_or_delete(row):
    row.action = "something.else"
    for attempt in (
        row.save,
        row.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.filter(pk=row.pk).update(action="x"),
        lambda: AuditEvent.objects.bulk_update([row], ["action"]),
    ):
        with pytest.raises(AppendOnlyError):
            attempt()
    assert AuditEvent.objects.get(pk=row.pk).action == "record.read"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditevent SET action = 'x'",
        "DELETE FROM accounts_auditevent",
        "DELETE FROM accounts_auditevent WHERE id = {pk}",
    ],
)
def test_the_database_refuses_too(row, statement):
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(pk=row.pk))
    assert AuditEvent.objects.filter(pk=row.pk, action="record.read").exists()


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL has TRUNCATE")
def test_postgresql_refuses_to_truncate(row):
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE accounts_auditevent")


def test_removing_an_organisation_or_a_person_leaves_their_events(row, alice, organisation):
    alice.last_organisation = None
    organisation.delete()
    alice.delete()
    kept = AuditEvent.objects.get(pk=row.pk)
    assert kept.actor_label == "alice@example.org"
    assert kept.organisation_id is not None


def test_migrating_puts_lost_triggers_back(row):
    append_only.remove(connection)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_auditevent SET action = 'lost'")
    append_only.after_migrate(using="default")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_auditevent SET action = 'again'")


@pytest.mark.django_db(transaction=True)
class TestTransactional:
    """Tests that commit for real can still clean up, and the triggers are there again for the next one."""

    def test_first(self, row):
        assert AuditEvent.objects.filter(action="record.read").count() == 1

    def test_second(self, row):
        assert AuditEvent.objects.filter(action="record.read").count() == 1
        with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
            cursor.execute("DELETE FROM accounts_auditevent")
