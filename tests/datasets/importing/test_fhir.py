"""The FHIR source against a server with the resources of carebundle (US Core R4), and against servers that misbehave."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from carebundle import generate_bundle

from datasets.importing.base import SourceError
from datasets.importing.network import Network
from tests.datasets.importing.conftest import HERE, drained, rows_of, source
from tests.datasets.importing.fhir_server import FhirServer
from tests.datasets.importing.web import Reply, Request, serving

pytestmark = pytest.mark.once
PATIENTS = 3


def numbers(item: dict[str, Any]) -> dict[str, Any]:
    """A quantity's value is a number in FHIR's JSON; carebundle's models write decimals as texts."""
    return {**item, "value": float(item["value"])} if "unit" in item and "value" in item else item


@pytest.fixture(scope="module")
def resources() -> list[dict[str, Any]]:
    """Of three patients, with references as a server keeps them."""
    found = []
    for seed in range(PATIENTS):
        bundle = json.loads(
            generate_bundle(profile="type2_diabetes", seed=seed).model_dump_json(
                exclude_none=True, by_alias=True
            )
        )
        names = {}
        for number, entry in enumerate(bundle["entry"]):
            resource = entry["resource"]
            resource["id"] = f"{resource['resourceType'].lower()}-{seed}-{number}"
            names[entry["fullUrl"]] = f"{resource['resourceType']}/{resource['id']}"
        text = json.dumps([entry["resource"] for entry in bundle["entry"]])
        for urn, name in names.items():
            text = text.replace(urn, name)
        found += json.loads(text, object_hook=numbers)
    wanted = {"Patient", "Observation", "Condition", "DiagnosticReport"}
    return [resource for resource in found if resource["resourceType"] in wanted]


@pytest.fixture
def server(resources: list[dict[str, Any]]) -> FhirServer:
    made = FhirServer()
    for resource in resources:
        made.put(resource)
    return made


def of(url: str, resource: str = "Patient", network: Network = HERE, **given: Any) -> Any:
    return source(
        "fhir", network, **{"address": f"{url}/fhir", "resource": resource, "sign_in": "none", **given}
    )


def codes(resources: list[dict[str, Any]], code: str) -> list[float]:
    found = [
        each
        for each in resources
        if any(coding["code"] == code for coding in each.get("code", {}).get("coding", ()))
    ]
    return [each["valueQuantity"]["value"] for each in found]


def test_a_record_for_each_patient(server: FhirServer, resources: list[dict[str, Any]]) -> None:
    with serving(server) as web:
        made = of(web.url)
        assert made.check() == f"{web.url}/fhir speaks FHIR 4.0.1. Resources of type Patient that fit: 3."
        preview = made.preview()
        assert preview.fields[:4] == ["patient", "sex", "birth_date", "diagnoses"]
        pieces, cursor = drained(of(web.url))
        rows = rows_of(pieces)
        assert [row["patient"] for row in rows] == [
            each["id"] for each in resources if each["resourceType"] == "Patient"
        ]
        assert [float(row["haemoglobin"] or 0) for row in rows] == codes(resources, "718-7")
        panels = [each for each in resources if "component" in each]
        assert [float(row["systolic"] or 0) for row in rows] == [
            each["component"][0]["valueQuantity"]["value"] for each in panels
        ]
        assert all(
            row["diagnoses"] and ("E11.9" in row["diagnoses"] or "44054006" in row["diagnoses"])
            for row in rows
        )
        assert drained(of(web.url), cursor)[0] == []
        # Something new of one patient, which leaves the patient's own resource as it is.
        reference = {"reference": f"Patient/{rows[1]['patient']}"}
        first = next(
            each
            for each in resources
            if each["resourceType"] == "Observation" and each["subject"] == reference
        )
        newer = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
        server.put(
            {
                **first,
                "id": "new",
                "code": newer,
                "valueQuantity": {"value": 6.5},
                "effectiveDateTime": "2030-01-01",
            }
        )
        pieces, later = drained(of(web.url), cursor)
        assert [(row["patient"], row["haemoglobin"]) for row in rows_of(pieces)] == [
            (rows[1]["patient"], "6.5")
        ]
        assert drained(of(web.url), later)[0] == []


