"""The pages of organisations, members and invitations: for members, the unentitled and outsiders."""

import pytest
from django.urls import reverse

from accounts import services
from accounts.models import AuditEvent, Invitation, Membership, Organisation
from tests.conftest import actor, make_user


@pytest.fixture
def homeless(db):
    return make_user("new@example.org", None, "")


def invited(alice, email="new@example.org", role="clinician"):
    return services.invite(actor=actor(alice), email=email, role=role)


class TestCreating:
    url = "/organisations/new/"

    def test_it_works(self, client_of, homeless):
        response = client_of(homeless).post(self.url, {"name": "North Clinic"})
        assert response.status_code == 302 and response["Location"] == reverse("accounts:welcome")
        assert Membership.objects.get(user=homeless).organisation.name == "North Clinic"

    def test_nobody_is_sent_to_the_login_page(self, client, db):
        assert client.get(self.url)["Location"].startswith("/accounts/login/")

    def test_the_homeless_are_sent_there_from_everywhere(self, client_of, homeless):
        assert client_of(homeless).get("/members/")["Location"] == self.url
        assert client_of(homeless).get(self.url).status_code == 200

    def test_an_empty_name_is_explained(self, client_of, homeless):
        response = client_of(homeless).post(self.url, {"name": " "})
        assert response.status_code == 200 and b"form-error" in response.content
        assert not Organisation.objects.exists()

    def test_it_offers_the_invitations_that_wait(self, client_of, alice, homeless):
        invitation, _token = invited(alice)
        client = client_of(homeless)
        assert "St Mary&#x27;s" in client.get(self.url).content.decode()
        client.post(reverse("accounts:invitation_accept", args=[invitation.pk]))
        assert homeless.memberships.get().role == "clinician"

    def test_an_invitation_of_somebody_else_cannot_be_accepted_by_number(self, client_of, alice, charlie):
        invitation, _token = invited(alice)
        assert client_of(charlie).post(reverse("accounts:invitation_accept", args=[invitation.pk])).status_code == 404
        assert charlie.memberships.count() == 1


class TestSwitching:
    def test_a_form_from_before_the_switch_changes_nothing(self, client_of, alice, other_organisation):
        """Two tabs: what was filled in for one hospital never lands in the other."""
        Membership.objects.create(organisation=other_organisation, user=alice, role="administrator")
        client, url = client_of(alice), reverse("accounts:invite")
        page = client.get(url).content.decode()
        home = alice.last_organisation
        assert f'name="for_organisation" value="{home.pk}"' in page
        form = {"email": "new@example.org", "role": "clinician", "for_organisation": str(home.pk)}
        client.post(reverse("accounts:switch"), {"organisation": str(other_organisation.pk)})
        response = client.post(url, form)
        assert response.status_code == 409 and "Nothing was changed" in response.content.decode()
        assert not Invitation.objects.exists()
        client.post(reverse("accounts:switch"), {"organisation": str(home.pk)})
        assert client.post(url, form).status_code == 302
        assert Invitation.objects.get().organisation == home

    def test_it_works(self, client_of, alice, other_organisation):
        Membership.objects.create(organisation=other_organisation, user=alice, role="auditor")
        client = client_of(alice)
        client.post(reverse("accounts:switch"), {"organisation": str(other_organisation.pk)})
        page = client.get("/members/").content.decode()
        assert "Elsewhere Clinic" in page and "Invite somebody" not in page

    @pytest.mark.parametrize("value", ["", "junk", "\0", "00000000-0000-0000-0000-000000000000"])
    def test_outsider_gets_404(self, client_of, alice, value):
        assert client_of(alice).post(reverse("accounts:switch"), {"organisation": value}).status_code == 404

    def test_another_organisation_is_404(self, client_of, alice, charlie, other_organisation):
        response = client_of(alice).post(reverse("accounts:switch"), {"organisation": str(other_organisation.pk)})
        assert response.status_code == 404

    def test_looking_does_not_switch(self, client_of, alice):
        assert client_of(alice).get(reverse("accounts:switch")).status_code == 405


class TestSettings:
    url = "/organisation/"

    def test_it_works(self, client_of, alice, organisation):
        client_of(alice).post(self.url, {"name": "St Mary's West"})
        organisation.refresh_from_db()
        assert organisation.name == "St Mary's West"

    def test_clinician_gets_403(self, client_of, bob, organisation):
        assert client_of(bob).post(self.url, {"name": "Mine"}).status_code == 403
        organisation.refresh_from_db()
        assert organisation.name == "St Mary's"


class TestMembers:
    def test_every_role_sees_the_members_and_what_roles_mean(self, client_of, alice, bob, victor):
        page = client_of(victor).get("/members/").content.decode()
        assert "alice@example.org" in page and "bob@example.org" in page
        assert "Reads everything, also the audit log, and changes nothing." in page
        assert "Change role" not in page and "Invite somebody" not in page

    def test_outsiders_see_only_their_own(self, client_of, alice, charlie):
        assert "alice@example.org" not in client_of(charlie).get("/members/").content.decode()

    def test_the_number_of_queries_does_not_grow(self, client_of, alice, organisation, django_assert_max_num_queries):
        for number in range(20):
            make_user(f"m{number}@example.org", organisation, "clinician")
            invited(alice, f"i{number}@example.org")
        client = client_of(alice)
        with django_assert_max_num_queries(9):
            client.get("/members/")


