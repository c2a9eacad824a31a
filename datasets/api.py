"""REST: data sets, their columns, versions and quality. Records are in api_records.py."""

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent, idempotent_long
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets import queries, serializers, services
from datasets.columns import change_columns, plan
from datasets.models import Column, Dataset, DatasetVersion
from datasets.quality import quality
from datasets.versions import FreezeRefused, freeze

DATA = {"read": Permission.VIEW_DATA, "write": Permission.WRITE_DATA}
FREEZE_LIMIT = 100_000


def dataset_of(request: Request, pk: UUID) -> Dataset:
    """The data set, if it is of the caller's organisation; else 404."""
    dataset: Dataset = get_or_404(Dataset.objects, actor_of(request), pk=pk)
    return dataset


class DatasetList(generics.ListCreateAPIView[Dataset]):
    """The organisation's data sets, newest first; a new one."""

    permissions = DATA
    serializer_class = serializers.DatasetSerializer

    def get_queryset(self) -> Any:
        return queries.datasets_of(actor_of(self.request).organisation)

    @extend_schema(
        request=serializers.DatasetCreateSerializer, responses={201: serializers.DatasetDetailSerializer}
    )
    @idempotent
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        given = serializers.DatasetCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        dataset = services.create_dataset(actor=actor_of(request), **given.validated_data)
        return Response(serializers.DatasetDetailSerializer(dataset).data, status=201)


class DatasetDetail(generics.GenericAPIView[Dataset]):
    """One data set with its columns; renaming it, describing it, putting it away."""

    permissions = DATA
    serializer_class = serializers.DatasetDetailSerializer

    def get(self, request: Request, pk: UUID) -> Response:
        return Response(self.get_serializer(dataset_of(request, pk)).data)

    @extend_schema(request=serializers.DatasetChangeSerializer)
    def patch(self, request: Request, pk: UUID) -> Response:
        dataset = dataset_of(request, pk)
        given = serializers.DatasetChangeSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        changes = dict(given.validated_data)
        archived = changes.pop("archived", None)
        services.change_dataset(actor=actor_of(request), dataset=dataset, **changes)
        if archived is not None:
            act = services.archive_dataset if archived else services.restore_dataset
            act(actor=actor_of(request), dataset=dataset)
        return Response(self.get_serializer(dataset).data)


class ColumnList(generics.GenericAPIView[Column]):
    """The columns in their order; changing their kinds, roles and limits."""

    permissions = DATA
    serializer_class = serializers.ColumnSerializer
    pagination_class = None

    @extend_schema(responses=serializers.ColumnSerializer(many=True))
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(self.get_serializer(dataset_of(request, pk).columns.all(), many=True).data)

    @extend_schema(
        request=serializers.ColumnChangesSerializer, responses=serializers.ColumnSerializer(many=True)
    )
    def patch(self, request: Request, pk: UUID) -> Response:
        dataset = dataset_of(request, pk)
        given = serializers.ColumnChangesSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        changes = given.validated_data["columns"]
        if dataset.record_count and not given.validated_data["confirm"] and plan(dataset, changes).rewrites:
            detail = _("This change rewrites the records that are there. Send it again with “confirm”: true.")
            raise Problem(409, "confirmation-needed", detail)
        change_columns(actor=actor_of(request), dataset=dataset, changes=changes)
        return Response(self.get_serializer(dataset.columns.all(), many=True).data)


class VersionList(generics.ListAPIView[DatasetVersion]):
    """The frozen versions, newest first; freezing what the data set holds now."""

    permissions = DATA
    serializer_class = serializers.DatasetVersionSerializer
    queryset = DatasetVersion.objects.none()

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return dataset_of(self.request, self.kwargs["pk"]).versions.order_by("-created_at")

    @extend_schema(
        request=None,
        responses={200: serializers.DatasetVersionSerializer, 201: serializers.DatasetVersionSerializer},
        description=_("201 with a new version, or 200 with the existing one when nothing has changed since."),
    )
    @idempotent_long
    def post(self, request: Request, pk: UUID) -> Response:
        dataset = dataset_of(request, pk)
        if dataset.record_count > FREEZE_LIMIT:
            limit = f"{FREEZE_LIMIT:,}"
            detail = _("More than %(limit)s records are frozen by the job of a training run: start one.") % {
                "limit": limit
            }
            raise Problem(409, "too-large", detail)
        before = dataset.versions.count()
        try:
            version = freeze(actor=actor_of(request), dataset=dataset)
        except FreezeRefused as error:
            raise Problem(409, "cannot-freeze", str(error)) from error
        status = 201 if dataset.versions.count() > before else 200
        return Response(self.get_serializer(version).data, status=status)


class Quality(generics.GenericAPIView[Dataset]):
    """What the training records are like: missing values, outliers, balance, duplicates, columns that give the label away."""

    permissions = DATA

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(quality(dataset_of(request, pk)))