def test_observations_first_nothing_the_new_and_the_same_moment(
    server: FhirServer, resources: list[dict[str, Any]]
) -> None:
    observations = [each for each in resources if each["resourceType"] == "Observation"]
    mapping = (
        "patient = Patient.id\nsex = Patient.gender\ncode = Observation.code.coding.code\nvalue = Observation"
    )
    with serving(server) as web:
        pieces, cursor = drained(of(web.url, "Observation", mapping=mapping))
        rows = rows_of(pieces)
        assert len(pieces) > 3  # a piece for each of the server's pages
        assert [row["code"] for row in rows] == [
            "; ".join(one["code"] for one in each["code"]["coding"]) for each in observations
        ]
        assert (
            sum(request.path.startswith("/fhir/Patient/") for request in web.requests) == PATIENTS
        )  # asked once each
        assert not any(
            "_offset" in request.query for request in web.requests
        )  # by the moment, which nothing shifts
        assert drained(of(web.url, "Observation", mapping=mapping), cursor)[0] == []
        server.put({**observations[0], "id": "same-moment"}, same_moment=True)
        server.put({**observations[1], "valueQuantity": {"value": 1.5}})  # a new version
        pieces, later = drained(of(web.url, "Observation", mapping=mapping), cursor)
        assert [row["value"] for row in rows_of(pieces)][1:] == ["1.5"]
        assert len(rows_of(pieces)) == 2
        assert drained(of(web.url, "Observation", mapping=mapping), later)[0] == []


@pytest.mark.parametrize("sorts", [True, False])
def test_cut_off_and_gone_on(server: FhirServer, sorts: bool) -> None:
    server.sorts = sorts
    if not sorts:
        server.kept = dict(reversed(server.kept.items()))
    with serving(server) as web:
        half = of(web.url, "Observation", mapping="id = Observation.id")
        got = half.pieces({})
        first, second = next(got), next(got)
        rest, cursor = drained(of(web.url, "Observation", mapping="id = Observation.id"), second.cursor)
        ids = [row["id"] for row in [*first.rows, *second.rows, *rows_of(rest)]]
        assert set(ids) == {identity for kind, identity in server.kept if kind == "Observation"}
        assert (len(ids) == len(set(ids))) is sorts
        assert drained(of(web.url, "Observation", mapping="id = Observation.id"), cursor)[0] == []


OBSERVATION = {"resourceType": "Observation", "status": "final"}
IDS = {"resource": "Observation", "mapping": "id = Observation.id"}


def ids_of(pieces: Any) -> list[str | None]:
    return [row["id"] for row in rows_of(pieces)]


@pytest.mark.parametrize("kind", ["sorts", "does not sort", "lies"])
def test_a_resource_that_changes_while_it_is_read_shifts_nothing_away(kind: str) -> None:
    """One of the first page moves to the end, after that page: by an offset, the first of the second page would be left out."""
    server = FhirServer(sorts=kind == "sorts", lies=kind == "lies")
    numbered = [server.put({**OBSERVATION, "id": f"o{number}"}) for number in range(50)]
    changes = [numbered[3]]

    def changed() -> None:
        if changes and server.sorts:
            server.put(changes.pop())

    if kind == "lies":
        server.kept = dict(reversed(server.kept.items()))
    server.after = changed
    with serving(server) as web:
        pieces, cursor = drained(of(web.url, **IDS))
        assert set(ids_of(pieces)) == {f"o{number}" for number in range(50)}
        assert [piece.cursor.get("since") is None for piece in pieces][:-1] == [kind != "sorts"] * (
            len(pieces) - 1
        )
        assert drained(of(web.url, **IDS), cursor)[0] == []


def test_many_of_one_moment_are_followed() -> None:
    server = FhirServer()
    for number in range(65):
        server.put({**OBSERVATION, "id": f"o{number}"}, same_moment=number % 45 != 0)
    with serving(server) as web:
        pieces, cursor = drained(of(web.url, **IDS))
        assert ids_of(pieces) == [f"o{number}" for number in range(65)]
        assert drained(of(web.url, **IDS), cursor)[0] == []


def test_what_is_stored_late_comes_and_a_future_silences_nothing() -> None:
    server = FhirServer()
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    server.put({**OBSERVATION, "id": "a"}, at=start)
    with serving(server) as web:
        cursor = drained(of(web.url, **IDS))[1]
        server.put({**OBSERVATION, "id": "late"}, at=start - timedelta(minutes=50))
        server.put({**OBSERVATION, "id": "later than the overlap"}, at=start - timedelta(minutes=70))
        server.put({**OBSERVATION, "id": "future"}, at=datetime(9999, 12, 31, tzinfo=UTC))
        pieces, cursor = drained(of(web.url, **IDS), cursor)
        assert ids_of(pieces) == ["late", "future"]
        assert drained(of(web.url, **IDS), cursor)[0] == []
        server.put({**OBSERVATION, "id": "new"}, at=start + timedelta(minutes=1))
        pieces, cursor = drained(of(web.url, **IDS), cursor)
        assert ids_of(pieces) == ["new"]
        assert drained(of(web.url, **IDS), cursor)[0] == []


