"""Arrivals over REST: send any number of files, read what became of each, try again, discard."""

from datetime import datetime
from typing import Any

from django.core.exceptions import TooManyFilesSent
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent_long
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets.arrivals import again, looking, services
from datasets.arrivals.models import Arrival, ArrivedFile, ArrivedKind, Outcome
from datasets.models import Dataset

PERMISSIONS = {"read": Permission.VIEW_DATA, "write": Permission.WRITE_DATA}
WAITING = "waiting"


class ArrivalSerializer(serializers.ModelSerializer[Arrival]):
    """An arrival: how many files there are and how many are held in quarantine."""

    dataset = serializers.UUIDField(source="dataset_id", read_only=True, allow_null=True)
    job = serializers.UUIDField(source="job_id", read_only=True, allow_null=True)
    files = serializers.IntegerField(source="total", read_only=True)
    held = serializers.IntegerField(read_only=True)

    class Meta:
        model = Arrival
        fields = ("id", "dataset", "job", "files", "held", "hold_texts", "created_at", "finished_at")
        read_only_fields = fields


class CountsSerializer(serializers.Serializer[Any]):
    """How many files of which outcome; an archive that was unpacked counts by its members."""

    files = serializers.IntegerField()
    waiting = serializers.IntegerField()
    imported = serializers.IntegerField()
    duplicate = serializers.IntegerField()
    quarantined = serializers.IntegerField()
    discarded = serializers.IntegerField()


class ArrivalDetailSerializer(ArrivalSerializer):
    """The same with the counts by outcome."""

    counts = serializers.SerializerMethodField()
    missing = serializers.SerializerMethodField(help_text="files that a DICOMDIR lists and that did not come")
    again_at = serializers.SerializerMethodField(help_text="when what could not be looked at is tried again by itself")

    class Meta:
        model = Arrival
        fields = (*ArrivalSerializer.Meta.fields, "counts", "missing", "again_at")
        read_only_fields = fields

    @extend_schema_field(CountsSerializer)
    def get_counts(self, arrival: Arrival) -> dict[str, int]:
        return services.counts(arrival)

    def get_again_at(self, arrival: Arrival) -> datetime | None:
        return again.due_at(arrival)

    def get_missing(self, arrival: Arrival) -> int:
        return int(arrival.notes.get("missing", 0))


class ArrivedFileSerializer(serializers.ModelSerializer[ArrivedFile]):
    """A file and what became of it. `file` is the SHA-256 of what records may use; `reason` says why it is quarantined."""

    arrival = serializers.UUIDField(source="arrival_id", read_only=True)
    archive = serializers.IntegerField(source="parent_id", read_only=True, allow_null=True)
    part_of = serializers.IntegerField(source="part_of_id", read_only=True, allow_null=True)
    upload = serializers.UUIDField(source="upload_id", read_only=True, allow_null=True)
    file = serializers.CharField(source="file.sha256", read_only=True, allow_null=True, default=None)
    outcome = serializers.SerializerMethodField()
    reason = serializers.CharField(read_only=True)
    facts = serializers.DictField(read_only=True)
    masked = serializers.DictField(child=serializers.IntegerField(), read_only=True)

    class Meta:
        model = ArrivedFile
        fields = (
            "id", "arrival", "archive", "part_of", "name", "size", "sha256", "kind", "format", "facts", "outcome", "code",
            "reason", "file", "upload", "masked", "discarded_at",
        )  # fmt: skip
        read_only_fields = fields

    def get_outcome(self, file: ArrivedFile) -> str:
        return file.outcome or WAITING


class NewArrivalSerializer(serializers.Serializer[Any]):
    """Files as multipart `files`, as many as wanted; `known` are identifiers to mask in texts."""

    files = serializers.ListField(
        child=serializers.FileField(allow_empty_file=True, max_length=500), allow_empty=False
    )
    dataset = serializers.UUIDField(required=False, allow_null=True)
    known = serializers.ListField(child=serializers.CharField(max_length=300), required=False, max_length=500)
    hold_texts = serializers.BooleanField(required=False, default=False)


class RetrySerializer(serializers.Serializer[Any]):
    """`confirm` lets a text that waits in, with `known` masked too."""

    confirm = serializers.BooleanField(required=False, default=False)
    known = serializers.ListField(child=serializers.CharField(max_length=300), required=False, max_length=500)


def refusal(error: services.ArrivalRefused) -> Problem:
    return Problem(
        409 if error.code in ("archived", "no_content") else 422, error.code.replace("_", "-"), str(error)
    )


class ArrivalList(generics.ListAPIView[Arrival]):
    """The organisation's arrivals, newest first; send files of any kind as multipart `files`."""

    permissions = PERMISSIONS
    serializer_class = ArrivalSerializer
    parser_classes = (MultiPartParser,)
    queryset = Arrival.objects.none()

    def get_queryset(self) -> Any:
        return services.with_counts(Arrival.objects.for_organisation(actor_of(self.request).organisation))

    @extend_schema(
        request={"multipart/form-data": NewArrivalSerializer}, responses={201: ArrivalDetailSerializer}
    )
    @idempotent_long
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        try:
            given = NewArrivalSerializer(data=request.data)
        except TooManyFilesSent as error:
            text = _("Too many files at once. Pack them as one ZIP file and send that.")
            raise Problem(400, "too-many-files", text) from error
        given.is_valid(raise_exception=True)
        actor, data = actor_of(request), given.validated_data
        dataset = get_or_404(Dataset.objects, actor, pk=data["dataset"]) if data.get("dataset") else None
        try:
            arrival = services.receive(
                actor=actor, files=[(file.name, file) for file in data["files"]], dataset=dataset,
                known=data.get("known", []), hold_texts=data["hold_texts"],
            )  # fmt: skip
        except services.ArrivalRefused as error:
            raise refusal(error) from error
        return Response(ArrivalDetailSerializer(_counted(actor, arrival.pk)).data, status=201)


