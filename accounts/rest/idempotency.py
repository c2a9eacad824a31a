"""`Idempotency-Key`: a repeat of a creating request gets the first one's answer and creates nothing."""

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from accounts.actor import actor_of
from accounts.models import IdempotencyKey
from accounts.rest.problems import Problem


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


def idempotent(method: Callable[..., Response]) -> Callable[..., Response]:
    """Wrap a view's creating method. The row and what the method creates are one transaction: both or neither."""

    @wraps(method)
    def wrapped(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            return method(self, request, *args, **kwargs)
        if len(key) > 255 or not key.isprintable():
            raise Problem(400, "invalid", _("Idempotency-Key must be 1 to 255 printable characters."))
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


def replay(organisation: Any, key: str, digest: str) -> Response:
    """The stored answer, or a problem when the key was used for something else."""
    row = IdempotencyKey.objects.for_organisation(organisation).get(key=key)
    if row.request_hash != digest:
        raise Problem(422, "idempotency-key-reused", _("This Idempotency-Key was used before with a different request."))
    if row.status is None:
        raise Problem(409, "in-progress", _("The first request with this Idempotency-Key is still running."))
    return Response(row.body, status=row.status, headers={"Idempotent-Replayed": "true"})