def test_more_than_is_remembered_shortens_the_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.importing.sources.fhir_reading.AT_LAST", 10)
    server = FhirServer()
    for number in range(50):
        server.put({**OBSERVATION, "id": f"o{number}"})
    with serving(server) as web:
        pieces, cursor = drained(of(web.url, **IDS))
        assert (len(ids_of(pieces)), len(cursor["at"])) == (50, 10)
        assert drained(of(web.url, **IDS), cursor)[0] == []


def test_a_patient_outside_the_search_stays_outside() -> None:
    server = FhirServer()
    for identity, gender in [("w", "female"), ("m", "male")]:
        server.put({"resourceType": "Patient", "id": identity, "gender": gender})
    given = {"filter": "gender=female", "mapping": "id = Patient.id\nhb = Observation[718-7]"}
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    with serving(server) as web:
        pieces, cursor = drained(of(web.url, **given))
        assert rows_of(pieces) == [{"id": "w", "hb": None}]
        # There was no Observation at all when it began: those that come now are noticed.
        for identity in ("w", "m"):
            server.put({**OBSERVATION, "id": f"hb-{identity}", "subject": {"reference": f"Patient/{identity}"}, "code": code,
                        "valueQuantity": {"value": 11.5}})  # fmt: skip
        pieces, cursor = drained(of(web.url, **given), cursor)
        assert rows_of(pieces) == [{"id": "w", "hb": "11.5"}]
        assert drained(of(web.url, **given), cursor)[0] == []


def test_a_slow_server_is_previewed_as_far_as_it_comes(
    server: FhirServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.importing.sources.fhir.LOOK_SECONDS", 0.0)
    with serving(server) as web:
        preview = of(web.url).preview(200)
    assert (len(preview.rows), preview.notes) == (1, ["The server is slow: only the first 1 are shown."])


def test_little_is_held_in_memory(
    server: FhirServer, resources: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.importing.sources.fhir.HELD", 5)
    with serving(server) as web:
        made = of(web.url)
        sizes = []
        for _piece in made.pieces({}):
            sizes.append(len(made._held))
        assert sizes
        assert max(sizes) == 1  # each has more than five by itself


def test_secrets_and_addresses(server: FhirServer) -> None:
    server.bearer = "right"
    with serving(server) as web:
        assert of(web.url, sign_in="bearer", secret="right").check()
        for given, code in [
            ({"sign_in": "bearer", "secret": "wrong"}, "sign_in"),
            ({}, "sign_in"),
            ({"network": Network()}, "address_refused"),
        ]:
            with pytest.raises(SourceError) as caught:
                of(web.url, **given).check()
            assert (caught.value.code, caught.value.passing) == (code, False)


def test_what_the_server_says_is_told_unless_it_may_name_a_patient(server: FhirServer) -> None:
    with serving(server) as web:
        with pytest.raises(SourceError) as caught:
            of(web.url, filter="colour=red").preview()
        assert (
            str(caught.value)
            == f"{web.url}/fhir refuses the request (400, invalid). Unknown search parameter colour"
        )

        def strict(request: Request) -> Reply:
            if "patient" in request.query:
                return (
                    400,
                    {},
                    b'{"resourceType": "OperationOutcome", "issue": [{"code": "invalid", "diagnostics": "Meyer"}]}',
                )
            return server(request)

        with serving(strict) as other, pytest.raises(SourceError) as caught:
            of(other.url).preview()
        assert "Meyer" not in str(caught.value)
        assert "invalid" in str(caught.value)


BUNDLE: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ((200, {}, b"<html>"), "answer"), ((200, {}, b"[]"), "answer"), ((200, {}, b'{"resourceType": "Patient"}'), "answer"),
        ((200, {}, json.dumps({**BUNDLE, "link": [{"relation": "next", "url": "http://127.0.0.1:1/x"}]}).encode()), "answer"),
        ((200, {}, json.dumps({**BUNDLE, "link": [{"relation": "next", "url": "?page=2"}]}).encode()), "answer"),
        ((200, {}, json.dumps({"resourceType": "OperationOutcome", "issue": []}).encode()), "answer"),
        ((400, {}, b"{}"), "answer"), ((404, {}, b""), "not_found"), ((429, {}, b""), "busy"), ((500, {}, b""), "busy"),
    ],
)  # fmt: skip
def test_hostile_answers(reply: Reply, code: str) -> None:
    with serving(lambda _request: reply) as web:
        with pytest.raises(SourceError) as caught:
            drained(of(web.url))
        assert caught.value.code == code
        with pytest.raises(SourceError):
            of(web.url).check()


def test_another_version_of_fhir_is_refused() -> None:
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "1.0.2"}
    with (
        serving(lambda _request: (200, {}, json.dumps(statement).encode())) as web,
        pytest.raises(SourceError) as caught,
    ):
        of(web.url).check()
    assert "1.0.2" in str(caught.value)
