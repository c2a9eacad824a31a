"""What all DICOMweb resources share: media types, the instances that are meant, DICOM JSON."""

from __future__ import annotations

import re
from typing import Any

from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from rest_framework import parsers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.problems import Problem
from datasets.receiving.index import instances_of

DICOM, DICOM_JSON, RELATED = "application/dicom", "application/dicom+json", "multipart/related"
UID = re.compile(r"[0-9.]{1,64}")
OBJECTS = {(200, DICOM_JSON): OpenApiTypes.OBJECT}


class DicomJsonRenderer(JSONRenderer):
    """JSON under its DICOM name."""

    media_type = DICOM_JSON
    format = "dicom"


class FirstRenderer(BaseContentNegotiation):
    """Views look at Accept themselves: parameters such as type= and transfer-syntax= say what is wanted."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        wanted = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == wanted), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class RelatedParser(parsers.BaseParser):
    """Names the media type; the body is read by the view, piece by piece."""

    media_type = RELATED

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:
        return {}


class WebView(APIView):
    """A resource of the organisation's stored instances."""

    permissions = {"read": Permission.VIEW_DATA}
    renderer_classes = (DicomJsonRenderer,)
    content_negotiation_class = FirstRenderer
    http_method_names = ["get", "head", "options"]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response

    def rows(self, **uids: str) -> Any:
        """The instances of a study, a series, or one; 404 where the organisation has none."""
        if not all(UID.fullmatch(value) for value in uids.values()):
            raise Http404
        found = instances_of(actor_of(self.request).organisation).filter(**uids)
        if not found.exists():
            raise Http404
        return found

    def accepts(self, *kinds: str) -> str:
        """The first of these media types that the caller takes. Raises Problem 406. Without a header the first one."""
        wanted = self.request.query_params.get("accept") or self.request.headers.get("Accept") or "*/*"
        taken = [part.strip().lower().replace('"', "") for part in re.split(r",(?![^\"]*\"(?:[^\"]*\"[^\"]*\")*[^\"]*$)", wanted)]
        for entry in taken:
            media, _semicolon, rest = entry.partition(";")
            if media == RELATED:
                media = next((p.strip()[5:] for p in rest.split(";") if p.strip().startswith("type=")), "*/*")
            for kind in kinds:
                if media in (kind, "*/*", kind.partition("/")[0] + "/*"):
                    return kind
        offered = ", ".join(kinds)
        raise Problem(406, "not-acceptable", _("This resource is offered as %(types)s.") % {"types": offered})
