"""Error pages say what was wrong and what to do, in the portal's look, and never show a stack trace."""

from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig
from django.test import Client, RequestFactory

from aimass_site import views


@pytest.mark.django_db
def test_unknown_address_gets_the_404_page() -> None:
    response = Client().get("/no/such/page/")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()
    assert "Traceback" not in response.content.decode()


@pytest.mark.django_db
def test_unknown_api_address_gets_problem_details() -> None:
    response = Client().get("/api/v1/no-such-thing/")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == 404
    assert response.json()["type"] == "urn:aimass:problem:not-found", "as for a row that is not there"
    assert response.json()["detail"]


@pytest.mark.django_db
def test_form_without_token_gets_the_csrf_page(alice: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    response = client.post("/language/", {"language": "en"})
    assert response.status_code == 403
    assert "reload the page" in response.content.decode()


def test_the_500_page_needs_neither_database_nor_session() -> None:
    response = views.server_error(RequestFactory().get("/"))  # the database is blocked in this test
    text = response.content.decode()
    assert response.status_code == 500
    assert "Something went wrong on our side" in text
    assert "<h1>" in text


def test_a_program_gets_500_as_problem_details() -> None:
    response = views.server_error(RequestFactory().get("/api/v1/me/"))
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.django_db
def test_too_large_a_form_is_413() -> None:
    response = views.bad_request(RequestFactory().get("/"), RequestDataTooBig())
    assert response.status_code == 413
    assert "too large" in response.content.decode()


@pytest.mark.django_db
def test_bad_request_is_400() -> None:
    response = views.bad_request(RequestFactory().get("/"))
    assert response.status_code == 400


@pytest.mark.django_db
def test_refusal_names_what_the_role_lacks(client_of: Any, victor: Any) -> None:
    response = client_of(victor).get("/keys/new/")
    assert response.status_code == 403
    assert "create and revoke one" in response.content.decode()


@pytest.mark.django_db
def test_error_page_is_translated_by_cookie() -> None:
    client = Client()
    client.cookies["django_language"] = "zh-hans"
    response = client.get("/no/such/page/")
    assert response.headers["Content-Language"] == "zh-hans"
    assert 'lang="zh-hans"' in response.content.decode()
