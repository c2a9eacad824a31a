"""The OpenAPI schema, fuzzed against the portal through WSGI: whatever is sent, never a 5xx; and the schema is clean."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr
from functools import cache
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from django.urls import reverse
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.site.routes import ROUTES, all_routes, arguments_of
from tests.site.world import World

pytestmark = [pytest.mark.django_db, pytest.mark.slow]  # made-up requests against every operation
# PostgreSQL refuses more than SQLite does (a NUL in a text, a number that is too large): there it is worth more requests. By
# hand: script/test --postgres tests/site/test_schemathesis.py
EXAMPLES = 15 if os.environ.get("DATABASE_URL") else 6
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")  # tus: bytes as they are
schemathesis.serializer.alias("multipart/related", "application/octet-stream")  # DICOMweb: bytes that are hardly ever a body


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, made as the schema view makes it."""
    made: dict[str, Any] = SchemaGenerator(api_version=None).get_schema(request=None, public=True)
    return made


def operations() -> list[tuple[str, str]]:
    return [
        (path, method)
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict)
    ]


@pytest.fixture(scope="module")
def schema() -> Any:
    from aimass_site.wsgi import application

    loaded = schemathesis.openapi.from_dict(document())
    loaded.app = application
    return loaded


@pytest.fixture(autouse=True)
def connection_outlives_requests() -> Iterator[None]:
    """Django's own test client does this too: the end of a request must not close the test's transaction."""
    request_finished.disconnect(close_old_connections)
    request_started.disconnect(close_old_connections)
    yield
    request_finished.connect(close_old_connections)
    request_started.connect(close_old_connections)


@pytest.fixture
def bearer(world: World) -> str:
    """A key of the administrator's with every permission: what is fuzzed is what lies behind the door."""
    from accounts.permissions import Permission
    from accounts.services import create_key
    from tests.conftest import actor

    _key, plain = create_key(actor=actor(world.owner), name="fuzz", scopes=[p.value for p in Permission])
    return f"Bearer {plain}"


def real_arguments(path: str, world: World) -> dict[str, str]:
    """The World's own identifiers for a path's arguments, so that some requests get past the look-up."""
    wanted = path.split("/")
    for route in all_routes():
        if not route.is_api or not ROUTES.get(route.name):
            continue
        given = reverse(route.name, kwargs=arguments_of(route, world)).split("/")
        if len(given) == len(wanted) and all(w == g or w.startswith("{") for w, g in zip(wanted, given, strict=True)):
            return {w[1:-1]: g for w, g in zip(wanted, given, strict=True) if w.startswith("{")}
    return {}


@pytest.mark.parametrize(("path", "method"), operations(), ids=lambda v: str(v))
def test_no_request_breaks_the_api(path: str, method: str, schema: Any, world: World, bearer: str) -> None:
    operation = schema[path][method.upper()]
    known = real_arguments(path, world)
    assert known or "{" not in path, f"no address of the World fits {path}: is its route listed in routes.py?"
    strategy = st.one_of(operation.as_strategy(GenerationMode.POSITIVE), operation.as_strategy(GenerationMode.NEGATIVE))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, real=st.sampled_from([True, True, False]))
    def fuzz(case: Any, real: bool) -> None:
        if known and real:
            case.path_parameters = dict(known)
        with transaction.atomic():
            response = case.call(headers={"Authorization": bearer})
            transaction.set_rollback(True)
        assert response.status_code < 500, f"{case.as_curl_command()} → {response.status_code}"
        assert response.status_code != 401
        if response.status_code >= 400 and response.content:
            kind = response.headers.get("content-type", [""])[0]
            assert kind.startswith("application/problem+json"), f"{response.status_code} as {kind}"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of schemathesis and hypothesis about values that they could not make
        fuzz()


def test_schema_is_clean() -> None:
    """drf-spectacular has nothing to guess or to complain of, and every operation says what it answers."""
    GENERATOR_STATS.reset()
    complaints = io.StringIO()
    with redirect_stderr(complaints):
        made = SchemaGenerator(api_version=None).get_schema(request=None, public=True)
        GENERATOR_STATS.emit_summary()
    assert not GENERATOR_STATS, complaints.getvalue()[:3000]
    for path, item in made["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict):
                assert operation["responses"], f"{method} {path} names no answer"
