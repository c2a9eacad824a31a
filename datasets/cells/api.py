"""REST: files for cells of records and diagnoses. Sent once, then named by their id, which is their SHA-256."""

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent_long
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets import storage
from datasets.cells import notes, store
from datasets.cells.models import CellFile


class CellFileSerializer(serializers.ModelSerializer[CellFile]):
    """A file that a cell can be: `id` is what cells of records and diagnoses hold."""

    id = serializers.CharField(source="file.sha256", help_text="SHA-256 of the content, as hexadecimal digits")
    size = serializers.IntegerField(source="file.size", help_text="bytes")
    format = serializers.CharField(source="form")

    notes = serializers.SerializerMethodField(help_text="what was made of several files, in sentences")

    class Meta:
        model = CellFile
        fields = ("id", "name", "kind", "format", "size", "notes", "created_at")
        read_only_fields = fields

    def get_notes(self, row: CellFile) -> list[str]:
        return notes.texts(row.notes)


class NewCellFileSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(
        allow_empty_file=True,
        help_text="several parts of this name are one cell: the slices of a DICOM series, or a WFDB header with its samples",
    )


class FileList(APIView):
    """Send a picture, a volume, a video or a signal. Nothing points to it yet: unless something does, it goes after a day.

    Several files that are one (a DICOM series, a WFDB header with its samples) come together, or as one ZIP of any folders.
    """

    permissions = {"write": Permission.DIAGNOSE}
    serializer_class = CellFileSerializer
    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="files_create",
        request={"multipart/form-data": NewCellFileSerializer},
        responses={201: CellFileSerializer},
    )
    @idempotent_long
    def post(self, request: Request) -> Response:
        given = NewCellFileSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        actor, files = actor_of(request), request.FILES.getlist("file")
        try:
            cell = store.take_in_together(actor=actor, files=[(file.name or "file", file) for file in files])
        except storage.TooLarge as error:
            raise Problem(413, "too-large", str(error)) from error
        except store.NotACell as error:
            if error.code == "busy":
                raise Problem(503, "busy", str(error)) from error
            text = _("This file cannot be taken. %(why)s") % {"why": error}
            raise Problem(422, f"file-{error.code}".replace("_", "-"), text) from error
        audit.record(actor, "file.received", cell.file, kind=cell.kind, form=cell.form, size=cell.file.size)
        return Response(CellFileSerializer(cell).data, status=201)


class FileDetail(APIView):
    """What is known of a file."""

    permissions = {"read": Permission.VIEW_DATA}
    serializer_class = CellFileSerializer

    @extend_schema(operation_id="files_retrieve", responses=CellFileSerializer)
    def get(self, request: Request, sha256: str) -> Response:
        rows = CellFile.objects.select_related("file")
        return Response(CellFileSerializer(get_or_404(rows, actor_of(request), file__sha256=sha256)).data)
