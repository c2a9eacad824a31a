"""Two people at the same moment: an organisation keeps an administrator, an invitation is used once."""

import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from accounts import services
from accounts.actor import Actor
from accounts.models import AuditEvent, IdempotencyKey, Membership
from accounts.tasks import KEPT_DAYS, forget_idempotency_keys
from tests.conftest import actor, make_user


def together(*calls):
    """Run the calls at the same moment, each in a thread with a connection of its own; what each one raised."""
    start, raised = threading.Barrier(len(calls)), []

    def run(call):
        start.wait()
        try:
            call()
        except ValidationError as error:
            raised.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.mark.django_db(transaction=True)
def test_two_administrators_cannot_both_step_down(alice, organisation):
    carol = make_user("carol@example.org", organisation, "administrator")
    first, second = alice.memberships.get(), carol.memberships.get()
    by_alice, by_carol = actor(alice), actor(carol)
    raised = together(
        lambda: services.change_role(actor=by_alice, membership=first, role="clinician"),
        lambda: services.remove_member(actor=by_carol, membership=second),
    )
    assert len(raised) == 1 and "last administrator" in str(raised[0])
    assert Membership.objects.filter(organisation=organisation, role="administrator").count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_invitation_is_used_once_however_often_it_is_clicked(alice):
    invitation, _token = services.invite(actor=actor(alice), email="new@example.org", role="clinician")
    user = make_user("new@example.org", None, "")
    click = lambda: services.accept_invitation(actor=Actor(user=user), invitation=invitation)  # noqa: E731
    raised = together(click, click, click)
    assert len(raised) == 2 and user.memberships.count() == 1
    assert AuditEvent.objects.filter(action="member.joined").count() == 1


def test_old_remembered_answers_are_forgotten(organisation):
    now = timezone.now()
    for name, age in (("old", timedelta(days=KEPT_DAYS, minutes=1)), ("new", timedelta(hours=1))):
        row = IdempotencyKey.objects.create(organisation=organisation, key=name, request_hash="x")
        IdempotencyKey.objects.filter(pk=row.pk).update(created_at=now - age)
    assert forget_idempotency_keys() == 1
    assert IdempotencyKey.objects.get().key == "new"
