"""Diagnoses over REST: one record or a thousand in one call, synchronous, saved and audited, all or nothing."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.http import QueryDict
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import exceptions
from rest_framework.pagination import CursorPagination as _Cursor
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent
from accounts.rest.pagination import CursorPagination
from accounts.rest.problems import Problem, problem
from accounts.scoping import get_or_404
from inference import answers, files, queries, serving
from inference.errors import DiagnosisRefused, RecordsInvalid, ReviewRefused
from inference.models import Batch, Diagnosis
from inference.reasons import explain, reasons_for
from inference.requests import from_parts, parse
from inference.reviews import review as save_review
from inference.serializers import (
    AnsweredSerializer,
    AskPartsSerializer,
    AskSerializer,
    BatchSerializer,
    DiagnosisDetailSerializer,
    DiagnosisListSerializer,
    DiagnosisSerializer,
    FilterSerializer,
    ReviewRequestSerializer,
    ReviewSavedSerializer,
    ReviewSerializer,
)
from inference.services import ask, audit_refusal
from inference.serving import Servable

MOST_REASONS = 50
MOST_PARTS = 100
REASONS = OpenApiParameter("reasons", bool, description="1: with what spoke for and against (at most 50 records)")
KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="a repeat creates nothing")
_TRUE = {"1", "true", "yes"}


class NewestFirst(CursorPagination):
    """Identifiers grow with time, so they alone are the order."""

    ordering = ("-id", "-created_at")  # the first alone decides: identifiers are unique


class DiagnosesView(APIView):
    """Ask for diagnoses; list those that were given."""

    permissions = {"read": Permission.VIEW_DIAGNOSES, "write": Permission.DIAGNOSE}
    serializer_class = DiagnosisListSerializer
    pagination_class = NewestFirst

    @extend_schema(
        operation_id="diagnoses_list",
        parameters=[FilterSerializer, OpenApiParameter("cursor", str), OpenApiParameter("page_size", int)],
        responses=DiagnosisListSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """The organisation's diagnoses, newest first."""
        actor = actor_of(request)
        filters = FilterSerializer(data=request.query_params)
        filters.is_valid(raise_exception=True)
        rows = queries.diagnoses(actor.organisation, **filters.validated_data)
        paginator: _Cursor = NewestFirst()
        page = paginator.paginate_queryset(rows, request, view=self) or []
        audit.record(actor, "diagnosis.listed", count=len(page), filters=sorted(filters.validated_data))
        return paginator.get_paginated_response([answers.saved(row) for row in page])

    @extend_schema(
        operation_id="diagnoses_create",
        parameters=[REASONS, KEY],
        request={"application/json": AskSerializer, "multipart/form-data": AskPartsSerializer},
        responses={
            201: PolymorphicProxySerializer(
                component_name="AnsweredOneOrMany",
                serializers=[DiagnosisSerializer, AnsweredSerializer],
                resource_type_field_name=None,
            )
        },
    )
    def post(self, request: Request) -> Response:
        """Ask the champion of a model, or a version, for one record or up to 1,000: all or nothing.

        Files come with the request as multipart: `record` (or `records`) is then a JSON text. A part that is called like
        a column fills it; a cell that is the name of a part becomes its file. Several files of one part are one cell: the
        slices of a DICOM series, or a WFDB header with its samples (also as a ZIP). Or give the id of a file of `/files/`.
        """
        try:
            self.body = self._body(request)
            return self._create(request)
        except RecordsInvalid as error:
            first = error.errors[0]
            return problem(400, "invalid", f"{first['field']}: {first['message']}", errors=error.errors)
        except DiagnosisRefused as refusal:
            audit_refusal(actor_of(request), refusal)
            raise Problem(refusal.status, refusal.code, refusal.message) from refusal

    def _body(self, request: Request) -> Any:
        """What was sent as one object. Files are taken in before any transaction begins: looking at them takes time."""
        if not isinstance(request.data, QueryDict):
            return request.data
        actor = actor_of(request)
        if len(request.FILES) > MOST_PARTS:
            raise exceptions.ValidationError({"": [_("Send at most %(most)d files at once.") % {"most": MOST_PARTS}]})
        fields = {name: value for name, value in request.data.items() if name not in request.FILES}
        return from_parts(fields, files.take_in(actor, dict(request.FILES.lists())))

    @idempotent
    def _create(self, request: Request) -> Response:
        model, version, records, single = parse(self.body)
        served = _served(request, model, version)
        wanted = request.query_params.get("reasons", "").lower() in _TRUE
        if wanted and len(records) > MOST_REASONS:
            text = _("Reasons are given for at most %(most)d records in one call.") % {"most": MOST_REASONS}
            raise exceptions.ValidationError({"reasons": [text]})
        try:
            asked = ask(actor=actor_of(request), served=served, records=records, prefix="record" if single else "records")
        except RecordsInvalid as error:
            first = error.errors[0]
            return problem(400, "invalid", f"{first['field']}: {first['message']}", errors=error.errors)
        organisation = actor_of(request).organisation
        assert organisation is not None
        why = explain(organisation, served.version, asked.inputs, [row.value for row in asked.rows]) if wanted else None
        return answers.PreparedResponse(answers.answered(asked, single=single, reasons=why), 201)


