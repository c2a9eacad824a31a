"""The key to patients: kept once, encrypted, read only with its permission, and each look written down."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.urls import reverse

from accounts.models import AuditEvent
from accounts.permissions import ROLES, Permission
from datasets.dicom import vault
from datasets.dicom.models import PatientKey, PatientSecret
from datasets.dicom.report import Outcome
from datasets.dicom.services import deidentify_file, look_up, profile_of
from tests.conftest import actor
from tests.datasets.dicom.files import loaded, saved, slice_of

pytestmark = pytest.mark.django_db
NAME, NUMBER = "Quillfeather", "MRN-5577341"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return saved(slice_of(), tmp_path / "in.dcm")


def text_of_the_database() -> str:
    """Every value of the tables that know of patients, and the audit log."""
    rows = [*PatientKey.objects.values(), *PatientSecret.objects.values(), *AuditEvent.objects.values()]
    return repr(rows)


def test_a_patient_is_kept_once_and_encrypted(alice: Any, source: Path, tmp_path: Path) -> None:
    who = actor(alice)
    reports = [deidentify_file(actor=who, path=source, out=tmp_path / f"{n}.dcm") for n in range(2)]
    assert [r.outcome for r in reports] == [Outcome.DONE] * 2
    key = PatientKey.objects.get()
    assert key.pseudonym == reports[0].pseudonym == str(loaded(tmp_path / "0.dcm").PatientID)
    assert key.organisation == alice.memberships.get().organisation
    for word in (NAME, NUMBER, "19670423", "Zebedee"):
        assert word not in text_of_the_database()
    assert (tmp_path / "0.dcm").read_bytes() == (tmp_path / "1.dcm").read_bytes()
    found = look_up(actor=who, pseudonym=key.pseudonym.lower())
    assert found is not None
    assert (found.name, found.patient_id, found.birth_date, found.sex) == (f"{NAME}^Zebedee", NUMBER, "19670423", "M")
    assert [e.action for e in AuditEvent.objects.order_by("pk")] == ["patient_key.created", "patient_key.read"]


def test_organisations_have_secrets_of_their_own(alice: Any, charlie: Any, source: Path, tmp_path: Path) -> None:
    mine = deidentify_file(actor=actor(alice), path=source, out=tmp_path / "a.dcm")
    theirs = deidentify_file(actor=actor(charlie), path=source, out=tmp_path / "b.dcm")
    assert mine.pseudonym != theirs.pseudonym
    assert loaded(tmp_path / "a.dcm").SOPInstanceUID != loaded(tmp_path / "b.dcm").SOPInstanceUID
    assert look_up(actor=actor(charlie), pseudonym=mine.pseudonym) is None
    moved = PatientKey.objects.get(pseudonym=mine.pseudonym)
    PatientKey.objects.filter(pk=moved.pk).update(organisation=charlie.memberships.get().organisation)
    with pytest.raises(vault.VaultClosed):  # a row that was moved in the database opens for nobody
        look_up(actor=actor(charlie), pseudonym=mine.pseudonym)


def test_nothing_is_written_without_a_key_for_patients(alice: Any, source: Path, tmp_path: Path, settings: Any) -> None:
    settings.PATIENT_KEYS = []
    with pytest.raises(vault.VaultClosed, match="AIMASS_PATIENT_KEYS"):
        deidentify_file(actor=actor(alice), path=source, out=tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_nothing_is_left_when_the_key_could_not_be_kept(
    alice: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any) -> str:
        raise OSError("disk full")

    who = actor(alice)
    profile = profile_of(who.organisation)
    monkeypatch.setattr(vault, "seal", full)
    with pytest.raises(OSError, match="disk full"):
        deidentify_file(actor=who, path=source, out=tmp_path / "out.dcm", profile=profile)
    assert not (tmp_path / "out.dcm").exists()


def test_a_quarantined_file_leaves_no_key_and_a_persons_look_is_written_down(alice: Any, tmp_path: Path) -> None:
    source = saved(slice_of(BurnedInAnnotation="YES"), tmp_path / "in.dcm")
    report = deidentify_file(actor=actor(alice), path=source, out=tmp_path / "out.dcm")
    assert (report.outcome, report.reasons) == (Outcome.QUARANTINED, ("burned_in_declared",))
    assert not PatientKey.objects.exists() and not (tmp_path / "out.dcm").exists()
    report = deidentify_file(actor=actor(alice), path=source, out=tmp_path / "out.dcm", pixels_checked=True)
    assert report.outcome is Outcome.DONE and loaded(tmp_path / "out.dcm").BurnedInAnnotation == "NO"
    assert AuditEvent.objects.filter(action="dicom.pixels_checked", actor_user=alice).count() == 1


def test_keys_are_changed_without_changing_pseudonyms(alice: Any, source: Path, tmp_path: Path, settings: Any) -> None:
    who = actor(alice)
    before = deidentify_file(actor=who, path=source, out=tmp_path / "a.dcm").pseudonym
    old, new = settings.PATIENT_KEYS[0], Fernet.generate_key().decode()
    settings.PATIENT_KEYS = [new, old]
    call_command("rotate_patient_keys")
    settings.PATIENT_KEYS = [new]
    assert deidentify_file(actor=who, path=source, out=tmp_path / "b.dcm").pseudonym == before
    found = look_up(actor=who, pseudonym=before)
    assert found is not None and found.patient_id == NUMBER
    settings.PATIENT_KEYS = [old]
    with pytest.raises(CommandError):
        call_command("rotate_patient_keys")


def test_erasing_the_last_record_of_a_patient_takes_the_key_with_it(alice: Any, source: Path, tmp_path: Path) -> None:
    from datasets.erasure import erase_patient, preview_erasure
    from datasets.records import add_records
    from datasets.services import create_dataset

    who = actor(alice)
    pseudonym = deidentify_file(actor=who, path=source, out=tmp_path / "out.dcm").pseudonym
    columns = [{"name": "mrn", "kind": "category", "role": "patient"}, {"name": "age", "kind": "number"}]
    sets = [create_dataset(actor=who, name=name, columns=columns) for name in ("one", "two")]
    for dataset in sets:
        add_records(actor=who, dataset=dataset, rows=[{"mrn": pseudonym, "age": 59}], source="api")
    erase_patient(actor=who, dataset=sets[0], patient_key=pseudonym, reason="asked for")
    assert PatientKey.objects.count() == 1  # the other data set still has a record
    assert preview_erasure(dataset=sets[1], patient_key=pseudonym).others[0][1] == 1
    erase_patient(actor=who, dataset=sets[1], patient_key=pseudonym, reason="asked for")
    assert PatientKey.objects.count() == 0


def test_only_administrators_see_who_is_behind_a_pseudonym() -> None:
    assert {name for name, role in ROLES.items() if Permission.REIDENTIFY in role.permissions} == {"administrator"}


def test_the_page(alice: Any, bob: Any, charlie: Any, client_of: Any, source: Path, tmp_path: Path) -> None:
    pseudonym = deidentify_file(actor=actor(alice), path=source, out=tmp_path / "out.dcm").pseudonym
    address = reverse("datasets:patient_key")
    assert client_of(bob).post(address, {"pseudonym": pseudonym}).status_code == 403
    page = client_of(alice).post(address, {"pseudonym": f" {pseudonym} "})
    for shown in ("Quillfeather Zebedee", NUMBER, "1967-04-23"):
        assert shown in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    for who, typed in ((charlie, pseudonym), (alice, "Quill Feather")):
        page = client_of(who).post(address, {"pseudonym": typed})
        assert page.status_code == 200 and "No patient of this organisation" in page.content.decode()
        assert NUMBER not in page.content.decode()
    reads = AuditEvent.objects.filter(action="patient_key.read")
    assert sorted((e.actor_user.email, e.outcome) for e in reads) == [
        ("alice@example.org", "not_found"), ("alice@example.org", "ok"), ("charlie@elsewhere.example", "not_found"),
    ]  # fmt: skip
    assert "Feather" not in text_of_the_database()


def test_the_resource(alice: Any, dana: Any, charlie: Any, api_of: Any, source: Path, tmp_path: Path) -> None:
    pseudonym = deidentify_file(actor=actor(alice), path=source, out=tmp_path / "out.dcm").pseudonym
    address = reverse("api:patient", kwargs={"pseudonym": pseudonym})
    answer = api_of(alice).get(address)
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    assert answer.json() == {
        "patient_id": NUMBER, "issuer": "", "name": f"{NAME}^Zebedee", "birth_date": "19670423", "sex": "M",
        "study": "1.2.826.0.1.3680043.8.498.777.3",
    }  # fmt: skip
    assert api_of(dana).get(address).status_code == 403
    assert api_of(alice, scopes=["data:read"]).get(address).status_code == 403
    assert api_of(charlie).get(address).status_code == 404


def test_it_is_said_when_the_server_lost_its_key(
    alice: Any, client_of: Any, api_of: Any, source: Path, tmp_path: Path, settings: Any
) -> None:
    pseudonym = deidentify_file(actor=actor(alice), path=source, out=tmp_path / "out.dcm").pseudonym
    settings.PATIENT_KEYS = [Fernet.generate_key().decode()]
    page = client_of(alice).post(reverse("datasets:patient_key"), {"pseudonym": pseudonym})
    assert page.status_code == 200 and "no longer has" in page.content.decode()
    assert api_of(alice).get(reverse("api:patient", kwargs={"pseudonym": pseudonym})).status_code == 503
