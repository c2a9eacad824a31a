"""The FHIR source against a server with the resources of carebundle (US Core R4), and against servers that misbehave."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from carebundle import generate_bundle

from datasets.importing import fhir_mapping
from datasets.importing.base import SourceError
from datasets.importing.network import Network
from datasets.importing.sources import fhir_reading
from tests.datasets.importing.conftest import HERE, drained, refused, rows_of, source
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


def test_what_is_void_counts_for_nothing() -> None:
    server = FhirServer()
    subject = {"reference": "Patient/1"}
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    server.put({"resourceType": "Patient", "id": "1"})
    for number, status in enumerate(["final", "entered-in-error", "cancelled", "amended"]):
        server.put({"resourceType": "Observation", "id": f"o{number}", "status": status, "subject": subject, "code": code,
                    "effectiveDateTime": f"2026-01-0{4 - number}", "valueQuantity": {"value": number}})  # fmt: skip
    for number, status in enumerate(["confirmed", "refuted", "entered-in-error"]):
        server.put({"resourceType": "Condition", "id": f"c{number}", "subject": subject,
                    "code": {"coding": [{"code": f"C{number}"}]},
                    "verificationStatus": {"coding": [{"code": status}]}})  # fmt: skip
    with serving(server) as web:
        (piece,), _cursor = drained(
            of(web.url, mapping="all = Observation[*]\nc = Condition[*].code.coding.code")
        )
        assert piece.rows == [{"all": "0; 3", "c": "C0"}]
        (piece,), _cursor = drained(of(web.url, "Observation", mapping="v = Observation"))
        assert [row["v"] for row in piece.rows] == ["0", "3"]
        assert [fault.where for fault in piece.faulty] == ["Observation/o1", "Observation/o2"]


def test_a_column_keeps_to_one_unit_and_a_comparator_stays() -> None:
    server = FhirServer()
    code = {"coding": [{"system": "http://loinc.org", "code": "1988-5"}]}

    def put(identity: str, **quantity: Any) -> None:
        server.put({"resourceType": "Patient", "id": identity})
        server.put({**OBSERVATION, "id": f"o{identity}", "subject": {"reference": f"Patient/{identity}"}, "code": code,
                    "valueQuantity": quantity})  # fmt: skip

    put("1", value=4.5, unit="mg/L")
    put("2", value=5, comparator="<", unit="milligrams per litre", code="mg/L")
    put("3", value=0.7, unit="mg/dL")
    mapping = "id = Patient.id\ncrp = Observation[1988-5]"
    with serving(server) as web:
        (piece,), cursor = drained(of(web.url, mapping=mapping))
        assert [row["crp"] for row in piece.rows] == ["4.5", "<5"]
        assert [(fault.where, fault.reason) for fault in piece.faulty] == [("Patient/3",
            "crp is in mg/dL here and was in mg/L so far. Say which one you want, as in Observation[1988-5|mg/L].")]  # fmt: skip
        put("4", value=0.8, unit="mg/dL")  # the next run knows the unit of the first
        (piece, *_more), _cursor = drained(of(web.url, mapping=mapping), cursor)
        assert [fault.where for fault in piece.faulty] == ["Patient/4"]
        for unit, expected in [("mg/dL", [None, None, "0.7", "0.8"]), ("mg/L", ["4.5", "<5", None, None])]:
            for which in (f"1988-5|{unit}", f"http://loinc.org|1988-5|{unit}"):
                (piece,), _cursor = drained(of(web.url, mapping=f"crp = Observation[{which}]"))
                assert [row["crp"] for row in piece.rows] == expected
    assert fhir_mapping.parse("p = Observation[8480-6|mm[Hg]]")[0].unit == "mm[Hg]"


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


def test_a_path_is_read_and_never_evaluated_by_the_form() -> None:
    """Evaluated, the first would have no end."""
    for path in ("Patient.(1).repeat($this + 1)", "Patient.name.repeat($this)", "Patient.descendants()",
                 "Patient.select(%resource)",
                 "Patient.name.given.matches('(a+)+$')", "Patient.name.`repeat`($this)", "Patient.a" + ".a" * 200,
                 "Patient." + "(" * 20 + "name" + ")" * 20, "Patient.name.combine(name)",
                 "Patient.name.replace('', 'aa')"):  # fmt: skip
        with pytest.raises(ValueError, match="Line 1"):
            fhir_mapping.parse(f"x = {path}")
    for path in ("Patient.name.where(use = 'official').given.first()",
                 "Condition[*].code.coding.where(system.contains('icd')).code",
                 "Patient.extension('http://x/race').value", "Observation[718-7].value.ofType(Quantity).value"):  # fmt: skip
        assert fhir_mapping.parse(f"x = {path}")


def test_only_what_was_known_at_the_time_counts() -> None:
    server = FhirServer()
    server.put({"resourceType": "Patient", "id": "1", "gender": "female"})
    subject = {"reference": "Patient/1"}
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    for number, (day, value) in enumerate(
        [("2026-01-01", 10.5), ("2026-01-05T08:00:00+08:00", 11.5), ("2026-02-01", 7.5)]
    ):
        server.put({"resourceType": "Observation", "id": f"o{number}", "status": "final", "subject": subject, "code": code,
                    "effectiveDateTime": day, "valueQuantity": {"value": value, "unit": "g/dL"}})  # fmt: skip
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "subject": subject,
        "code": {"text": "CT"},
        "conclusion": "no bleeding",
    }
    server.put({**report, "id": "r1", "effectiveDateTime": "2026-01-05T12:00:00Z"})
    server.put({**report, "id": "r2", "effectiveDateTime": "2025-12-31"})
    server.put({**report, "id": "r3", "subject": {"reference": "Group/7"}})
    mapping = "hb = Observation[http://loinc.org|718-7]\nunit = Observation[718-7].valueQuantity.unit\n"
    mapping += "all = Observation[*].valueQuantity.value\n"
    mapping += "conclusion = DiagnosticReport.conclusion\nsex = Patient.gender"
    with serving(server) as web:
        (piece,), _cursor = drained(of(web.url, "DiagnosticReport", mapping=mapping))
    first, second = piece.rows
    assert first == {
        "hb": "11.5",
        "unit": "g/dL",
        "all": "11.5; 10.5",
        "conclusion": "no bleeding",
        "sex": "female",
    }
    assert (second["hb"], second["conclusion"]) == (None, "no bleeding")
    assert [(fault.where, fault.reason) for fault in piece.faulty] == [
        ("DiagnosticReport/r3", "It names no patient of this server.")
    ]


def test_documents_and_studies() -> None:
    server = FhirServer()
    server.put({"resourceType": "Patient", "id": "1"})
    attachment = {"contentType": "text/plain", "data": "5peg5Ye66KGA"}
    server.put({"resourceType": "DocumentReference", "id": "d", "status": "current", "subject": {"reference": "Patient/1"},
                "date": "2026-01-01T00:00:00Z", "content": [{"attachment": attachment}]})  # fmt: skip
    server.put({"resourceType": "ImagingStudy", "id": "s", "status": "available", "subject": {"reference": "Patient/1"},
                "started": "2026-01-02T00:00:00Z", "modality": [{"code": "CT"}], "numberOfSeries": 2})  # fmt: skip
    server.put(
        {
            "resourceType": "ImagingStudy",
            "id": "odd",
            "subject": {"reference": "Patient/1"},
            "modality": "CT",
            "started": 7,
        }
    )
    with serving(server) as web:
        (piece,), _cursor = drained(of(web.url, "DocumentReference"))
        assert piece.rows[0]["text"] == "无出血"
        (piece,), _cursor = drained(
            of(
                web.url,
                "ImagingStudy",
                mapping="m = ImagingStudy.modality.code\nn = ImagingStudy.numberOfSeries",
            )
        )
        assert piece.rows[0] == {"m": "CT", "n": "2"}


def test_resources_that_cannot_be_mapped_fail_alone() -> None:
    server = FhirServer()
    server.put({"resourceType": "Observation", "id": "good", "valueString": "x"})
    server.put({"resourceType": "Observation", "id": "bad", "component": 7})
    with serving(server) as web:
        (piece,), _cursor = drained(
            of(web.url, "Observation", mapping="v = Observation[1-1]\nw = Observation")
        )
        assert [row["w"] for row in piece.rows] == ["x"]
        assert [fault.where for fault in piece.faulty] == ["Observation/bad"]


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


def test_the_form_and_the_mapping() -> None:
    good = {"address": "https://fhir.example/r4", "resource": "Patient", "sign_in": "none"}
    for name, value in [("filter", "_sort=x"), ("mapping", "x"), ("mapping", "x = Nothing.id"),
                        ("mapping", "x = Patient.id\nx = Patient.id"),
                        ("mapping", "x = Patient.nofunction()"), ("mapping", "# nothing"),
                        ("resource", "Claim"), ("address", "x")]:  # fmt: skip
        assert list(refused("fhir", **{**good, name: value})) == [name], value
    for base in fhir_mapping.TYPES:
        assert fhir_mapping.parse(fhir_mapping.default(base))
    assert fhir_mapping.sortable("2026-01-01T00:00:00+08:00") < fhir_mapping.sortable("2026-01-01T00:00:00Z")
    assert (
        fhir_mapping.sortable("2025") < fhir_mapping.sortable("2026-01") < fhir_mapping.sortable("2026-02-01")
    )
    assert (
        fhir_reading.patient_of(
            {"resourceType": "Observation", "subject": {"reference": "https://x/Patient/7/_history/2"}}
        )
        == "7"
    )
