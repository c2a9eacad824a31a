"""The short way for the usual diagnosis over REST: one WSGI function before Django's handler.

Django's thirteen middlewares, DRF and the URL resolver together cost several times what the model costs. A usual request
(POST /api/v1/diagnoses/ with a bearer key and a JSON body, no option) is answered here by the same functions that the
view calls: the key, the permission, the throttle, the champion, the checks, one transaction with its audit event. Whatever
is not usual, refusals included, is handed to Django untouched, so that every other answer is given in one place only.
"""

import json
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from io import BytesIO
from threading import Lock
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.http import Http404
from django.http.request import HttpHeaders, split_domain_port, validate_host
from rest_framework.exceptions import APIException

from accounts.keys import actor_for_key
from accounts.middleware import client_ip
from accounts.permissions import Permission
from accounts.rest.parsers import JSONParser
from accounts.rest.throttling import KeyThrottle, ident_of, spend
from inference import serving
from inference.answers import answered
from inference.errors import DiagnosisRefused, RecordsInvalid
from inference.insertion import StandingLost
from inference.requests import parse
from inference.services import ask

logger = logging.getLogger(__name__)
Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]
PATH = "/api/v1/diagnoses/"
# Of the first answer that Django gave: the security headers are the same for all; these belong to one answer or reader.
OWN_HEADERS = frozenset({"content-length", "content-language", "set-cookie", "content-type", "date"})

NOT_SAVED = json.dumps(
    {
        "type": "urn:aimass:problem:not-saved",
        "title": "Not available now",
        "status": 503,
        "detail": "The database failed while saving. Look into the list of diagnoses before you ask again.",
    }
).encode()


class Unusual(Exception):
    """Not for this way: Django answers."""


class Unsure(Exception):
    """The database failed while it was saving: asking it again here could save twice."""


@lru_cache(maxsize=64)
def _host_allowed(host: str) -> bool:
    domain, _port = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _usual(environ: Environ) -> bool:
    return (
        environ.get("PATH_INFO") == PATH
        and environ.get("REQUEST_METHOD") == "POST"
        and not environ.get("QUERY_STRING")
        and not environ.get("SCRIPT_NAME")
        and "HTTP_IDEMPOTENCY_KEY" not in environ
        and "HTTP_TRANSFER_ENCODING" not in environ
        and environ.get("HTTP_ACCEPT", "*/*") in ("*/*", "application/json")
        and environ.get("CONTENT_TYPE", "").lower() in ("application/json", "application/json; charset=utf-8")
        and environ.get("HTTP_AUTHORIZATION", "").startswith("Bearer ")
        and not settings.SECURE_SSL_REDIRECT
        and _host_allowed(environ.get("HTTP_HOST", ""))
    )


def _body(environ: Environ) -> bytes:
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isascii() or not length.isdigit() or int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise Unusual
    body: bytes = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = BytesIO(body)  # for Django, should it have to answer
    return body


def _send(
    start_response: Any, status: str, headers: list[tuple[str, str]], content_type: str, body: bytes
) -> Iterable[bytes]:
    start_response(status, [*headers, ("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


class QuickDiagnoses:
    """A WSGI application around Django's."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.headers: dict[str, list[tuple[str, str]]] = {}
        # With SQLite nobody waits for a disk or a network: threads of one process would only pass Python's lock to and
        # fro at each of its statements, some while holding the database's write lock. So they go one after the other.
        self.turn: AbstractContextManager[Any] = Lock() if connections[DEFAULT_DB_ALIAS].vendor == "sqlite" else nullcontext()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if not _usual(environ):
            return self.application(environ, start_response)
        scheme = environ.get("wsgi.url_scheme", "http")
        headers = self.headers.get(scheme)
        if headers is None:
            return self.application(environ, self._learning(scheme, start_response))
        try:
            body = _body(environ)
            with self.turn:
                answer = self._answer(environ, body)
        except (Unusual, Http404, APIException, DiagnosisRefused, RecordsInvalid):
            return self.application(environ, start_response)
        except Unsure:
            logger.error("A diagnosis could not be saved")  # without the error's text, which may quote values
            return _send(start_response, "503 Service Unavailable", headers, "application/problem+json", NOT_SAVED)
        return _send(start_response, "201 Created", headers, "application/json", answer)

    def _learning(self, scheme: str, start_response: Any) -> Any:
        """Remembers the headers that the middlewares put on this process's first answer."""

        def started(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if status.startswith("201"):
                self.headers[scheme] = [(n, v) for n, v in headers if n.lower() not in OWN_HEADERS]
            return start_response(status, headers, *rest)

        return started

    def _answer(self, environ: Environ, body: bytes) -> bytes:
        """The body of the 201. Raises what Django answers better (then nothing has been saved), and Unsure."""
        connection: Any = connections[DEFAULT_DB_ALIAS]
        if not connection.in_atomic_block:  # which no server's request is in, but an embedding program's may be
            connection.close_if_unusable_or_obsolete()
        connection.health_check_done = True  # the first query is the check: nothing is lost by starting again
        try:
            actor = self._actor(environ)
            if not actor.may(Permission.DIAGNOSE):
                raise Unusual
            model, version, records, single = parse(JSONParser().parse(BytesIO(body)))
            served, standing = self._served(actor, model, version, single and not connection.in_atomic_block)
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            raise Unusual from error
        rate, seconds = _rate()
        if rate is not None and spend(str(ident_of(actor)), rate, seconds) is not None:
            raise Unusual
        try:
            asked = ask(actor=actor, served=served, records=records, prefix="record" if single else "records", standing=standing)
        except StandingLost as lost:
            serving.forget(lost.standing)
            raise Unusual from lost
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            raise Unsure from error
        return answered(asked, single=single)

    def _served(
        self, actor: Any, model: UUID | None, version: UUID | None, alone: bool
    ) -> tuple[serving.Servable, serving.Standing | None]:
        """What answers; `alone`: one record whose insert is a statement and a transaction of its own."""
        if model is None:
            assert version is not None
            return serving.version_of(actor, version), None
        return serving.champion_standing(actor, model) if alone else (serving.champion_of(actor, model), None)

    def _actor(self, environ: Environ) -> Any:
        actor = actor_for_key(environ["HTTP_AUTHORIZATION"][7:].strip())
        if actor is None or actor.organisation is None:
            raise Unusual
        headers = HttpHeaders(environ) if settings.TRUSTED_PROXIES else {}
        request: Any = SimpleNamespace(headers=headers, META=environ)
        return replace(actor, ip=client_ip(request), user_agent=environ.get("HTTP_USER_AGENT", ""))


@lru_cache(maxsize=1)
def _rate() -> tuple[int | None, int]:
    """How many requests in how many seconds, as the throttle of the other resources has it."""
    throttle = KeyThrottle()
    most, seconds = throttle.parse_rate(throttle.rate)
    return most, seconds or 60
