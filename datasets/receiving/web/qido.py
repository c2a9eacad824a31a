"""QIDO-RS: studies, series and instances by the values that the index holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.db.models import Count, Max, Min, Q
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.actor import actor_of
from accounts.rest.problems import Problem
from accounts.rest.schema import AutoSchema
from datasets.receiving.index import INSTANCE, SERIES, STUDY, instances_of
from datasets.receiving.models import DicomInstance
from datasets.receiving.web.base import DICOM_JSON, OBJECTS, WebView

MOST, USUAL = 1_000, 100
MOST_WORDS = 200  # of a list of UIDs
MOST_STARS = 3
# Keyword → field of the index, by the level from which it can be asked for.
STUDY_KEYS = {"StudyInstanceUID": "study", "PatientID": "patient_id", "PatientName": "patient_id", "StudyDate": "study_date",
              "ModalitiesInStudy": "modality"}  # fmt: skip
SERIES_KEYS = {"SeriesInstanceUID": "series", "Modality": "modality", "SeriesNumber": "series_number"}
INSTANCE_KEYS = {"SOPInstanceUID": "instance", "SOPClassUID": "sop_class", "InstanceNumber": "number"}
KEYS = {"study": STUDY_KEYS, "series": STUDY_KEYS | SERIES_KEYS, "instance": STUDY_KEYS | SERIES_KEYS | INSTANCE_KEYS}
SHOWN = {"study": STUDY, "series": STUDY + SERIES, "instance": STUDY + SERIES + INSTANCE}
COUNTS = {"NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"}


def tag_of(name: str) -> str | None:
    """ "PatientID" or "00100020" → "00100020"; None for what is no attribute."""
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return name.upper()
    from pydicom.datadict import (
        tag_for_keyword,  # not in a web process before DICOM is asked for: it loads decoders
    )

    tag = tag_for_keyword(name)
    return f"{tag:08X}" if tag is not None else None


def element(keyword: str, *values: Any) -> dict[str, Any]:
    """One element in the DICOM JSON model: {tag: {vr, Value}}."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = f"{tag_for_keyword(keyword):08X}"
    vr = dictionary_VR(keyword)
    return {tag: {"vr": vr, "Value": list(values)} if values else {"vr": vr}}


def refused(text: str) -> Problem:
    return Problem(400, "invalid-query", text)


class Query:
    """What the address asks for. Raises Problem 400, which names what cannot be answered."""

    def __init__(self, level: str, given: Any) -> None:
        self.level, self.matches, self.fields, self.all = level, Q(), set[str](), False
        self.modalities: list[str] = []
        self.limit, self.offset = USUAL, 0
        known = {tag_of(keyword): (keyword, field) for keyword, field in KEYS[level].items()}
        for name in given:
            values = given.getlist(name)
            if name in ("limit", "offset"):
                setattr(self, name, self._number(name, values[-1]))
            elif name == "includefield":
                self._include(values)
            elif name in ("fuzzymatching", "accept"):
                continue
            elif (tag := tag_of(name)) in known:
                for value in values:
                    self._match(*known[tag], value)
            else:
                text = _("Studies, series and instances cannot be searched by “%(name)s”. Possible here: %(names)s.")
                raise refused(text % {"name": name[:64], "names": ", ".join(sorted(KEYS[level]))})
        self.limit = min(self.limit, MOST)

    def _number(self, name: str, value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise refused(_("“%(name)s” must be a whole number.") % {"name": name})
        return int(value)

    def _include(self, values: list[str]) -> None:
        for name in (part.strip() for value in values for part in value.split(",")):
            if name == "all":
                self.all = True
            elif tag := tag_of(name):
                self.fields.add(tag)

    def _match(self, keyword: str, field: str, value: str) -> None:
        value = value.strip()
        if not value or value == "*":  # universal matching
            return
        if "\0" in value or len(value) > 10_000:
            raise refused(_("“%(name)s” has no value that could match.") % {"name": keyword})
        if keyword == "ModalitiesInStudy":
            self.modalities.append(value)
        elif field in ("series_number", "number"):
            self.matches &= Q(**{field: self._number(keyword, value)})
        elif keyword == "StudyDate":
            self.matches &= self._date(value)
        elif keyword.endswith("UID"):
            self.matches &= Q(**{f"{field}__in": re.split(r"[,\\]", value)[:MOST_WORDS]})
        else:
            self.matches &= like(field, value)

    def _date(self, value: str) -> Q:
        match = re.fullmatch(r"(\d{8})?(-)?(\d{8})?", value)
        if match is None or not (match[1] or match[3]):
            raise refused(_("A date is YYYYMMDD, a range YYYYMMDD-YYYYMMDD; one side of it may be left out."))
        if not match[2]:
            return Q(study_date=match[1])
        found = Q(study_date__gt="")
        found &= Q(study_date__gte=match[1]) if match[1] else Q()
        return found & (Q(study_date__lte=match[3]) if match[3] else Q())


def like(field: str, value: str) -> Q:
    """Matching with * and ?."""
    if not set(value) & {"*", "?"}:
        return Q(**{field: value})
    if re.sub(r"\*+", "*", value).count("*") > MOST_STARS:  # each makes a search among all others longer by a factor
        raise Problem(400, "invalid-search", _("A search has at most %(most)d stars.") % {"most": MOST_STARS})
    pattern = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in re.sub(r"\*+", "*", value)[:64])
    return Q(**{f"{field}__regex": f"^{pattern}$"})


