"""A small FHIR R4 server that keeps to the specification in what it offers: read, search with paging by links, and what it can.

No FHIR server comes as a package that runs here (HAPI needs a JVM); the resources are carebundle's, which are US Core conformant.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tests.datasets.importing.web import Reply, Request

SEARCHABLE = {
    "Patient": ("_id", "gender"), "Condition": ("patient", "code"), "Observation": ("patient", "code", "combo-code", "category"),
    "DiagnosticReport": ("patient", "code"), "ImagingStudy": ("patient",), "DocumentReference": ("patient",),
}  # fmt: skip
CONTROL = ("_sort", "_count", "_lastUpdated", "_summary", "_offset")


def codes_of(resource: dict[str, Any], combined: bool) -> set[str]:
    parts = [resource, *(resource.get("component", ()) if combined else ())]
    return {coding["code"] for part in parts for coding in part.get("code", {}).get("coding", ())}


def asked(text: str) -> set[str]:
    """Codes, some of them with their system before."""
    return {each.rpartition("|")[2] for each in text.split(",")}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class FhirServer:
    """Answers as a function of `web.serving`. `bearer`: the token that it asks for.

    `sorts`: whether it knows `_sort`, and says so. `lies`: it says that it sorts and does not.
    `after`: called after each answer to a search.
    """

    def __init__(self, bearer: str = "", *, sorts: bool = True, lies: bool = False) -> None:
        self.bearer, self.sorts, self.lies = bearer, sorts, lies
        self.after: Callable[[], None] = lambda: None
        self.kept: dict[tuple[str, str], dict[str, Any]] = {}
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def put(
        self, resource: dict[str, Any], *, same_moment: bool = False, at: datetime | None = None
    ) -> dict[str, Any]:
        if not same_moment and at is None:
            self.now += timedelta(seconds=1)
        key = (resource["resourceType"], resource["id"])
        version = int(self.kept[key]["meta"]["versionId"]) + 1 if key in self.kept else 1
        meta = {
            "versionId": str(version),
            "lastUpdated": (at or self.now).strftime("%Y-%m-%dT%H:%M:%S.123+00:00"),
        }
        self.kept[key] = {**resource, "meta": {**resource.get("meta", {}), **meta}}
        return self.kept[key]

    def __call__(self, request: Request) -> Reply:
        if self.bearer and request.headers.get("authorization") != f"Bearer {self.bearer}":
            return 401, {}, b""
        parts = request.path.removeprefix("/fhir/").split("/")
        if parts == ["metadata"]:
            return self._answer(200, self._statement())
        if parts[0] not in SEARCHABLE:
            return self._outcome(404, "not-supported", "Unknown resource type")
        if len(parts) == 2:
            found = self.kept.get((parts[0], parts[1]))
            return self._answer(200, found) if found else self._outcome(404, "not-found", "Unknown resource")
        return self._search(parts[0], request)

    def _search(self, name: str, request: Request) -> Reply:
        unknown = [each for each in request.all if each not in (*SEARCHABLE[name], *CONTROL)]
        if unknown:
            return self._outcome(400, "invalid", f"Unknown search parameter {unknown[0]}")
        found = [
            each
            for (kind, _id), each in self.kept.items()
            if kind == name and self._fits(each, request.query)
        ]
        if request.query.get("_summary") == "count":
            return self._answer(200, {"resourceType": "Bundle", "type": "searchset", "total": len(found)})
        if self.sorts and (sort := request.query.get("_sort")):
            found.sort(key=lambda each: each["meta"]["lastUpdated"], reverse=sort.startswith("-"))
        offset, count = int(request.query.get("_offset", 0)), min(20, int(request.query["_count"]))
        base = f"http://{request.headers['host']}/fhir/"
        known = {
            each: value for each, value in request.query.items() if self.sorts or self.lies or each != "_sort"
        }
        links = [{"relation": "self", "url": f"{base}{name}?{urlencode(known)}"}]
        if offset + count < len(found):
            links.append(
                {
                    "relation": "next",
                    "url": f"{base}{name}?{urlencode({**request.query, '_offset': offset + count})}",
                }
            )
        entries: list[dict[str, Any]] = [
            {"fullUrl": f"{base}{name}/{each['id']}", "resource": each, "search": {"mode": "match"}}
            for each in found[offset : offset + count]
        ]
        hint = {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "information", "code": "informational"}],
        }
        entries.append({"resource": hint, "search": {"mode": "outcome"}})
        bundle = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "link": links,
            "entry": entries,
        }
        self.after()
        return self._answer(200, bundle)

    def _fits(self, each: dict[str, Any], query: dict[str, str]) -> bool:
        subject = (each.get("subject") or each.get("patient") or {}).get("reference", "")
        since = query.get("_lastUpdated", "")
        return (
            ("patient" not in query or subject == f"Patient/{query['patient'].removeprefix('Patient/')}")
            and ("code" not in query or bool(codes_of(each, False) & asked(query["code"])))
            and ("combo-code" not in query or bool(codes_of(each, True) & asked(query["combo-code"])))
            and ("_id" not in query or each["id"] in query["_id"].split(","))
            and ("gender" not in query or each.get("gender") == query["gender"])
            and (not since or moment(each["meta"]["lastUpdated"]) >= moment(since.removeprefix("ge")))
        )

    @staticmethod
    def _statement() -> dict[str, Any]:
        resources = [
            {"type": name, "interaction": [{"code": "read"}, {"code": "search-type"}],
             "searchParam": [{"name": each, "type": "token"} for each in known]}
            for name, known in SEARCHABLE.items()
        ]  # fmt: skip
        return {
            "resourceType": "CapabilityStatement", "status": "active", "date": "2026-01-01", "kind": "instance",
            "fhirVersion": "4.0.1",
            "format": ["json"], "rest": [{"mode": "server", "resource": resources}],
        }  # fmt: skip

    @staticmethod
    def _answer(status: int, resource: dict[str, Any]) -> Reply:
        return status, {"Content-Type": "application/fhir+json"}, json.dumps(resource).encode()

    def _outcome(self, status: int, code: str, text: str) -> Reply:
        issue = {"severity": "error", "code": code, "diagnostics": text}
        return self._answer(status, {"resourceType": "OperationOutcome", "issue": [issue]})
