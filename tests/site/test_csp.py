"""Every page carries the strict Content-Security-Policy; one page may set styles, none may run inline scripts."""

from typing import Any

import pytest
from django.test import Client


def directives(response: Any) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in response.headers["Content-Security-Policy"].split(";"))
    return {name: value for name, _space, value in parts}


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/", "/no/such/page/", "/health/"])
def test_pages_for_everybody_are_strict(path: str) -> None:
    policy = directives(Client().get(path))
    assert policy["default-src"] == policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["object-src"] == policy["frame-ancestors"] == "'none'"


@pytest.mark.django_db
def test_home_is_strict(client_of: Any, alice: Any) -> None:
    response = client_of(alice).get("/")
    policy = directives(response)
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert policy["script-src"] == "'self'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"


@pytest.mark.django_db
def test_api_docs_may_style_but_not_script() -> None:
    policy = directives(Client().get("/api/docs/"))
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self' 'unsafe-inline'"


@pytest.mark.django_db
def test_api_docs_load_nothing_from_outside() -> None:
    text = Client().get("/api/docs/").content.decode()
    assert "swagger-ui-bundle.js" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
