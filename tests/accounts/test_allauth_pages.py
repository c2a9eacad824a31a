"""Registration, e-mail verification, password reset and the second factor, through allauth's pages in our own look."""

import re

import pytest
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.contrib.staticfiles import finders

from accounts.models import AuditEvent, Organisation, Preference, User

PASSWORD = "correct horse battery"
PUBLIC = [
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/accounts/password/reset/done/",
    "/accounts/password/reset/key/done/",
    "/accounts/password/reset/key/1-bad/",
    "/accounts/confirm-email/",
    "/accounts/confirm-email/bad/",
    "/accounts/inactive/",
]
PRIVATE = [
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/logout/",
    "/accounts/reauthenticate/",
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
]


def code_of(secret):
    return format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))


def link_in(mail, part):
    return next(line for line in mail.body.split() if part in line).removeprefix("http://testserver")


def sign_in(browser, user):
    """With the password, and once more as allauth asks before anything delicate."""
    browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return browser


def in_our_look(page):
    assert '<link rel="stylesheet" href="/static/css/base.css">' in page and 'class="skip-link"' in page
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", page)
    assert finders.find("css/base.css")


@pytest.mark.parametrize("url", PUBLIC)
def test_public_pages_have_our_look(client, db, url):
    response = client.get(url)
    assert response.status_code == 200
    in_our_look(response.content.decode())


@pytest.mark.parametrize("url", PRIVATE)
def test_private_pages_have_our_look_and_need_a_sign_in(client, client_of, alice, url):
    response = sign_in(client_of(None), alice).get(url)
    assert response.status_code == 200
    in_our_look(response.content.decode())
    assert client.get(url).status_code == 302


def test_the_pages_speak_chinese(client, db):
    page = client.get("/accounts/login/", headers={"accept-language": "zh-hans"}).content.decode()
    assert 'lang="zh-hans"' in page and "登录" in page


def test_fields_are_labelled_and_errors_shown(client, db):
    page = client.post("/accounts/signup/", {"email": "x", "password1": "short", "password2": "other"}).content.decode()
    assert 'for="id_email"' in page and 'class="form-control"' in page and "form-error" in page
    assert not User.objects.exists()


def test_from_registration_to_the_first_preference(client, db, mailoutbox):
    """The whole way: sign up, confirm the address, sign in, create an organisation, say what matters."""
    data = {"email": "Eve@Example.org", "password1": PASSWORD, "password2": PASSWORD}
    client.post("/accounts/signup/", data)
    signed_in = client.post("/accounts/login/", {"login": "eve@example.org", "password": PASSWORD})
    assert signed_in["Location"] == "/accounts/confirm-email/"
    assert client.get("/members/").status_code == 302
    link = link_in(mailoutbox[0], "/confirm-email/")
    client.get(link)
    assert not User.objects.get().emailaddress_set.get().verified, "looking must not confirm"
    client.post(link)
    assert User.objects.get().emailaddress_set.get().verified
    client.post("/accounts/login/", {"login": "eve@example.org", "password": PASSWORD})
    assert client.get("/", follow=True).redirect_chain[-1][0] == "/organisations/new/"
    assert client.post("/organisations/new/", {"name": "Eve's Practice"})["Location"] == "/welcome/"
    client.post("/welcome/", {"outcome_choice": "stroke", "weight_sensitivity": "1"})
    assert Preference.objects.get().organisation == Organisation.objects.get(name="Eve's Practice")
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"person.signed_up", "person.email_confirmed", "person.signed_in", "organisation.created"} <= actions


def test_an_address_that_is_taken_is_not_given_away(client, alice, mailoutbox):
    data = {"email": alice.email, "password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/accounts/signup/", data)["Location"] == "/accounts/confirm-email/"
    assert User.objects.count() == 1 and "/confirm-email/" not in mailoutbox[0].body


def test_a_forgotten_password(client, alice, mailoutbox):
    client.post("/accounts/password/reset/", {"email": alice.email})
    link = link_in(mailoutbox[0], "/password/reset/key/")
    form = client.get(link)["Location"]
    new = "an entirely new passphrase"
    client.post(form, {"password1": new, "password2": new})
    alice.refresh_from_db()
    assert alice.check_password(new)
    assert AuditEvent.objects.get(action="person.password_reset").actor_user == alice
    assert client.get(link).status_code == 200, "the link is spent: an explanation, no form"


@pytest.fixture
def with_factor(client, alice):
    """A browser of Alice's in which she has just turned on the authenticator app."""
    page = sign_in(client, alice).get("/accounts/2fa/totp/activate/")
    in_our_look(page.content.decode())
    assert 'src="data:image/svg+xml' in page.content.decode()
    secret = page.context["form"].secret
    client.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)})
    return client


@pytest.mark.django_db(transaction=True)  # allauth tells of these changes when they are committed
class TestSecondFactor:
    def test_it_is_turned_on_with_recovery_codes(self, with_factor, alice):
        assert set(Authenticator.objects.filter(user=alice).values_list("type", flat=True)) == {"totp", "recovery_codes"}
        assert AuditEvent.objects.filter(action="person.second_factor_added").count() == 2
        for url in ("/accounts/2fa/", "/accounts/2fa/recovery-codes/", "/accounts/2fa/recovery-codes/generate/"):
            response = with_factor.get(url, follow=True)
            assert response.status_code == 200
            in_our_look(response.content.decode())

    def test_the_password_alone_is_no_longer_enough(self, with_factor, alice):
        with_factor.post("/accounts/logout/")
        response = with_factor.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
        assert response["Location"] == "/accounts/2fa/authenticate/"
        in_our_look(with_factor.get("/accounts/2fa/authenticate/").content.decode())
        assert with_factor.get("/members/").status_code == 302
        with_factor.post("/accounts/2fa/authenticate/", {"code": "000000"})
        assert with_factor.get("/members/").status_code == 302

    def test_a_recovery_code_works_once(self, with_factor, alice):
        codes = Authenticator.objects.get(user=alice, type="recovery_codes").wrap().get_unused_codes()
        for expected in (200, 302):
            with_factor.post("/accounts/logout/")
            with_factor.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
            with_factor.post("/accounts/2fa/authenticate/", {"code": codes[0]})
            assert with_factor.get("/members/").status_code == expected

    def test_turning_it_off_is_in_the_log_and_told(self, with_factor, alice, mailoutbox):
        mailoutbox.clear()
        with_factor.post("/accounts/2fa/totp/deactivate/")
        assert mailoutbox[0].to == [alice.email]
        assert not Authenticator.objects.filter(user=alice, type="totp").exists()
        assert AuditEvent.objects.filter(action="person.second_factor_removed").exists()

    def test_the_secret_is_the_adapters_to_keep(self, with_factor, alice):
        stored = Authenticator.objects.get(user=alice, type="totp").data["secret"]
        assert len(get_adapter().decrypt(stored)) >= 16


def test_guessing_passwords_is_slowed_down(client, alice):
    for _ in range(12):
        response = client.post("/accounts/login/", {"login": alice.email, "password": "wrong"})
    client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    assert "_auth_user_id" not in client.session
    assert response.status_code in (200, 429)
