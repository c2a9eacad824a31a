"""Uploads over REST: send a file, look at its preview, confirm or discard it."""

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import generics, serializers
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent_long
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets import intake
from datasets.models import Dataset, Kind, Role, Upload
from datasets.readers.delimited import DELIMITERS
from datasets.readers.encodings import ENCODINGS

PERMISSIONS = {"read": Permission.VIEW_DATA, "write": Permission.WRITE_DATA}


class UploadSerializer(serializers.ModelSerializer[Upload]):
    """An upload with its preview and, once imported, its counters."""

    job = serializers.UUIDField(source="job_id", read_only=True, allow_null=True)
    dataset = serializers.UUIDField(source="dataset_id", read_only=True, allow_null=True)
    preview = serializers.DictField(read_only=True)
    report = serializers.DictField(read_only=True)

    class Meta:
        model = Upload
        fields = (
            "id", "original_name", "state", "dataset", "job", "preview", "report", "rows_read", "rows_added", "rows_duplicate",
            "rows_refused", "created_at", "finished_at",
        )  # fmt: skip
        read_only_fields = fields


class UploadListSerializer(UploadSerializer):
    """An upload in a list: without the preview."""

    preview = None  # type: ignore[assignment]
    report = None  # type: ignore[assignment]

    class Meta:
        model = Upload
        fields = tuple(f for f in UploadSerializer.Meta.fields if f not in ("preview", "report"))
        read_only_fields = fields


class NewUploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(allow_empty_file=True)
    dataset = serializers.UUIDField(required=False, allow_null=True)


class ColumnChoiceSerializer(serializers.Serializer[Any]):
    """What to make of one column of the file; what is left out stays as previewed."""

    name = serializers.CharField(max_length=200)
    kind = serializers.ChoiceField(choices=Kind.choices, required=False)
    role = serializers.ChoiceField(choices=Role.choices, required=False)
    minimum = serializers.FloatField(required=False, allow_null=True)
    maximum = serializers.FloatField(required=False, allow_null=True)
    decimal = serializers.ChoiceField(choices=["", ".", ","], required=False)
    thousands = serializers.ChoiceField(choices=["", ",", ".", "'", " "], required=False)
    date_order = serializers.ChoiceField(choices=["", "ymd", "dmy", "mdy"], required=False)
    future = serializers.BooleanField(required=False)
    keep_words = serializers.BooleanField(required=False)
    identifies = serializers.BooleanField(
        required=False, help_text=_("tells who the patient is: masked in the texts of the same row, kept or not")
    )
    include = serializers.BooleanField(required=False)


class ReadingSerializer(serializers.Serializer[Any]):
    """How to read the file; the preview is made anew."""

    encoding = serializers.ChoiceField(choices=["", *ENCODINGS], required=False)
    delimiter = serializers.ChoiceField(choices=["", *DELIMITERS], required=False)
    member = serializers.CharField(max_length=200, required=False, allow_blank=True)
    sheet = serializers.CharField(max_length=200, required=False, allow_blank=True)
    header = serializers.BooleanField(required=False, allow_null=True)
    columns = ColumnChoiceSerializer(many=True, required=False)


class ConfirmSerializer(serializers.Serializer[Any]):
    dataset = serializers.UUIDField(required=False, allow_null=True)
    new_dataset_name = serializers.CharField(max_length=150, required=False, allow_blank=True)
    columns = ColumnChoiceSerializer(many=True, required=False)
    keep_good_rows = serializers.BooleanField(required=False, default=True)


def refusal(error: intake.IntakeRefused) -> Problem:
    status = {"too_large": 413, "quota": 413, "not_waiting": 409, "archived": 409}.get(error.code, 422)
    return Problem(status, error.code.replace("_", "-"), str(error))


def chosen_dataset(actor: Any, pk: Any) -> Dataset | None:
    return get_or_404(Dataset.objects, actor, pk=pk) if pk else None


class UploadList(generics.ListAPIView[Upload]):
    """The organisation's uploads, newest first; send a new one as multipart `file`."""

    permissions = PERMISSIONS
    serializer_class = UploadListSerializer
    parser_classes = (MultiPartParser,)
    queryset = Upload.objects.none()

    def get_queryset(self) -> Any:
        return (
            Upload.objects.for_organisation(actor_of(self.request).organisation)
            .select_related("job")
            .defer("preview", "options", "report")
        )

    @extend_schema(request={"multipart/form-data": NewUploadSerializer}, responses={201: UploadSerializer})
    @idempotent_long
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        given = NewUploadSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        actor, file = actor_of(request), given.validated_data["file"]
        dataset = chosen_dataset(actor, given.validated_data.get("dataset"))
        try:
            upload = intake.receive(actor=actor, file=file, name=file.name, dataset=dataset)
        except intake.IntakeRefused as error:
            raise refusal(error) from error
        return Response(UploadSerializer(upload).data, status=201)


class UploadDetail(generics.RetrieveAPIView[Upload]):
    """One upload; PATCH reads its file anew with other options."""

    permissions = PERMISSIONS
    serializer_class = UploadSerializer
    parser_classes = (JSONParser,)
    queryset = Upload.objects.none()

    def get_queryset(self) -> Any:
        return Upload.objects.for_organisation(actor_of(self.request).organisation)

    @extend_schema(request=ReadingSerializer, responses=UploadSerializer)
    def patch(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        actor = actor_of(request)
        upload = get_or_404(Upload.objects.select_related("dataset", "file"), actor, pk=kwargs["pk"])
        given = ReadingSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        settings = dict(given.validated_data)
        columns = settings.pop("columns", [])
        try:
            upload = intake.preview_again(actor=actor, upload=upload, settings=settings, columns=columns)
        except intake.IntakeRefused as error:
            raise refusal(error) from error
        return Response(UploadSerializer(upload).data)


class UploadConfirm(APIView):
    """Import the upload. A repeat answers the same job."""

    permissions = PERMISSIONS
    parser_classes = (JSONParser,)

    @extend_schema(request=ConfirmSerializer, responses={202: UploadSerializer})
    def post(self, request: Request, pk: Any) -> Response:
        actor = actor_of(request)
        upload = get_or_404(Upload.objects, actor, pk=pk)
        given = ConfirmSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = dict(given.validated_data)
        try:
            intake.confirm(
                actor=actor,
                upload=upload,
                dataset=chosen_dataset(actor, data.get("dataset")),
                new_dataset_name=data.get("new_dataset_name") or None,
                columns=data.get("columns", []),
                keep_good_rows=data["keep_good_rows"],
            )
        except intake.IntakeRefused as error:
            raise refusal(error) from error
        except ValidationError as error:
            detail = error.message_dict if hasattr(error, "error_dict") else {"columns": error.messages}
            raise serializers.ValidationError(detail) from error
        return Response(UploadSerializer(Upload.objects.get(pk=upload.pk)).data, status=202)


class UploadDiscard(APIView):
    """Give up an upload that waits for its confirmation."""

    permissions = PERMISSIONS
    parser_classes = (JSONParser,)

    @extend_schema(
        request=None,
        responses={200: UploadSerializer, 409: OpenApiResponse(description="it was confirmed already")},
    )
    def post(self, request: Request, pk: Any) -> Response:
        actor = actor_of(request)
        upload = get_or_404(Upload.objects, actor, pk=pk)
        try:
            return Response(UploadSerializer(intake.discard(actor=actor, upload=upload)).data)
        except intake.IntakeRefused as error:
            raise refusal(error) from error
