"""Every address × (nobody, outsider, viewer, owner): who gets in, who gets 404, who gets 403; none may be forgotten."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.permissions import ROLES, Permission
from accounts.rest.permissions import required_permission
from tests.site.routes import OWN_RULES, PUBLIC, ROUTES, Route, all_routes, arguments_of, guarded
from tests.site.world import MARK, World

PORTAL = [route for route in guarded() if not route.is_api and route.name in ROUTES]
API = [route for route in guarded() if route.is_api and route.name in ROUTES]
EMPTY = {"data": {}, "format": "json"}
METHODS = ("get", "post", "put", "patch", "delete")
AUDITOR = ROLES["auditor"].permissions


def by_name(route: Route) -> str:
    return route.name


def test_every_address_is_listed() -> None:
    unlisted = [route.name for route in guarded() if route.name not in ROUTES]
    assert not unlisted, f"say in tests/site/routes.py what the arguments of these stand for: {unlisted}"


def test_no_listed_address_is_gone() -> None:
    names = {route.name for route in all_routes()}
    assert sorted((set(ROUTES) | set(PUBLIC) | set(OWN_RULES)) - names) == []


def test_every_public_address_says_why() -> None:
    assert all(len(reason) > 10 for reason in {**PUBLIC, **OWN_RULES}.values())
    assert not set(PUBLIC) & set(ROUTES)


@pytest.mark.parametrize("route", guarded(), ids=by_name)
def test_every_view_declares_its_permission(route: Route) -> None:
    """`requires(...)` marks portal views; API views have a `permissions` table (without one they fail closed)."""
    if route.is_api:
        assert hasattr(route.view.view_class, "permissions"), f"{route.name} declares no permissions"
    elif route.name not in OWN_RULES:
        assert hasattr(route.view, "required_permission"), f"{route.name} is not wrapped in requires(...)"


def read(response: Any) -> Any:
    """The response, read to its end and closed, as a server would."""
    content = b"".join(response.streaming_content) if response.streaming else response.content
    response.text_read = content.decode("utf-8", errors="replace")
    for closer in response._resource_closers:  # close() would also end the test's own database connection
        closer()
    return response


def client_of(user: Any) -> Client:
    client = Client(raise_request_exception=True)
    if user is not None:
        client.force_login(user)
    return client


def api_client(user: Any) -> Any:
    """A REST client by session: the key's own tests are in tests/accounts."""
    from rest_framework.test import APIClient

    client = APIClient()
    if user is not None:
        client.force_login(user)
    return client


def portal(route: Route, world: World, user: Any) -> dict[str, Any]:
    """What the address answers to GET and to an empty POST."""
    address = reverse(route.name, kwargs=arguments_of(route, world))
    client = client_of(user)
    return {"get": read(client.get(address)), "post": read(client.post(address))}


def methods_of(route: Route) -> list[str]:
    handled = route.view.view_class.http_method_names
    return [method for method in METHODS if method in handled and hasattr(route.view.view_class, method)]


def api(route: Route, world: World, user: Any) -> dict[str, Any]:
    """What the address answers to each method that it has, with an empty body."""
    address = reverse(route.name, kwargs=arguments_of(route, world))
    client = api_client(user)
    return {
        method: read(getattr(client, method)(address, **({} if method in {"get", "delete"} else EMPTY)))
        for method in methods_of(route)
    }


def body(response: Any) -> str:
    return str(response.text_read)


@pytest.mark.django_db
@pytest.mark.parametrize("route", PORTAL, ids=by_name)
class TestPortal:
    def test_nobody_is_sent_to_sign_in(self, route: Route, world: World) -> None:
        for method, response in portal(route, world, None).items():
            if response.status_code == 405 or (route.name == "accounts:invitation" and response.status_code == 200):
                continue
            assert response.status_code == 302, (method, response.status_code)
            assert response.headers["Location"].startswith("/accounts/login/"), method

    def test_outsider_learns_nothing(self, route: Route, world: World) -> None:
        for method, response in portal(route, world, world.outsider).items():
            if route.name not in OWN_RULES:
                assert MARK.lower() not in body(response).lower(), f"{method} shows another organisation's data"
            if arguments_of(route, world) and route.name not in OWN_RULES and response.status_code != 405:
                assert response.status_code == 404, (method, response.status_code)

    def test_viewer_reads_and_changes_nothing(self, route: Route, world: World) -> None:
        permission = getattr(route.view, "required_permission", None)
        answers = portal(route, world, world.viewer)
        for method, response in answers.items():
            assert response.status_code < 500
            if permission is not None and permission not in AUDITOR:
                assert response.status_code in {403, 405}, (method, response.status_code)
            elif method == "get" and route.name not in OWN_RULES:
                assert response.status_code in {200, 302, 403, 404, 405}, response.status_code

    def test_owner_gets_in(self, route: Route, world: World) -> None:
        answers = portal(route, world, world.owner)
        if route.name not in OWN_RULES:
            for method, response in answers.items():
                assert response.status_code not in {401, 403, 404} and response.status_code < 500, (method, response.status_code)
        assert any(response.status_code != 405 for response in answers.values())


@pytest.mark.django_db
@pytest.mark.parametrize("route", API, ids=by_name)
class TestApi:
    def test_nobody_gets_401(self, route: Route, world: World) -> None:
        for method, response in api(route, world, None).items():
            assert response.status_code == 401, (method, response.status_code)
            assert response.headers["Content-Type"] == "application/problem+json"

    def test_outsider_learns_nothing(self, route: Route, world: World) -> None:
        for method, response in api(route, world, world.outsider).items():
            assert MARK.lower() not in body(response).lower(), f"{method} shows another organisation's data"
            if arguments_of(route, world):
                assert response.status_code == 404, (method, response.status_code, body(response)[:300])

    def test_viewer_gets_403_where_the_role_lacks_it(self, route: Route, world: World) -> None:
        for method, response in api(route, world, world.viewer).items():
            permission = required_permission(route.view.view_class, method.upper())
            if permission is not None and permission not in AUDITOR:
                assert response.status_code == 403, (method, response.status_code)
            else:
                assert response.status_code not in {401, 403} and response.status_code < 500, (method, response.status_code)

    def test_owner_gets_in(self, route: Route, world: World) -> None:
        for method, response in api(route, world, world.owner).items():
            assert response.status_code not in {401, 403, 404}, (method, response.status_code, body(response)[:300])
            assert response.status_code < 500, body(response)[:300]


def test_auditor_has_no_permission_that_changes_something() -> None:
    changing = {p for p in Permission if p.value.split(":")[1] not in {"read"}}
    assert not AUDITOR & changing
