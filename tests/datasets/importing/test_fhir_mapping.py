"""What a record of FHIR resources holds: void facts, units, moments, documents; and what a mapping may say."""

from typing import Any

import pytest

from datasets.importing import fhir_mapping, fhir_values
from datasets.importing.sources import fhir_reading
from tests.datasets.importing.conftest import drained, refused
from tests.datasets.importing.fhir_server import FhirServer
from tests.datasets.importing.test_fhir import OBSERVATION, of
from tests.datasets.importing.web import serving

pytestmark = pytest.mark.once


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


def test_the_form_and_the_mapping() -> None:
    good = {"address": "https://fhir.example/r4", "resource": "Patient", "sign_in": "none"}
    for name, value in [("filter", "_sort=x"), ("mapping", "x"), ("mapping", "x = Nothing.id"),
                        ("mapping", "x = Patient.id\nx = Patient.id"),
                        ("mapping", "x = Patient.nofunction()"), ("mapping", "# nothing"),
                        ("resource", "Claim"), ("address", "x")]:  # fmt: skip
        assert list(refused("fhir", **{**good, name: value})) == [name], value
    for base in fhir_mapping.TYPES:
        assert fhir_mapping.parse(fhir_mapping.default(base))
    assert fhir_values.sortable("2026-01-01T00:00:00+08:00") < fhir_values.sortable("2026-01-01T00:00:00Z")
    assert (
        fhir_values.sortable("2025") < fhir_values.sortable("2026-01") < fhir_values.sortable("2026-02-01")
    )
    assert (
        fhir_reading.patient_of(
            {"resourceType": "Observation", "subject": {"reference": "https://x/Patient/7/_history/2"}}
        )
        == "7"
    )