PARAMETERS = [
    OpenApiParameter("limit", int, description=f"how many at most; {USUAL} without it, never more than {MOST}"),
    OpenApiParameter("offset", int, description="how many to skip"),
    OpenApiParameter("includefield", str, description="keywords or tags beside the usual ones, or all"),
]


class SearchSchema(AutoSchema):
    """Searching and retrieving have addresses of one form: their names must differ."""

    def get_operation_id(self) -> str:
        return super().get_operation_id().replace("_retrieve", "_search")


class Search(WebView):
    """What matches, in the DICOM JSON model: an empty list where nothing does."""

    schema = SearchSchema()
    level = "instance"

    @extend_schema(parameters=PARAMETERS, responses=OBJECTS)
    def get(self, request: Request, **uids: str) -> Response:
        actor = actor_of(request)
        query = Query(self.level, request.query_params)
        self.accepts(DICOM_JSON, "application/json")
        rows = self.rows(**uids) if uids else instances_of(actor.organisation)
        found = FIND[self.level](rows, query, instances_of(actor.organisation), request)
        audit.record(actor, "dicom.searched", level=self.level, found=len(found))
        return Response(found, content_type=DICOM_JSON)


class SeriesSearch(Search):
    level = "series"


class InstanceSearch(Search):
    level = "instance"


def _within(rows: Any, query: Query, everything: Any) -> Any:
    rows = rows.filter(query.matches)
    for modality in query.modalities:
        rows = rows.filter(study__in=everything.filter(like("modality", modality)).values("study"))
    return rows


def _shown(row: DicomInstance, query: Query) -> dict[str, Any]:
    wanted = {tag_of(name) for name in SHOWN[query.level]} | query.fields
    kept = row.attributes.items()
    return {tag: value for tag, value in kept if query.all or tag in wanted}


def _modalities(everything: Any, studies: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {study: [] for study in studies}
    pairs = everything.filter(study__in=studies).order_by("study", "modality").values_list("study", "modality").distinct()
    for study, modality in pairs:
        found[study].append(modality)
    return found


def _address(request: Request, *parts: str) -> dict[str, Any]:
    base = request.build_absolute_uri("/api/v1/dicomweb")
    return element("RetrieveURL", "/".join((base, *parts)))


def _studies(rows: Any, query: Query, everything: Any, request: Request) -> list[dict[str, Any]]:
    groups = _within(rows, query, everything).order_by().values("study")
    groups = groups.annotate(date=Max("study_date"), first=Min("pk")).order_by("-date", "study")
    page = list(groups[query.offset : query.offset + query.limit])
    studies = [group["study"] for group in page]
    counts = everything.filter(study__in=studies).order_by().values("study")
    counted = {g["study"]: g for g in counts.annotate(images=Count("pk"), series=Count("series", distinct=True))}
    first, modalities = rows.in_bulk([group["first"] for group in page]), _modalities(everything, studies)
    return [
        _shown(first[group["first"]], query)
        | element("StudyInstanceUID", study)
        | element("ModalitiesInStudy", *modalities[study])
        | element("NumberOfStudyRelatedSeries", counted[study]["series"])
        | element("NumberOfStudyRelatedInstances", counted[study]["images"])
        | element("InstanceAvailability", "ONLINE")
        | _address(request, "studies", study)
        for group in page
        for study in [group["study"]]
    ]


def _series(rows: Any, query: Query, everything: Any, request: Request) -> list[dict[str, Any]]:
    groups = _within(rows, query, everything).order_by().values("study", "series")
    groups = groups.annotate(first=Min("pk"), place=Min("series_number")).order_by("study", "place", "series")
    page = list(groups[query.offset : query.offset + query.limit])
    counts = everything.filter(series__in=[group["series"] for group in page]).order_by().values("study", "series")
    counted = {(g["study"], g["series"]): g["images"] for g in counts.annotate(images=Count("pk"))}
    first = rows.in_bulk([group["first"] for group in page])
    return [
        _shown(first[group["first"]], query)
        | element("StudyInstanceUID", group["study"])
        | element("SeriesInstanceUID", group["series"])
        | element("NumberOfSeriesRelatedInstances", counted[group["study"], group["series"]])
        | _address(request, "studies", group["study"], "series", group["series"])
        for group in page
    ]


def _instances(rows: Any, query: Query, everything: Any, request: Request) -> list[dict[str, Any]]:
    ordered = _within(rows, query, everything).order_by("study", "series", "number", "pk")
    return [
        _shown(row, query)
        | element("StudyInstanceUID", row.study)
        | element("SeriesInstanceUID", row.series)
        | element("SOPInstanceUID", row.instance)
        | element("InstanceAvailability", "ONLINE")
        | _address(request, "studies", row.study, "series", row.series, "instances", row.instance)
        for row in ordered[query.offset : query.offset + query.limit]
    ]


FIND: dict[str, Callable[..., list[dict[str, Any]]]] = {"study": _studies, "series": _series, "instance": _instances}
