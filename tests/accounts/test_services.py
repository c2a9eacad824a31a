"""The services of accounts: what they write, refuse and audit."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import services
from accounts.actor import Actor
from accounts.keys import actor_for_key
from accounts.models import ApiKey, AuditEvent, Invitation, Membership, Organisation, Preference
from accounts.permissions import ROLES, Permission
from accounts.signals import preferences_changed
from tests.conftest import actor, make_user


def events(action):
    return AuditEvent.objects.filter(action=action)


class TestOrganisations:
    def test_its_creator_becomes_administrator_and_works_there(self, db):
        user = make_user("new@example.org", None, "")
        organisation = services.create_organisation(actor=Actor(user=user), name="  North   Clinic ")
        assert organisation.name == "North Clinic"
        assert user.memberships.get().role == "administrator"
        user.refresh_from_db()
        assert user.last_organisation == organisation
        assert events("organisation.created").get().organisation == organisation

    @pytest.mark.parametrize("name", ["", "   ", "x" * 151])
    def test_a_bad_name_creates_nothing(self, alice, name):
        with pytest.raises(ValidationError):
            services.create_organisation(actor=actor(alice), name=name)
        assert Organisation.objects.count() == 1

    def test_switching_needs_ones_own_membership(self, alice, charlie):
        with pytest.raises(ValueError, match="own organisations"):
            services.switch_organisation(actor=actor(alice), membership=charlie.memberships.get())

    def test_renaming_is_audited_with_before_and_after(self, alice):
        services.rename_organisation(actor=actor(alice), name="St Mary's East")
        assert events("organisation.renamed").get().detail == {"before": "St Mary's", "after": "St Mary's East"}


class TestInvitations:
    def test_the_whole_way(self, alice, organisation, mailoutbox, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            invitation, token = services.invite(actor=actor(alice), email=" New@Example.org ", role="clinician")
        assert token in mailoutbox[0].body and mailoutbox[0].to == ["new@example.org"]
        assert "St Mary's" in mailoutbox[0].subject and "Clinician" in mailoutbox[0].body
        assert token not in invitation.token_hash and services.invitation_of(token) == invitation
        user = make_user("new@example.org", None, "")
        membership = services.accept_invitation(actor=Actor(user=user), invitation=invitation)
        assert (membership.organisation, membership.role) == (organisation, "clinician")
        assert services.invitation_of(token) is None
        assert events("member.joined").get().organisation == organisation

    def test_it_works_once(self, alice):
        invitation, _token = services.invite(actor=actor(alice), email="new@example.org", role="clinician")
        user = make_user("new@example.org", None, "")
        services.accept_invitation(actor=Actor(user=user), invitation=invitation)
        user.memberships.all().delete()
        with pytest.raises(ValidationError, match="used, withdrawn or has expired"):
            services.accept_invitation(actor=Actor(user=user), invitation=invitation)
        assert not user.memberships.exists()

    def test_it_is_bound_to_the_address(self, alice, charlie):
        invitation, _token = services.invite(actor=actor(alice), email="new@example.org", role="administrator")
        with pytest.raises(ValidationError, match="another e-mail address"):
            services.accept_invitation(actor=actor(charlie), invitation=invitation)
        assert charlie.memberships.count() == 1

    def test_an_address_that_is_not_verified_does_not_count(self, alice):
        invitation, _token = services.invite(actor=actor(alice), email="new@example.org", role="clinician")
        user = make_user("new@example.org", None, "")
        user.emailaddress_set.update(verified=False)
        with pytest.raises(ValidationError):
            services.accept_invitation(actor=Actor(user=user), invitation=invitation)

    def test_it_expires(self, alice):
        invitation, token = services.invite(actor=actor(alice), email="new@example.org", role="clinician")
        Invitation.objects.filter(pk=invitation.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
        assert services.invitation_of(token) is None
        with pytest.raises(ValidationError):
            services.accept_invitation(actor=Actor(user=make_user("new@example.org", None, "")), invitation=invitation)

    def test_a_revoked_one_is_useless(self, alice):
        invitation, token = services.invite(actor=actor(alice), email="new@example.org", role="clinician")
        services.revoke_invitation(actor=actor(alice), invitation=invitation)
        assert services.invitation_of(token) is None
        services.revoke_invitation(actor=actor(alice), invitation=invitation)
        assert events("invitation.revoked").count() == 1

    def test_inviting_again_replaces_the_first_link(self, alice):
        _first, old = services.invite(actor=actor(alice), email="new@example.org", role="clinician")
        _second, new = services.invite(actor=actor(alice), email="NEW@example.org", role="auditor")
        assert services.invitation_of(old) is None
        assert services.invitation_of(new).role == "auditor"

    def test_a_member_is_not_invited(self, alice, bob):
        with pytest.raises(ValidationError, match="already a member"):
            services.invite(actor=actor(alice), email=bob.email.upper(), role="auditor")

    def test_a_broken_mail_server_does_not_undo_it(self, alice, settings, django_capture_on_commit_callbacks):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
        with django_capture_on_commit_callbacks(execute=True):
            services.invite(actor=actor(alice), email="new@example.org", role="clinician")
        assert Invitation.objects.open().count() == 1


class TestMembers:
    def test_the_last_administrator_stays(self, alice, bob):
        membership = alice.memberships.get()
        with pytest.raises(ValidationError, match="last administrator"):
            services.change_role(actor=actor(alice), membership=membership, role="clinician")
        with pytest.raises(ValidationError, match="last administrator"):
            services.remove_member(actor=actor(alice), membership=membership)
        assert Membership.objects.get(pk=membership.pk).role == "administrator"

    def test_one_of_two_may_go(self, alice, bob):
        services.change_role(actor=actor(alice), membership=bob.memberships.get(), role="administrator")
        services.remove_member(actor=actor(bob), membership=alice.memberships.get())
        assert not alice.memberships.exists()
        assert events("member.role_changed").get().detail == {"before": "clinician", "after": "administrator"}
        assert events("member.removed").get().actor_user == bob

    def test_removal_ends_their_keys_and_their_place(self, alice, bob, organisation):
        key, plain = services.create_key(actor=actor(bob), name="ward", scopes=["data:read"])
        assert actor_for_key(plain) is not None
        services.remove_member(actor=actor(alice), membership=bob.memberships.get())
        assert actor_for_key(plain) is None
        key.refresh_from_db()
        bob.refresh_from_db()
        assert key.revoked_at is not None and bob.last_organisation is None

    def test_a_new_role_counts_for_keys_at_once(self, alice, dana):
        _key, plain = services.create_key(actor=actor(dana), name="lab", scopes=["data:export", "data:read"])
        assert actor_for_key(plain).may(Permission.EXPORT_DATA)
        services.change_role(actor=actor(alice), membership=dana.memberships.get(), role="clinician")
        assert not actor_for_key(plain).may(Permission.EXPORT_DATA)
        assert actor_for_key(plain).may(Permission.VIEW_DATA)

    def test_an_unknown_role_is_refused(self, alice, bob):
        with pytest.raises(ValidationError):
            services.change_role(actor=actor(alice), membership=bob.memberships.get(), role="emperor")


class TestKeys:
    def test_the_plain_text_is_nowhere_in_the_database(self, bob):
        key, plain = services.create_key(actor=actor(bob), name="ward", scopes=["data:read"], days=30)
        stored = str(ApiKey.objects.filter(pk=key.pk).values().get()) + str(list(AuditEvent.objects.values()))
        assert plain not in stored and plain.startswith(key.prefix) and len(plain) > 40
        assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)

    @pytest.mark.parametrize("days", [0, -1, 366])
    def test_it_lives_between_a_day_and_a_year(self, bob, days):
        with pytest.raises(ValidationError, match="1 to 365"):
            services.create_key(actor=actor(bob), name="ward", scopes=["data:read"], days=days)

    @pytest.mark.parametrize("scopes", [[], ["members:manage"], ["nonsense"], ["data:read", "data:erase"]])
    def test_a_role_gives_only_what_it_has(self, bob, scopes):
        with pytest.raises(ValidationError):
            services.create_key(actor=actor(bob), name="ward", scopes=scopes)
        assert not ApiKey.objects.exists()

    def test_a_key_cannot_make_a_stronger_or_longer_key(self, alice):
        parent, plain = services.create_key(actor=actor(alice), name="a", scopes=["keys:manage", "data:read"], days=2)
        held = actor_for_key(plain)
        with pytest.raises(ValidationError):
            services.create_key(actor=held, name="b", scopes=["data:write"])
        child, _plain = services.create_key(actor=held, name="b", scopes=["data:read"], days=365)
        assert child.expires_at == parent.expires_at

    def test_a_revoked_key_stops_at_once(self, bob):
        key, plain = services.create_key(actor=actor(bob), name="ward", scopes=["data:read"])
        assert actor_for_key(plain).user == bob
        services.revoke_key(actor=actor(bob), key=key)
        assert actor_for_key(plain) is None
        services.revoke_key(actor=actor(bob), key=key)
        assert events("key.revoked").count() == 1

    def test_a_key_allows_what_both_it_and_the_role_allow(self, bob):
        key, plain = services.create_key(actor=actor(bob), name="ward", scopes=["data:read"])
        ApiKey.objects.filter(pk=key.pk).update(scopes=["data:read", "members:manage", "was:removed"])
        assert actor_for_key(plain).permissions == {Permission.VIEW_DATA}


class TestPreferences:
    def save(self, user, **changes):
        given = {"outcome": "heart disease", "weights": {"sensitivity": 2, "specificity": 0}, "floors": {"sensitivity": 0.95}}
        return services.save_preference(actor=actor(user), **(given | changes))

    def test_it_is_stored_and_told_after_commit(self, bob, organisation, django_capture_on_commit_callbacks):
        heard = []

        def listen(sender, organisation, user, **kwargs):
            heard.append((organisation, user))

        preferences_changed.connect(listen)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                self.save(bob)
                assert heard == []
        finally:
            preferences_changed.disconnect(listen)
        assert heard == [(organisation, bob)]
        assert Preference.objects.get(user=bob).weights == {"sensitivity": 2.0}

    def test_saving_again_changes_the_one_row(self, bob):
        self.save(bob)
        self.save(bob, outcome="stroke")
        assert Preference.objects.get(user=bob).outcome == "stroke"

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"outcome": " "}, "outcome"),
            ({"outcome": "x" * 201}, "outcome"),
            ({"weights": {}}, "weights"),
            ({"weights": {"sensitivity": 0}}, "weights"),
            ({"weights": {"sensitivity": -1}}, "weights"),
            ({"weights": {"sensitivity": 11}}, "weights"),
            ({"weights": {"sensitivity": float("nan")}}, "weights"),
            ({"weights": {"sensitivity": 10**400}}, "weights"),
            ({"weights": {"sensitivity": "2"}}, "weights"),
            ({"weights": {"charm": 1}}, "weights"),
            ({"floors": {"sensitivity": 1.1}}, "floors"),
            ({"floors": {"mae": -1}}, "floors"),
            ({"floors": {"charm": 1}}, "floors"),
        ],
    )
    def test_what_makes_no_sense_is_refused_and_the_field_named(self, bob, changes, field):
        with pytest.raises(ValidationError) as caught:
            self.save(bob, **changes)
        assert list(caught.value.message_dict) == [field]
        assert not Preference.objects.exists()


def test_every_role_can_be_given_only_known_permissions():
    for role in ROLES.values():
        assert role.permissions <= set(Permission)
        assert str(role.label) and str(role.description)
    changing = {p for p in Permission if not p.value.endswith(":read")}
    assert not ROLES["auditor"].permissions & changing
