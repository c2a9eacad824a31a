"""tus 1.0 over REST: POST begins, HEAD tells the offset, PATCH appends, DELETE gives up; GET says in JSON what became of it."""

from typing import Any
from uuid import UUID

from django.http import Http404
from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actor import actor_of
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets.models import Dataset
from datasets.tus import parts, protocol, services
from datasets.tus.base import (
    BODY,
    CHECKSUM,
    RESUMABLE,
    TusView,
    header,
    is_piece,
    piece_length,
    progress,
    told,
)
from datasets.tus.models import Transfer


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
