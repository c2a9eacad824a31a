"""tus 1.0 over REST: POST begins, HEAD tells the offset, PATCH appends, DELETE gives up; GET says in JSON what became of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.http import http_date
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import generics, parsers, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets import intake
from datasets.api_uploads import refusal
from datasets.models import Dataset, Transfer
from datasets.tus import parts, protocol, services

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


class TransferSerializer(serializers.ModelSerializer[Transfer]):
    """A file on its way: how much is here, and once it is whole the upload that it became or why it was refused."""

    original_name = serializers.CharField(source="name", read_only=True)
    dataset = serializers.UUIDField(source="dataset_id", read_only=True, allow_null=True)
    upload = serializers.UUIDField(source="upload_id", read_only=True, allow_null=True)

    class Meta:
        model = Transfer
        fields = (
            "id", "original_name", "state", "length", "offset", "dataset", "upload", "code", "reason", "created_at", "expires_at",
        )  # fmt: skip
        read_only_fields = fields


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


class TransferList(TusView, generics.ListAPIView[Transfer]):
    """Files on their way, newest first; POST begins another one (tus 1.0: creation, creation-with-upload)."""

    serializer_class = TransferSerializer
    queryset = Transfer.objects.none()

    def get_queryset(self) -> Any:
        return Transfer.objects.for_organisation(actor_of(self.request).organisation)

    @extend_schema(
        request=BODY,
        parameters=[
            RESUMABLE,
            CHECKSUM,
            header("Upload-Length", "bytes of the whole file", required=True),
            header(
                "Upload-Metadata",
                "filename and, to append to one, dataset (its id), each with a base64 value",
            ),
        ],
        responses={
            201: OpenApiResponse(
                description="Location is the file's address: HEAD and PATCH it, 8 MB or less at a time"
            )
        },
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with told():
            if "Upload-Concat" in request.headers or "Upload-Defer-Length" in request.headers:
                raise protocol.Malformed(
                    _("Parallel parts and deferred lengths are not offered: send Upload-Length.")
                )
            size = protocol.number("Upload-Length", request.headers.get("Upload-Length"))
            given = request.headers.get("Upload-Metadata", "")
            known = protocol.metadata(given)
            protocol.checksum(request.headers.get("Upload-Checksum"))
            body = piece_length(request) if is_piece(request) else 0
            if body > size:
                raise services.TransferRefused("beyond-length", _("The body is longer than Upload-Length."))
            actor, dataset = actor_of(request), self.dataset(request, known.get("dataset", ""))
            transfer = services.begin(
                actor=actor, length=size, name=known.get("filename", ""), metadata=given, dataset=dataset
            )
            if body or not size:
                transfer = self.first_piece(request, transfer)
        address = reverse("api:transfer", args=[transfer.pk])
        return Response(status=201, headers={"Location": address, **progress(transfer)})

    def first_piece(self, request: Request, transfer: Transfer) -> Transfer:
        """The body of the creating request. When it fails, the client never learns the address: nothing is left."""
        try:
            return self.append(request, transfer, 0)
        except services.TransferRefused as error:
            if error.code in {"checksum-mismatch", "cut-off", "disk-full"}:
                services.give_up(actor=actor_of(request), transfer=transfer)
            raise

    def dataset(self, request: Request, pk: str) -> Dataset | None:
        """The data set of the metadata, among the organisation's own."""
        if not pk:
            return None
        try:
            found: Dataset = get_or_404(Dataset.objects, actor_of(request), pk=UUID(pk))
        except (ValueError, Http404) as error:
            text = _("The data set in Upload-Metadata does not exist, or it is not yours.")
            raise Problem(400, "unknown-dataset", text) from error
        return found


class TransferDetail(TusView):
    """One file on its way."""

    transfer: Transfer

    def find(self, **kwargs: Any) -> None:
        self.transfer = get_or_404(
            Transfer.objects.select_related("upload"), actor_of(self.request), pk=kwargs["pk"]
        )

    def finished(self) -> None:
        """A request that was killed after its last byte may have left the Upload to be made: every look makes up for it."""
        row = self.transfer
        if row.state == Transfer.State.RECEIVING and row.is_whole:
            services.complete(actor=actor_of(self.request), transfer=row)
            row.refresh_from_db()

    @extend_schema(responses=TransferSerializer)
    def get(self, request: Request, pk: Any) -> Response:
        """What became of it, in JSON."""
        try:
            self.finished()
        except (services.TransferRefused, parts.Busy):
            self.transfer.refresh_from_db()
        return Response(TransferSerializer(self.transfer).data)

    def head(self, request: Request, pk: Any) -> Response:
        """From where to go on."""
        with told():
            self.finished()
            row = self.transfer
            if row.state != Transfer.State.FINISHED:
                row = services.current(row)
        headers = {"Upload-Length": str(row.length), **progress(row)}
        if row.metadata:
            headers["Upload-Metadata"] = row.metadata
        return Response(status=200, headers=headers)

    @extend_schema(
        request=BODY,
        parameters=[
            RESUMABLE,
            CHECKSUM,
            header("Upload-Offset", "where the body begins in the file", required=True),
        ],
        responses={
            204: OpenApiResponse(
                description="the body is on disk; Upload-Offset says where the next one begins"
            ),
            410: OpenApiResponse(description="expired, cancelled or refused"),
            423: OpenApiResponse(description="another request is sending a piece"),
            460: OpenApiResponse(description="the body's checksum differs"),
        },
    )
    def patch(self, request: Request, pk: Any) -> Response:
        """Append a piece, 8 MB or less is advised. The last one makes the upload, or says why it is refused."""
        with told():
            if not is_piece(request):
                raise Problem(
                    415, "content-type", _("Send the body as %(type)s.") % {"type": protocol.PIECE_TYPE}
                )
            offset = protocol.number("Upload-Offset", request.headers.get("Upload-Offset"))
            transfer = self.append(request, self.transfer, offset)
        return Response(status=204, headers=progress(transfer))

    @extend_schema(
        request=None,
        parameters=[RESUMABLE],
        responses={204: OpenApiResponse(description="nothing of it is left")},
    )
    def delete(self, request: Request, pk: Any) -> Response:
        """Give it up. One that has just arrived is discarded, unless its import was confirmed."""
        with told():
            services.give_up(actor=actor_of(request), transfer=self.transfer)
        return Response(status=204)
