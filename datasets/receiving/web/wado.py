"""WADO-RS: instances, their metadata, their frames and how they look; de-identified as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.core.files.storage import default_storage
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.actor import actor_of
from accounts.rest.problems import Problem
from datasets.arrivals import desks, reasons
from datasets.arrivals.desk import Desk
from datasets.arrivals.found import Refused
from datasets.dicom.codes import TEXTS, Unreadable
from datasets.receiving.models import DicomInstance
from datasets.receiving.web.base import DICOM, DICOM_JSON, OBJECTS, RELATED, WebView
from datasets.receiving.web.multipart import PIECE, written
from datasets.storage import local

OCTETS, PNG, JPEG = "application/octet-stream", "image/png", "image/jpeg"
MOST_METADATA = 2_000  # instances in one answer
MOST_FRAMES = 100
MOST_BYTES = 128 * 2**20  # of the decoded frames of one answer
BINARY = {(200, RELATED): OpenApiTypes.BINARY}
PICTURES = {(200, PNG): OpenApiTypes.BINARY, (200, JPEG): OpenApiTypes.BINARY}


def undrawn(code: str, facts: dict[str, Any] | None = None) -> Problem:
    """Why a file cannot be shown: a code of DICOM's own, or of the desk."""
    text = str(TEXTS[code]) if code in TEXTS else reasons.text(code, facts)
    return Problem(422, code.replace("_", "-"), text)


def _related(parts: Iterator[tuple[str, Iterator[bytes]]], kind: str) -> StreamingHttpResponse:
    boundary = uuid4().hex
    content_type = f'{RELATED}; type="{kind}"; boundary={boundary}'
    return StreamingHttpResponse(written(parts, boundary), content_type=content_type)


