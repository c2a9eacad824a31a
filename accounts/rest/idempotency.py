"""`Idempotency-Key`: a repeat of a creating request gets the first one's answer and creates nothing."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from accounts.actor import actor_of
from accounts.models import IdempotencyKey
from accounts.rest.problems import Problem

CLAIM_LASTS = timedelta(minutes=15)  # an unanswered claim that is older was left by a process that has died


def file_hash(file: Any) -> str:
    """The content's hash: two files of one name and size are still two files."""
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()


def request_hash(request: Request) -> str:
    """What makes two requests the same: who, where and the body."""
    user, data = actor_of(request).user, request.data
    files = {name: [[f.name, file_hash(f)] for f in request.FILES.getlist(name)] for name in request.FILES}
    if hasattr(data, "lists"):
        data = {name: values for name, values in data.lists() if name not in files}
    parts = [user.pk if user else None, request.method, request.get_full_path(), data, files]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, cls=JSONEncoder).encode()).hexdigest()


def remembered(view: Any, body: Any) -> Any:
    """The answer as it is kept: without the fields that the view's `never_stored` names (a key's plain text)."""
    body = json.loads(json.dumps(body, cls=JSONEncoder))
    for name in getattr(view, "never_stored", ()):
        if isinstance(body, dict) and name in body:
            body[name] = ""
    return body


def header_of(request: Request) -> str:
    """The `Idempotency-Key`, or "" without one. Raises Problem for junk."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 255 or not key.isprintable():
        raise Problem(400, "invalid", _("Idempotency-Key must be 1 to 255 printable characters."))
    return key


def idempotent(method: Callable[..., Response]) -> Callable[..., Response]:
    """Wrap a view's creating method. The row and what the method creates are one transaction: both or neither.

    For what takes milliseconds: SQLite's only write lock is held all the while. See `idempotent_long`.
    """

    @wraps(method)
    def wrapped(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = header_of(request)
        if not key:
            return method(self, request, *args, **kwargs)
        organisation: Any = actor_of(request).organisation  # never None: ActorMay has seen to it
        digest = request_hash(request)
        with transaction.atomic():
            try:
                with transaction.atomic():
                    row = IdempotencyKey.objects.create(organisation=organisation, key=key, request_hash=digest)
            except IntegrityError:
                return replay(organisation, key, digest)
            response = method(self, request, *args, **kwargs)
            if response.status_code < 300:
                row.status = response.status_code
                row.body = remembered(self, response.data)
                row.save(update_fields=["status", "body"])
            else:
                row.delete()
        return response

    wrapped.idempotent = True  # type: ignore[attr-defined]  # so that the OpenAPI schema names the header
    return wrapped


def idempotent_long(method: Callable[..., Response]) -> Callable[..., Response]:
    """Wrap a creating method that may take minutes: the key is claimed first, then the method runs in no transaction.

    A repeat meanwhile is told that the first is still running. The claim of a request that failed is given back; that of
    a process that died is taken over by the first repeat after CLAIM_LASTS.
    """

    @wraps(method)
    def wrapped(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = header_of(request)
        if not key:
            return method(self, request, *args, **kwargs)
        organisation: Any = actor_of(request).organisation
        digest = request_hash(request)
        row = claim(organisation, key, digest)
        if row is None:
            return replay(organisation, key, digest)
        # By its time too: a claim that took so long that it was taken over is no longer ours to answer or to give back.
        ours = IdempotencyKey.objects.filter(pk=row.pk, created_at=row.created_at, status=None)
        try:
            response = method(self, request, *args, **kwargs)
        except BaseException:
            ours.delete()
            raise
        if response.status_code < 300:
            ours.update(status=response.status_code, body=remembered(self, response.data))
        else:
            ours.delete()
        return response

    wrapped.idempotent = True  # type: ignore[attr-defined]
    return wrapped


def claim(organisation: Any, key: str, digest: str) -> IdempotencyKey | None:
    """The committed row without an answer, new or taken over; None when the key is another request's."""
    try:
        with transaction.atomic():
            return IdempotencyKey.objects.create(organisation=organisation, key=key, request_hash=digest)
    except IntegrityError:
        now = timezone.now()
        left = IdempotencyKey.objects.for_organisation(organisation).filter(
            key=key, request_hash=digest, status=None, created_at__lt=now - CLAIM_LASTS
        )
        # One statement, so that of two repeats only one takes it over.
        return IdempotencyKey.objects.get(organisation=organisation, key=key) if left.update(created_at=now) else None


def replay(organisation: Any, key: str, digest: str) -> Response:
    """The stored answer, or a problem when the key was used for something else."""
    row = IdempotencyKey.objects.for_organisation(organisation).filter(key=key).first()
    if row is None:  # the first has failed at this very moment
        raise Problem(409, "in-progress", _("The first request with this Idempotency-Key is still running."))
    if row.request_hash != digest:
        raise Problem(422, "idempotency-key-reused", _("This Idempotency-Key was used before with a different request."))
    if row.status is None:
        raise Problem(409, "in-progress", _("The first request with this Idempotency-Key is still running."))
    return Response(row.body, status=row.status, headers={"Idempotent-Replayed": "true"})
