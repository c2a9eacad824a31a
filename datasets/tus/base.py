"""What all requests of tus have in common: the protocol's version and headers, refusals as problems, the body's bytes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.http import http_date
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import parsers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.problems import Problem
from datasets import intake
from datasets.api_uploads import refusal
from datasets.tus import parts, protocol, services
from datasets.tus.models import Transfer

STATUS = {
    "too-large": 413, "quota": 413, "beyond-length": 413, "disk-full": 507, "archived": 409, "wrong-offset": 409, "gone": 410,
    "expired": 410, "refused": 410, "finished": 409, "checksum-mismatch": 460, "cut-off": 400,
}  # fmt: skip
# Proxies and old networks that let no PATCH or DELETE through: the protocol has POST say what is meant.
OVERRIDES = {"PATCH", "DELETE", "HEAD"}

MOST_READ_AWAY = 2 * protocol.ADVISED_PIECE


def header(name: str, description: str, *, required: bool = False) -> OpenApiParameter:
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, required=required, description=description)


RESUMABLE = header("Tus-Resumable", "1.0.0", required=True)
CHECKSUM = header("Upload-Checksum", "sha1 or sha256, a space, and the base64 digest of this request's body")
BODY = {protocol.PIECE_TYPE: OpenApiTypes.BINARY}


class PieceParser(parsers.BaseParser):
    """Names the media type; the body is read by the service, never here."""

    media_type = protocol.PIECE_TYPE

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:
        return {}


def problem_of(error: services.TransferRefused) -> Problem:
    return Problem(STATUS.get(error.code, 422), error.code, str(error))


@contextmanager
def told() -> Iterator[None]:
    """What the services and the protocol refuse, as problems."""
    try:
        yield
    except protocol.Malformed as error:
        raise Problem(400, "invalid-header", str(error)) from error
    except services.TransferRefused as error:
        raise problem_of(error) from error
    except intake.IntakeRefused as error:
        raise refusal(error) from error
    except parts.Busy as error:
        text = _("Another request is sending a piece of this file. Try again in a moment.")
        raise Problem(423, "locked", text) from error


@contextmanager
def body_of(request: Request) -> Iterator[Callable[[int], bytes]]:
    """`read(n)` of the request's body. A connection that falls silent does not hold the file's lock for ever."""
    http = request._request
    socket: Any = http.META.get("gunicorn.socket")
    if not hasattr(socket, "settimeout"):  # another server, or the tests' client
        yield http.read
        return
    before = socket.gettimeout()
    socket.settimeout(settings.TRANSFER_SILENCE_SECONDS)
    try:
        yield http.read
    finally:
        socket.settimeout(before)


def read_away(request: Request) -> None:
    """Read the rest of a refused piece, so that a client that sends all first gets to read why. A longer one is cut off."""
    try:
        if piece_length(request) <= MOST_READ_AWAY:
            with body_of(request) as read:
                while read(services.PIECE):
                    pass
    except (OSError, Problem, protocol.Malformed):
        return


class TusView(APIView):
    """What all requests of the protocol share: its version, its headers, the method said in a header."""

    permissions = {"read": Permission.WRITE_DATA, "write": Permission.WRITE_DATA}
    parser_classes = (PieceParser,)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        meant = request.headers.get("X-HTTP-Method-Override", "").upper()
        if request.method == "POST" and meant in OVERRIDES:
            request.method = meant
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.find(**kwargs)
        if (
            request.method not in {"GET", "OPTIONS"}
            and request.headers.get("Tus-Resumable") != protocol.VERSION
        ):
            text = _(
                "Send the header Tus-Resumable: %(version)s; no other version of the protocol is spoken here."
            )
            raise Problem(412, "tus-version", text % {"version": protocol.VERSION})

    def find(self, **kwargs: Any) -> None:
        """Look the resource up, before anything is said about the request."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Tus-Resumable"] = response["Tus-Version"] = protocol.VERSION
        response["Cache-Control"] = "no-store"
        if response.status_code >= 400:
            read_away(self.request)
        if response.status_code == 460:
            response.reason_phrase = "Checksum Mismatch"
        return response

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """What is offered: extensions, the largest file, the checksums."""
        return Response(
            status=204,
            headers={
                "Tus-Extension": protocol.EXTENSIONS,
                "Tus-Max-Size": str(settings.MAX_UPLOAD_BYTES),
                "Tus-Checksum-Algorithm": ",".join(protocol.ALGORITHMS),
            },
        )

    def append(self, request: Request, transfer: Transfer, offset: int) -> Transfer:
        """The request's body at `offset`."""
        checksum = protocol.checksum(request.headers.get("Upload-Checksum"))
        length = piece_length(request)
        with body_of(request) as read:
            return services.receive_piece(
                actor=actor_of(request),
                transfer=transfer,
                offset=offset,
                length=length,
                read=read,
                checksum=checksum,
            )


def piece_length(request: Request) -> int:
    """Bytes of the body. Raises Problem 411: a body of unknown length cannot be held against the file's."""
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise Problem(411, "length-required", _("Send the body with a Content-Length, not in chunks."))
    return protocol.number("Content-Length", request.headers.get("Content-Length") or "0")


def is_piece(request: Request) -> bool:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == protocol.PIECE_TYPE


def progress(transfer: Transfer) -> dict[str, str]:
    """The headers that say how far it is."""
    return {
        "Upload-Offset": str(transfer.offset),
        "Upload-Expires": http_date(transfer.expires_at.timestamp()),
    }