def _content(row: DicomInstance) -> Iterator[bytes]:
    with default_storage.open(row.file.path, "rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


class Retrieve(WebView):
    """The instances themselves, each as a Part 10 file, in the encoding that it is stored in."""

    @extend_schema(responses=BINARY)
    def get(self, request: Request, **uids: str) -> HttpResponseBase:
        rows = self.rows(**uids).select_related("file").order_by("series", "number", "pk")
        self.accepts(DICOM)
        audit.record(actor_of(request), "dicom.retrieved", instances=rows.count(), **uids)
        parts = ((f"{DICOM}; transfer-syntax={row.transfer_syntax}", _content(row)) for row in rows.iterator(chunk_size=200))
        return _related(parts, DICOM)


class Metadata(WebView):
    """Everything but the pixels, in the DICOM JSON model."""

    @extend_schema(responses=OBJECTS)
    def get(self, request: Request, **uids: str) -> Response:
        rows = list(self.rows(**uids).select_related("file").order_by("series", "number", "pk")[: MOST_METADATA + 1])
        self.accepts(DICOM_JSON, "application/json")
        if len(rows) > MOST_METADATA:
            text = _("Too many instances for one answer. Ask for the metadata of each series.")
            raise Problem(413, "too-many-instances", text)
        audit.record(actor_of(request), "dicom.metadata_read", instances=len(rows), **uids)
        try:
            return Response([_metadata(row) for row in rows], content_type=DICOM_JSON)
        except Unreadable as error:
            raise undrawn(error.code) from error


def _metadata(row: DicomInstance) -> dict[str, Any]:
    from datasets.dicom.reading import coded, read

    with local(row.file) as path:
        data = read(path, header=True)
        with coded("header_unreadable"):
            found: dict[str, Any] = data.to_json_dict()
    found["00083002"] = {"vr": "UI", "Value": [row.transfer_syntax]}  # Available Transfer Syntax UID
    return found


class Pixels(WebView):
    """What needs one instance's pixels: a desk decodes them, never this process."""

    def pieces(self, uids: dict[str, str], numbers: list[int], ask: Callable[[Desk, Path, int], bytes]) -> list[bytes]:
        """What the desk answers for each frame (from 1). Raises Problem 422 or 503, or 404 for a frame that there isn't."""
        row: DicomInstance | None = self.rows(**uids).select_related("file").order_by("-pk").first()
        if row is None:  # erased meanwhile
            raise Http404
        found: list[bytes] = []
        try:
            with local(row.file) as path:
                for number in numbers:
                    with desks.shared() as desk:  # for each frame anew: others wait for it too
                        found.append(ask(desk, path, number - 1))
                    if sum(map(len, found)) > MOST_BYTES:
                        text = _("These frames are too large for one answer. Ask for fewer of them.")
                        raise Problem(413, "too-large", text)
        except Refused as error:
            raise undrawn(error.code, error.facts) from error
        except desks.Busy as error:
            raise Problem(503, "busy", _("The server is busy looking at other files. Ask again in a minute.")) from error
        if not all(found):
            raise Http404
        return found


def _numbers(text: str) -> list[int]:
    """Frame numbers of an address. Raises Problem 400, or 404 for number 0."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 8 for part in parts) or len(parts) > MOST_FRAMES:
        raise Problem(400, "invalid-frames", _("Frames are numbers from 1, separated by commas, not too many at once."))
    found = list(dict.fromkeys(int(part) for part in parts))
    if min(found) < 1:
        raise Http404
    return found


class Frames(Pixels):
    """Frames without a header: decoded, little endian, colour by pixel and as RGB, single bits as bytes."""

    @extend_schema(responses={(200, RELATED): OpenApiTypes.BINARY})
    def get(self, request: Request, frames: str, **uids: str) -> HttpResponseBase:
        self.rows(**uids)
        numbers = _numbers(frames)
        self.accepts(OCTETS)
        contents = self.pieces(uids, numbers, lambda desk, path, index: desk.dicom_frame(path, index))
        audit.record(actor_of(request), "dicom.frames_read", frames=len(numbers), **uids)
        kind = f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.1"
        return _related(((kind, iter((content,))) for content in contents), OCTETS)


class Rendered(Pixels):
    """A frame as a radiologist's screen shows it, as PNG or JPEG."""

    @extend_schema(
        parameters=[
            OpenApiParameter("window", str, description="centre,width[,linear] in the modality's units"),
            OpenApiParameter("viewport", str, description="width,height in pixels that the picture is scaled down into"),
            OpenApiParameter("quality", int, description="of a JPEG, 1 to 100"),
        ],
        responses=PICTURES,
    )
    def get(self, request: Request, frames: str = "1", **uids: str) -> HttpResponse:
        self.rows(**uids)
        given = request.query_params
        window, viewport, quality = _pair(given, "window"), _pair(given, "viewport"), given.get("quality", "90")
        number = _numbers(frames)[0]
        kind = self.accepts(JPEG, PNG) if "Accept" in request.headers or "accept" in given else JPEG
        how = {
            "window": window, "viewport": viewport, "form": "PNG" if kind == PNG else "JPEG",
            "quality": int(quality) if quality.isascii() and quality.isdigit() and 1 <= int(quality) <= 100 else 90,
        }  # fmt: skip
        content = self.pieces(uids, [number], lambda desk, path, index: desk.dicom_shown(path, index, **how))[0]
        audit.record(actor_of(request), "dicom.rendered", frame=number, **uids)
        return HttpResponse(content, content_type=kind)


def _pair(given: Any, name: str) -> tuple[float, float] | None:
    """Two numbers of a query parameter. Raises Problem 400."""
    if name not in given:
        return None
    try:
        first, second = (float(part) for part in given[name].split(",")[:2])
    except ValueError:
        first, second = float("nan"), float("nan")
    if not (abs(first) < 1e7 and 0 < second < 1e7):
        raise Problem(400, f"invalid-{name}", _("“%(name)s” takes two numbers, the second above 0.") % {"name": name})
    return first, second
