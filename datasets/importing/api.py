"""REST: importers, their test, preview, mapping, schedule, runs and history."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets import intake
from datasets.importing import opening, said, services, together
from datasets.importing.base import Source, SourceError
from datasets.importing.forms import to_ask_again
from datasets.importing.models import Importer, ImporterRun
from datasets.importing.serializers import (
    ImporterChangeSerializer,
    ImporterRunDetailSerializer,
    ImporterRunSerializer,
    ImporterSerializer,
    KindSerializer,
    LookSerializer,
    MappingSerializer,
    NewImporterSerializer,
    PauseSerializer,
    ScheduleSerializer,
)
from datasets.models import Dataset

MANAGE = {"read": Permission.MANAGE_ORGANISATION, "write": Permission.MANAGE_ORGANISATION}
READ_AND_MANAGE = {"read": Permission.VIEW_DATA, "write": Permission.MANAGE_ORGANISATION}
START = {"write": Permission.WRITE_DATA}


@contextmanager
def told() -> Iterator[None]:
    """What the services refuse, as problems."""
    try:
        yield
    except ValidationError as error:
        detail = error.message_dict if hasattr(error, "error_dict") else {"columns": error.messages}
        raise serializers.ValidationError(detail) from error
    except (services.ImporterRefused, intake.IntakeRefused) as error:
        status = 409 if error.code in ("paused", "not_mapped", "no_preview", "archived") else 422
        raise Problem(status, error.code.replace("_", "-"), str(error)) from error
    except SourceError as error:
        raise Problem(422, error.code.replace("_", "-"), str(error)) from error


def _importer(request: Request, pk: Any) -> Importer:
    rows = Importer.objects.select_related("dataset", "organisation", "look_job")
    found: Importer = get_or_404(rows, actor_of(request), pk=pk)
    return found


def _answer(request: Request, pk: Any, status: int = 200) -> Response:
    context = {"manages": actor_of(request).may(Permission.MANAGE_ORGANISATION)}
    return Response(ImporterSerializer(_importer(request, pk), context=context).data, status=status)


def _dataset(request: Request, pk: Any) -> Dataset | None:
    return get_or_404(Dataset.objects, actor_of(request), pk=pk) if pk else None


def _cleaned(request: Request, source: type[Source], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as the source's own form cleans them; what is wrong with each, by its name."""
    if unknown := sorted(set(given) - set(source.Form().fields)):
        raise serializers.ValidationError({"settings": {name: ["There is no such setting."] for name in unknown}})
    form = opening.form_of(source, actor_of(request).organisation, dict(given))
    if not form.is_valid():
        errors = {name: [str(text) for text in texts] for name, texts in form.errors.items()}
        raise serializers.ValidationError({"settings": errors})
    return dict(form.cleaned_data)


class KindList(APIView):
    """Where data can come from, and what each kind asks for."""

    permissions = MANAGE

    @extend_schema(operation_id="importers_kinds_list", responses=KindSerializer(many=True))
    def get(self, request: Request) -> Response:
        rows = []
        for source in opening.kinds().values():
            fields = [
                {
                    "name": name, "label": str(field.label or name), "help": str(field.help_text), "required": field.required,
                    "secret": name in source.secrets, "choices": [str(value) for value, _label in getattr(field, "choices", ())],
                }
                for name, field in source.Form().fields.items()
            ]  # fmt: skip
            rows.append({"kind": source.kind, "label": source.label, "explained": source.explained,
                         "delivers": str(source.delivers), "settings": fields})  # fmt: skip
        return Response(KindSerializer(rows, many=True).data)


class ImporterList(generics.ListAPIView[Importer]):
    """The organisation's importers. POST sets one up and tests its connection; a second one of the same name is refused.

    It takes no `Idempotency-Key`: the body holds secrets, and not even a hash of them is kept.
    """

    permissions = READ_AND_MANAGE
    serializer_class = ImporterSerializer
    parser_classes = (JSONParser,)
    queryset = Importer.objects.none()

    def get_queryset(self) -> Any:
        return Importer.objects.for_organisation(actor_of(self.request).organisation).defer("look", "cursor")

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "manages": actor_of(self.request).may(Permission.MANAGE_ORGANISATION)}

    @extend_schema(request=NewImporterSerializer, responses={201: ImporterSerializer})
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        given = NewImporterSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        with told():
            cleaned = _cleaned(request, opening.kind_of(data["kind"]), data["settings"])
            row = services.add_importer(
                actor=actor_of(request), name=data["name"], kind=data["kind"], settings=cleaned, treatment=data["treatment"],
                dataset=_dataset(request, data.get("dataset")), zone=settings.TIME_ZONE,
            )  # fmt: skip
        return _answer(request, row.pk, 201)