def _counted(actor: Any, pk: Any) -> Arrival:
    found: Arrival = get_or_404(services.with_counts(Arrival.objects.all()), actor, pk=pk)
    return found


class ArrivalDetail(APIView):
    """One arrival with its counts by outcome."""

    permissions = PERMISSIONS

    @extend_schema(responses=ArrivalDetailSerializer)
    def get(self, request: Request, pk: Any) -> Response:
        return Response(ArrivalDetailSerializer(_counted(actor_of(request), pk)).data)


class ArrivalRetry(APIView):
    """Look again at all files of an arrival that were held for no fault of their own: no room, or work that was stopped."""

    permissions = PERMISSIONS

    @extend_schema(
        request=None,
        responses={202: ArrivalDetailSerializer, 409: OpenApiResponse(description="nothing is left that could be looked at")},
    )
    def post(self, request: Request, pk: Any) -> Response:
        actor = actor_of(request)
        try:
            again.try_all_again(actor=actor, arrival=get_or_404(Arrival.objects, actor, pk=pk))
        except services.ArrivalRefused as error:
            raise refusal(error) from error
        return Response(ArrivalDetailSerializer(_counted(actor, pk)).data, status=202)


class FileList(generics.ListAPIView[ArrivedFile]):
    """The files of an arrival, in their order."""

    permissions = PERMISSIONS
    serializer_class = ArrivedFileSerializer
    ordering = "pk"
    queryset = ArrivedFile.objects.none()

    @extend_schema(
        parameters=[
            OpenApiParameter("outcome", str, enum=[*Outcome.values, WAITING]),
            OpenApiParameter("kind", str, enum=list(ArrivedKind.values)),
        ]
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return ArrivedFile.objects.none()
        actor = actor_of(self.request)
        arrival = get_or_404(Arrival.objects, actor, pk=self.kwargs["pk"])
        audit.record(actor, "arrival.read", arrival)
        rows = arrival.files.select_related("file")
        outcome, kind = self.request.query_params.get("outcome"), self.request.query_params.get("kind")
        if outcome not in (None, *Outcome.values, WAITING) or kind not in (None, *ArrivedKind.values):
            raise serializers.ValidationError(
                {"outcome" if kind is None else "kind": _("This is not one of the choices.")}
            )
        if outcome:
            rows = rows.filter(outcome="" if outcome == WAITING else outcome)
        return rows.filter(kind=kind) if kind else rows


def _file(request: Request, pk: int) -> ArrivedFile:
    rows = ArrivedFile.objects.select_related("file", "parent")
    found: ArrivedFile = get_or_404(rows, actor_of(request), pk=pk)
    return found


class FileDetail(APIView):
    """One file of an arrival."""

    permissions = PERMISSIONS

    @extend_schema(responses=ArrivedFileSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(ArrivedFileSerializer(_file(request, pk)).data)


class FileRetry(APIView):
    """Look at a quarantined file again, or let a text that waits in."""

    permissions = PERMISSIONS
    parser_classes = (JSONParser,)

    @extend_schema(
        request=RetrySerializer,
        responses={
            202: ArrivedFileSerializer,
            409: OpenApiResponse(description="nothing is left to look at, or a person has to look at the picture first"),
        },
    )
    def post(self, request: Request, pk: int) -> Response:
        file = _file(request, pk)
        given = RetrySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        if given.validated_data["confirm"] and looking.waits(file):
            text = _(
                "Whether a picture names a patient is for a person to see: look at it on the file's page and let it in there."
            )
            raise Problem(409, "look-first", text)
        try:
            services.try_again(
                actor=actor_of(request), file=file, known=given.validated_data.get("known", []),
                confirmed=given.validated_data["confirm"],
            )  # fmt: skip
        except services.ArrivalRefused as error:
            raise refusal(error) from error
        return Response(ArrivedFileSerializer(_file(request, pk)).data, status=202)


class FileDiscard(APIView):
    """Delete a quarantined file's content for ever; its name and reason stay. A repeat changes nothing."""

    permissions = PERMISSIONS
    parser_classes = (JSONParser,)

    @extend_schema(
        request=None,
        responses={200: ArrivedFileSerializer, 409: OpenApiResponse(description="it is not quarantined")},
    )
    def post(self, request: Request, pk: int) -> Response:
        file = _file(request, pk)
        if file.outcome != Outcome.QUARANTINED:
            raise Problem(409, "not-quarantined", _("Only a quarantined file can be discarded."))
        services.discard(actor=actor_of(request), files=[file])
        return Response(ArrivedFileSerializer(_file(request, pk)).data)
