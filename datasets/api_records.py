"""REST: the records of a data set."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.actor import actor_of
from accounts.rest.idempotency import idempotent
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets import queries, serializers
from datasets.api import DATA, dataset_of
from datasets.models import Record, Split
from datasets.records import RecordRefused, add_records, change_label


class RecordQuerySerializer(fields.Serializer[Any]):
    """Filters, order and page of a list of records."""

    patient = fields.CharField(required=False, max_length=100, help_text="the beginning of a patient key")
    text = fields.CharField(required=False, max_length=200, help_text="anywhere in a value, in any case")
    target = fields.CharField(
        required=False, max_length=200, help_text="the label; “(none)”: without a label"
    )
    split = fields.ChoiceField(required=False, choices=Split.choices)
    upload = fields.UUIDField(required=False)
    source = fields.ChoiceField(  # type: ignore[assignment]
        required=False, choices=Record.Source.choices
    )
    missing = fields.CharField(required=False, max_length=200, help_text="a column without a value; “*”: any")
    sort = fields.ChoiceField(required=False, choices=queries.SORTS, default="newest")
    cursor = fields.CharField(required=False, max_length=1000)
    page_size = fields.IntegerField(required=False, min_value=1, max_value=200, default=50)


def refused(error: RecordRefused, many: bool) -> Problem:
    """A problem that names each wrong field."""
    prefix = f"records[{error.index}]" if many else "values"
    errors = [
        {"field": f"{prefix}.{name}" if name else prefix, "message": text, "code": "invalid"}
        for name, text in error.errors.items()
    ]
    return Problem(400, "invalid", f"{errors[0]['field']}: {errors[0]['message']}", errors=errors)


class RecordList(generics.GenericAPIView[Record]):
    """Records, page by page; adding one, or up to 1,000 at once (all or none)."""

    permissions = DATA
    serializer_class = serializers.RecordPageSerializer
    pagination_class = None

    @extend_schema(
        operation_id="datasets_records_list",
        parameters=[RecordQuerySerializer],
        responses=serializers.RecordPageSerializer,
    )
    def get(self, request: Request, pk: UUID) -> Response:
        dataset = dataset_of(request, pk)
        query = RecordQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = {
            key: str(value)
            for key, value in query.validated_data.items()
            if key not in ("cursor", "page_size")
        }
        missing = asked.get("missing", "*")
        if missing != "*" and not dataset.columns.filter(name=missing).exists():
            # Every record lacks a column that does not exist: a slip of the pen would look like an answer.
            raise fields.ValidationError({"missing": _("There is no column “%(column)s”.") % {"column": missing}})
        record_filter = queries.RecordFilter(**asked)
        try:
            page = queries.page(
                dataset,
                record_filter,
                cursor=query.validated_data.get("cursor", ""),
                size=query.validated_data["page_size"],
            )
        except queries.BadCursor:
            raise fields.ValidationError({"cursor": _("This is not a cursor of this list.")}) from None
        audit.record(
            actor_of(request), "records.listed", dataset, count=len(page.records), filters=record_filter.names
        )
        parameters = {**request.query_params.dict(), "cursor": page.next}
        next_url = (
            request.build_absolute_uri(f"{request.path}?{urlencode(parameters)}") if page.next else None
        )
        body = {"next": next_url, "looked_at": page.looked_at, "results": page.records}
        return Response(self.get_serializer(body).data)

    @extend_schema(
        request=serializers.RecordsCreateSerializer, responses={201: serializers.RecordsCreatedSerializer}
    )
    @idempotent
    def post(self, request: Request, pk: UUID) -> Response:
        dataset = dataset_of(request, pk)
        if dataset.archived_at is not None:
            raise Problem(409, "archived", _("This data set is archived: restore it first, or choose another one."))
        given = serializers.RecordsCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        many = "records" in given.validated_data
        rows = given.validated_data["records"] if many else [given.validated_data["values"]]
        try:
            known = given.validated_data["known"]
            added = add_records(
                actor=actor_of(request), dataset=dataset, rows=rows, source=Record.Source.API, known=known
            )
        except RecordRefused as error:
            raise refused(error, many) from error
        # No patient data in the answer: it is kept for repeats of the request, and must not outlive an erasure.
        created = sum(is_new for _record, is_new in added)
        records = [{"id": r.pk, "created": is_new, "split": r.split} for r, is_new in added]
        return Response({"added": created, "repeated": len(added) - created, "records": records}, status=201)


class RecordDetail(generics.GenericAPIView[Record]):
    """One record with its history; correcting its label."""

    permissions = DATA
    serializer_class = serializers.RecordDetailSerializer

    def record(self, request: Request, dataset_pk: UUID, pk: int) -> Record:
        rows = Record.objects.select_related("dataset").prefetch_related("changes__changed_by", "files__file")
        record: Record = get_or_404(rows, actor_of(request), dataset=dataset_pk, pk=pk)
        return record

    def get(self, request: Request, dataset_pk: UUID, pk: int) -> Response:
        record = self.record(request, dataset_pk, pk)
        audit.record(actor_of(request), "record.read", record, dataset=str(dataset_pk))
        return Response(self.get_serializer(record).data)

    @extend_schema(request=serializers.LabelSerializer)
    def patch(self, request: Request, dataset_pk: UUID, pk: int) -> Response:
        record = self.record(request, dataset_pk, pk)
        given = serializers.LabelSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        try:
            change_label(actor=actor_of(request), record=record, value=data["label"], reason=data["reason"])
        except RecordRefused as error:
            raise Problem(
                400,
                "invalid",
                str(error),
                errors=[
                    {"field": "label", "message": text, "code": "invalid"} for text in error.errors.values()
                ],
            ) from error
        return Response(self.get_serializer(self.record(request, dataset_pk, pk)).data)