class TestRole:
    def test_it_works(self, client_of, alice, bob):
        client_of(alice).post(f"/members/{bob.memberships.get().pk}/role/", {"role": "auditor"})
        assert bob.memberships.get().role == "auditor"

    def test_the_last_administrator_is_told_why_not(self, client_of, alice):
        response = client_of(alice).post(f"/members/{alice.memberships.get().pk}/role/", {"role": "auditor"})
        assert "This is the last administrator" in response.content.decode()
        assert alice.memberships.get().role == "administrator"

    def test_outsider_gets_404(self, client_of, alice, bob, charlie):
        pk = bob.memberships.get().pk
        assert client_of(charlie).get(f"/members/{pk}/role/").status_code == 404
        assert client_of(charlie).post(f"/members/{pk}/role/", {"role": "auditor"}).status_code == 404
        assert bob.memberships.get().role == "clinician"

    @pytest.mark.parametrize("person", ["bob", "dana", "victor"])
    def test_viewer_gets_403(self, client_of, person, bob, alice, request):
        user = request.getfixturevalue(person)
        pk = user.memberships.get().pk
        assert client_of(user).post(f"/members/{pk}/role/", {"role": "administrator"}).status_code == 403
        assert user.memberships.get().role != "administrator"
        assert AuditEvent.objects.get(action="access.denied").outcome == "denied"


class TestRemoving:
    def test_it_asks_first(self, client_of, alice, bob):
        pk = bob.memberships.get().pk
        assert "API keys" in client_of(alice).get(f"/members/{pk}/remove/").content.decode()
        assert bob.memberships.exists()
        client_of(alice).post(f"/members/{pk}/remove/")
        assert not bob.memberships.exists()

    def test_the_last_administrator_stays(self, client_of, alice):
        client_of(alice).post(f"/members/{alice.memberships.get().pk}/remove/")
        assert alice.memberships.exists()

    def test_outsider_gets_404(self, client_of, alice, bob, charlie):
        assert client_of(charlie).post(f"/members/{bob.memberships.get().pk}/remove/").status_code == 404

    def test_a_removed_person_loses_everything_at_once(self, client_of, alice, bob):
        browser = client_of(bob)
        assert browser.get("/members/").status_code == 200
        services.remove_member(actor=actor(alice), membership=bob.memberships.get())
        assert browser.get("/members/").status_code == 302


class TestInvitationPages:
    def test_it_works(self, client_of, alice, homeless, mailoutbox, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            client_of(alice).post("/members/invite/", {"email": "new@example.org", "role": "data_scientist"})
        link = next(line for line in mailoutbox[0].body.splitlines() if "/invitations/" in line)
        path = link.removeprefix("http://127.0.0.1:8000")
        client = client_of(homeless)
        assert "Data scientist" in client.get(path).content.decode()
        assert not homeless.memberships.exists()
        assert client.post(path)["Location"] == reverse("accounts:welcome")
        assert homeless.memberships.get().role == "data_scientist"
        assert client.get(path).status_code == 404

    def test_nobody_signs_in_first_and_comes_back(self, client, alice):
        _invitation, token = invited(alice)
        assert token in client.get(f"/invitations/{token}/")["Location"]

    def test_somebody_else_cannot_use_it(self, client_of, alice, charlie):
        _invitation, token = invited(alice)
        page = client_of(charlie).get(f"/invitations/{token}/").content.decode()
        assert "You are signed in as charlie@elsewhere.example" in page
        client_of(charlie).post(f"/invitations/{token}/")
        assert charlie.memberships.count() == 1

    def test_a_guessed_token_is_404(self, client_of, homeless):
        assert client_of(homeless).get("/invitations/guess/").status_code == 404

    def test_withdrawing(self, client_of, alice, bob, charlie):
        invitation, token = invited(alice)
        url = reverse("accounts:invitation_revoke", args=[invitation.pk])
        assert client_of(charlie).post(url).status_code == 404
        assert client_of(bob).post(url).status_code == 403
        assert services.invitation_of(token) is not None
        client_of(alice).post(url)
        assert services.invitation_of(token) is None

    def test_clinician_gets_403(self, client_of, bob):
        assert client_of(bob).post("/members/invite/", {"email": "x@example.org", "role": "auditor"}).status_code == 403
        assert not Invitation.objects.exists()

    @pytest.mark.parametrize("data", [{"email": "x", "role": "auditor"}, {"email": "x@y.org", "role": "king"}, {}])
    def test_what_is_wrong_is_said(self, client_of, alice, data):
        response = client_of(alice).post("/members/invite/", data)
        assert response.status_code == 200 and b"form-error" in response.content
        assert not Invitation.objects.exists()
