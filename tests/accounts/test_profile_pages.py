"""The profile: name and language; the language follows the person."""

import pytest

from accounts.models import AuditEvent


def test_it_works(client_of, bob):
    client = client_of(bob)
    client.post("/profile/", {"full_name": "Bob  Builder", "language": "zh-hans"})
    bob.refresh_from_db()
    assert (bob.full_name, bob.language) == ("Bob Builder", "zh-hans")
    assert AuditEvent.objects.filter(action="profile.saved", actor_user=bob).exists()
    assert 'lang="zh-hans"' in client.get("/profile/").content.decode()


def test_an_unknown_language_is_refused(client_of, bob):
    client_of(bob).post("/profile/", {"full_name": "Bob", "language": "tlh"})
    bob.refresh_from_db()
    assert bob.language == ""


def test_somebody_without_an_organisation_has_a_profile_too(client_of, db):
    from tests.conftest import make_user

    assert client_of(make_user("new@example.org", None, "")).get("/profile/").status_code == 200


def test_nobody_is_sent_to_the_login_page(client, db):
    assert client.get("/profile/")["Location"].startswith("/accounts/login/")


class TestLanguage:
    def test_the_persons_choice_wins_over_the_browsers(self, client_of, bob):
        bob.language = "zh-hans"
        bob.save()
        response = client_of(bob).get("/profile/", headers={"accept-language": "en"})
        assert response["Content-Language"] == "zh-hans"

    def test_without_a_choice_the_browser_decides(self, client_of, bob):
        assert client_of(bob).get("/profile/", headers={"accept-language": "zh-hans"})["Content-Language"] == "zh-hans"
        assert client_of(bob).get("/profile/", headers={"accept-language": "en"})["Content-Language"] == "en"

    def test_the_switch_in_the_footer_is_remembered(self, client_of, bob):
        client_of(bob).post("/language/", {"language": "zh-hans", "next": "/profile/"})
        assert client_of(bob).get("/profile/")["Content-Language"] == "zh-hans"

    @pytest.mark.parametrize("language", ["", "xx", "en; drop"])
    def test_junk_is_not(self, client_of, bob, language):
        client_of(bob).post("/language/", {"language": language})
        bob.refresh_from_db()
        assert bob.language == ""

    def test_nobody_has_a_cookie(self, client, db):
        client.post("/language/", {"language": "zh-hans"})
        assert client.get("/accounts/login/")["Content-Language"] == "zh-hans"

    def test_the_switch_leads_nowhere_else(self, client, db):
        assert client.post("/language/", {"language": "en", "next": "https://evil.example/"})["Location"] == "/"

    def test_it_costs_no_query_of_its_own(self, client_of, bob, django_assert_num_queries):
        client = client_of(bob)
        with django_assert_num_queries(2):  # the session and the person, as without it
            client.get("/api/v1/nothing-here/")