class ImporterDetail(APIView):
    """One of them: PATCH changes it and tests its connection, DELETE ends it."""

    permissions = READ_AND_MANAGE
    parser_classes = (JSONParser,)

    @extend_schema(responses=ImporterSerializer)
    def get(self, request: Request, pk: Any) -> Response:
        return _answer(request, pk)

    @extend_schema(request=ImporterChangeSerializer, responses=ImporterSerializer)
    def patch(self, request: Request, pk: Any) -> Response:
        row = _importer(request, pk)
        change = ImporterChangeSerializer(data=request.data)
        change.is_valid(raise_exception=True)
        data = change.validated_data
        with told():
            source = opening.kind_of(row.kind)
            given = data.get("settings", {})
            cleaned = _cleaned(request, source, {**row.settings, **row.secrets, **given})
            if names := to_ask_again(source, row.settings, cleaned, given, row.secrets):
                text = _("Enter it again: what was changed says where it is sent.")
                raise serializers.ValidationError({"settings": {name: [text] for name in names}})
            services.change_importer(
                actor=actor_of(request), importer=row, name=data.get("name", row.name), settings=cleaned,
                treatment=data.get("treatment", row.treatment), from_beginning=data["from_beginning"],
                dataset=_dataset(request, data["dataset"]) if "dataset" in data else row.dataset,
            )  # fmt: skip
        return _answer(request, pk)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: Any) -> Response:
        services.remove_importer(actor=actor_of(request), importer=_importer(request, pk))
        return Response(status=204)


class ImporterTest(APIView):
    """Test the connection and preview what would come, by a job; GET …/preview/ tells what it found."""

    permissions = MANAGE
    parser_classes = (JSONParser,)

    @extend_schema(request=None, responses={202: LookSerializer})
    def post(self, request: Request, pk: Any) -> Response:
        row = _importer(request, pk)
        services.submit_look(actor=actor_of(request), importer=row)
        return Response(_look(_importer(request, pk)), status=202)


class ImporterPreview(APIView):
    """What the last test found. The rows are patients'; they are forgotten once the mapping is confirmed, or after a day."""

    permissions = MANAGE

    @extend_schema(responses=LookSerializer)
    def get(self, request: Request, pk: Any) -> Response:
        return Response(_look(_importer(request, pk)))


def _look(row: Importer) -> dict[str, Any]:
    preview = row.look.get("preview", {})
    waiting = row.look_job is not None and not row.look_job.is_terminal
    told = said.found(row.look)
    return {
        "state": row.look.get("state") or ("waiting" if waiting else "none"), "job": row.look_job_id,
        **told, "notes": [*together.notes(row), *told["notes"]],
        "code": row.look.get("code", ""), "files": row.look.get("files", []),
        "columns": preview.get("columns", []), "rows": preview.get("rows", []),
    }  # fmt: skip


class ImporterMapping(APIView):
    """Say which field goes into which column, of the preview that is there."""

    permissions = MANAGE
    parser_classes = (JSONParser,)

    @extend_schema(request=MappingSerializer, responses=ImporterSerializer)
    def post(self, request: Request, pk: Any) -> Response:
        row = _importer(request, pk)
        given = MappingSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        with told():
            services.confirm_mapping(actor=actor_of(request), importer=row, **given.validated_data)
        return _answer(request, pk)


class ImporterSchedule(APIView):
    """When it runs by itself."""

    permissions = MANAGE
    parser_classes = (JSONParser,)

    @extend_schema(request=ScheduleSerializer, responses=ImporterSerializer)
    def post(self, request: Request, pk: Any) -> Response:
        row = _importer(request, pk)
        given = ScheduleSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        with told():
            services.set_schedule(actor=actor_of(request), importer=row, **given.validated_data)
        return _answer(request, pk)


class ImporterStart(APIView):
    """Run now. While a run waits or works, a repeat changes nothing."""

    permissions = START
    parser_classes = (JSONParser,)

    @extend_schema(request=None, responses={202: ImporterSerializer})
    def post(self, request: Request, pk: Any) -> Response:
        with told():
            services.run_now(actor=actor_of(request), importer=_importer(request, pk))
        return _answer(request, pk, 202)


class ImporterPause(APIView):
    """Pause, or let it go on."""

    permissions = START
    parser_classes = (JSONParser,)

    @extend_schema(request=PauseSerializer, responses=ImporterSerializer)
    def post(self, request: Request, pk: Any) -> Response:
        row = _importer(request, pk)
        given = PauseSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        services.pause(actor=actor_of(request), importer=row, paused=given.validated_data["paused"])
        return _answer(request, pk)


class RunList(generics.ListAPIView[ImporterRun]):
    """The history, newest first."""

    permissions = {"read": Permission.VIEW_DATA}
    serializer_class = ImporterRunSerializer
    ordering = "-pk"
    queryset = ImporterRun.objects.none()

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return ImporterRun.objects.none()
        row = get_or_404(Importer.objects, actor_of(self.request), pk=self.kwargs["pk"])
        return row.runs.defer("faulty", "notes", "cursor_before", "cursor_after")


class RunDetail(APIView):
    """One run, with the reason for each record or file that could not be taken."""

    permissions = {"read": Permission.VIEW_DATA}

    @extend_schema(responses=ImporterRunDetailSerializer)
    def get(self, request: Request, pk: Any, run: int) -> Response:
        row = get_or_404(ImporterRun.objects, actor_of(request), pk=run, importer=pk)
        return Response(ImporterRunDetailSerializer(row).data)