def _served(request: Request, model: UUID | None, version: UUID | None) -> Servable:
    actor = actor_of(request)
    if model is not None:
        return serving.champion_of(actor, model)
    assert version is not None
    return serving.version_of(actor, version)


class DiagnosisView(APIView):
    """One diagnosis."""

    permissions = {"read": Permission.VIEW_DIAGNOSES}
    serializer_class = DiagnosisDetailSerializer

    @extend_schema(operation_id="diagnoses_retrieve", responses=DiagnosisDetailSerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """With what was given, the reasons and the reviews."""
        actor = actor_of(request)
        row = get_or_404(Diagnosis.objects.select_related("model_version__model"), actor, pk=pk)
        audit.record(actor, "diagnosis.read", row)
        reviews = row.reviews.select_related("reviewed_by")
        body = {**answers.saved(row), "inputs": row.inputs, "reviews": ReviewSerializer(reviews, many=True).data}
        with suppress(DiagnosisRefused):  # erased, or the artefact is gone: the diagnosis itself can still be read
            body["reasons"] = reasons_for(row)
        return Response(body)


class ReviewView(APIView):
    """Confirm, correct or reject a diagnosis."""

    permissions = {"write": Permission.REVIEW_DIAGNOSIS}
    serializer_class = ReviewSavedSerializer

    @extend_schema(
        operation_id="diagnoses_review", parameters=[KEY], request=ReviewRequestSerializer, responses={201: ReviewSavedSerializer}
    )
    @idempotent
    def post(self, request: Request, pk: UUID) -> Response:
        """The latest review counts; confirmed or corrected, the diagnosis becomes a labelled record."""
        actor = actor_of(request)
        row = get_or_404(Diagnosis.objects.all(), actor, pk=pk)
        sent = ReviewRequestSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        try:
            review = save_review(actor=actor, diagnosis=row, **sent.validated_data)
        except ReviewRefused as refusal:
            raise exceptions.ValidationError({refusal.field: [refusal.message]}) from refusal
        return Response(ReviewSavedSerializer(review).data, status=201)


class BatchView(APIView):
    """One batch; its diagnoses are listed by `/diagnoses/?batch=`."""

    permissions = {"read": Permission.VIEW_DIAGNOSES}
    serializer_class = BatchSerializer

    @extend_schema(operation_id="batches_retrieve", responses=BatchSerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """How many were asked for, when, and from which version."""
        row = get_or_404(Batch.objects.all(), actor_of(request), pk=pk)
        return Response(BatchSerializer(row).data)
