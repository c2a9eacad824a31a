"""STOW-RS: instances in a multipart body, durable in the spool before the answer, then the same way as those of a C-STORE."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass
from email.message import Message
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.actor import Actor, actor_of
from accounts.permissions import Permission
from accounts.rest.problems import Problem
from accounts.rest.throttling import StoreThrottle
from datasets.dicom.codes import Unreadable
from datasets.receiving import part10, sharing
from datasets.receiving.body import Body
from datasets.receiving.directory import Room, room_now
from datasets.receiving.web.base import DICOM, DICOM_JSON, OBJECTS, RELATED, RelatedParser
from datasets.receiving.web.multipart import MOST_PARTS, Malformed, Parts, TooMany
from datasets.receiving.web.qido import Search
from datasets.receiving.writing import Appended
from datasets.tus.base import body_of

logger = logging.getLogger(__name__)
# Failure reasons, PS3.18 table I.2-2.
NOT_UNDERSTOOD, NO_ROOM, FAILED = 0xC000, 0xA700, 0x0110
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass
class Stored:
    """One part of the body and what became of it; `reason` 0 is success."""

    sop_class: str = ""
    sop_instance: str = ""
    reason: int = 0
    appended: Appended | None = None  # where in the spool, to be waited for


def boundary_of(header: str) -> str:
    """The boundary of a multipart/related body of DICOM. Raises Problem 415."""
    message = Message()
    message["Content-Type"] = header
    boundary, kind = message.get_param("boundary"), message.get_param("type") or DICOM
    if message.get_content_type() != RELATED or not boundary or str(kind).lower() != DICOM:
        raise Problem(415, "unsupported-media-type", _("Send multipart/related; type=\"application/dicom\"; boundary=…"))
    return str(boundary)


def store(actor: Actor, parts: Parts) -> list[Stored]:
    """Every part durable in the spool, or with the reason why not. Raises Malformed.

    Also then what came whole before is kept, once its segment is closed: a repeat finds it as a duplicate.
    """
    room = room_now(actor.organisation)
    found: list[Stored] = []
    for _headers, pieces in parts:
        body = Body(settings.MAX_UPLOAD_BYTES, settings.FILE_UPLOAD_TEMP_DIR)
        try:
            for piece in pieces:
                body.write(piece)
            one = _looked_at(body, room)
            if not one.reason:
                one.appended = sharing.shared.append(actor, body.pieces)
        except OSError as error:
            one = Stored(reason=NO_ROOM if error.errno in FULL or error.errno is None else FAILED)
        finally:
            body.close()
        found.append(one)
    for one in found:
        _wait_for(one)
    return found


def _wait_for(one: Stored) -> None:
    """One flush for all the parts, and for those of other requests that are being answered."""
    if one.appended is not None:
        segment, number = one.appended
        try:
            segment.durable(number)
        except OSError as error:
            logger.warning("instances could not be kept: %s", errno.errorcode.get(error.errno or 0, "OSError"))
            one.reason = FAILED


def _looked_at(body: Body, room: Room) -> Stored:
    """What an instance says it is; no more is read of it here."""
    if body.too_large:
        return Stored(reason=NO_ROOM)
    meta = part10.meta_of(body.start(part10.STARTS))
    one = Stored(meta.sop_class, meta.sop_instance) if meta is not None else _by_pydicom(body)
    if not one.reason and not room.take(body.size):
        one.reason = NO_ROOM
    return one


def _by_pydicom(body: Body) -> Stored:
    """The same of an unusual header."""
    from pydicom.filereader import _read_file_meta_info, dcmread, read_preamble

    from datasets.dicom.reading import DEFLATED, coded

    try:
        with body.opened() as stream, coded("not_dicom"):
            read_preamble(stream, False)
            meta = _read_file_meta_info(stream)
            one = Stored(str(meta.get("MediaStorageSOPClassUID", "")), str(meta.get("MediaStorageSOPInstanceUID", "")))
            if not one.sop_instance and str(meta.TransferSyntaxUID).encode() != DEFLATED:  # some writers leave it to the data set
                stream.seek(0)
                data = dcmread(stream, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
                one = Stored(str(data.get("SOPClassUID", "")), str(data.get("SOPInstanceUID", "")))
            if not meta.TransferSyntaxUID or not one.sop_instance:
                return Stored(reason=NOT_UNDERSTOOD)
    except Unreadable:
        return Stored(reason=NOT_UNDERSTOOD)
    return one


def answer_of(found: list[Stored]) -> dict[str, Any]:
    """The Store Instances Response Module (PS3.18 table I.2-1). Without addresses: the UIDs are replaced on the way in."""

    def item(one: Stored) -> dict[str, Any]:
        named = {"00081150": one.sop_class, "00081155": one.sop_instance}
        answer: dict[str, Any] = {tag: {"vr": "UI", "Value": [value]} if value else {"vr": "UI"} for tag, value in named.items()}
        if one.reason:
            answer["00081197"] = {"vr": "US", "Value": [one.reason]}
        return answer

    good, bad = [item(one) for one in found if not one.reason], [item(one) for one in found if one.reason]
    answer: dict[str, Any] = {"00081190": {"vr": "UR"}}
    if good:
        answer["00081199"] = {"vr": "SQ", "Value": good}
    if bad:
        answer["00081198"] = {"vr": "SQ", "Value": bad}
    return answer


class Studies(Search):
    """The organisation's studies (QIDO-RS); POST stores instances (STOW-RS)."""

    permissions = {"read": Permission.VIEW_DATA, "write": Permission.WRITE_DATA}
    http_method_names = ["get", "head", "options", "post"]
    parser_classes = (RelatedParser,)
    level = "study"

    def get_throttles(self) -> list[Any]:
        return [StoreThrottle()] if self.request.method == "POST" else super().get_throttles()

    @extend_schema(
        operation_id="dicomweb_store",
        request={RELATED: OpenApiTypes.BINARY},
        responses={
            **OBJECTS,
            (202, DICOM_JSON): OpenApiTypes.OBJECT,
            409: OpenApiResponse(description="none was stored; each failure has its reason"),
        },
    )
    def post(self, request: Request) -> Response:
        if not request.META.get("CONTENT_LENGTH"):  # the server does not hand on a body without
            raise Problem(411, "length-required", _("Send the body with a Content-Length, not in chunks."))
        boundary = boundary_of(request.headers.get("Content-Type", ""))
        actor = actor_of(request)
        try:
            with body_of(request) as read:
                found = store(actor, Parts(read, boundary))
        except TooMany as error:
            text = _("At most %(most)d instances in one request. Those were kept: send the others in further ones.")
            raise Problem(413, "too-many-instances", text % {"most": MOST_PARTS}) from error
        except (Malformed, OSError) as error:
            text = _("The body ended too early, or is not multipart/related. Send it again: what came before is not doubled.")
            raise Problem(400, "malformed", text) from error
        failed = sum(bool(one.reason) for one in found)
        if failed:  # who stored the others is written down with the arrival that they become
            audit.record(actor, "dicom.not_stored", outcome="failed", instances=failed)
        status = 200 if found and not failed else 202 if failed < len(found) else 409
        return Response(answer_of(found), status=status, content_type=DICOM_JSON)
