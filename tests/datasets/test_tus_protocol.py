"""tus 1.0, header by header: what each request does, what is refused and with which status."""

import hashlib
import json
import logging
import resource
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from accounts.models import AuditEvent
from datasets import intake
from datasets.models import StoredFile, Upload
from datasets.tus import digests, parts
from datasets.tus.models import Transfer
from tests.conftest import actor
from tests.datasets.tus_calls import TABLE, Tus, digest, encoded, part_of, pk_of

pytestmark = pytest.mark.django_db


def test_options_tells_what_is_offered(tus: Tus, settings: Any) -> None:
    answer = tus.client.options("/api/v1/transfers/")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation", "creation-with-upload", "checksum", "termination", "expiration",
    }  # fmt: skip
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"
    assert answer.headers["Tus-Max-Size"] == str(settings.MAX_UPLOAD_BYTES)


def test_pieces_become_an_upload_with_its_preview(tus: Tus, dana: Any) -> None:
    answer = tus.begin(len(TABLE), name="visits 2026.csv")
    assert answer.status_code == 201 and answer.content == b""
    address = answer.headers["Location"]
    assert (answer.headers["Upload-Offset"], answer.headers["Tus-Resumable"]) == ("0", "1.0.0")
    for start in range(0, len(TABLE), 1000):
        answer = tus.piece(address, start, TABLE[start : start + 1000])
        assert answer.status_code == 204, answer.content
        assert int(answer.headers["Upload-Offset"]) == min(len(TABLE), start + 1000)
    upload = Upload.objects.get()
    assert (upload.original_name, upload.state, upload.created_by) == ("visits 2026.csv", "preview", dana)
    assert [c["name"] for c in upload.preview["columns"]] == ["mrn", "age", "outcome"]
    with default_storage.open(upload.file.path) as stored:
        assert stored.read() == TABLE
    seen = tus.client.get(address).json()
    assert (seen["state"], seen["upload"], seen["offset"]) == ("finished", str(upload.pk), len(TABLE))
    assert tus.offset(address) == len(TABLE), "a client that lost the last answer must see that all is here"
    assert not parts.path_of(Transfer.objects.get().pk).exists()


def test_the_same_content_is_stored_once(tus: Tus, dana: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TABLE)
    first = intake.receive(actor=actor(dana), file=path, name="a.csv")
    assert tus.begin(len(TABLE), TABLE).status_code == 201
    second = Upload.objects.exclude(pk=first.pk).get()
    assert second.file == first.file and StoredFile.objects.count() == 1


def test_creation_with_upload_and_checksum(tus: Tus) -> None:
    before = set(parts.root().glob("*/*"))  # what other tests of this process have left
    answer = tus.begin(len(TABLE), TABLE[:500], Upload_Checksum=digest(TABLE[:500]))
    assert answer.status_code == 201 and answer.headers["Upload-Offset"] == "500"
    assert tus.offset(answer.headers["Location"]) == 500
    refused = tus.begin(len(TABLE), TABLE[:500], Upload_Checksum=digest(b"other"))
    assert refused.status_code == 460
    assert Transfer.objects.count() == 1, "the client never learns its address: nothing may be left"
    assert len(set(parts.root().glob("*/*")) - before) == 1


def test_head_tells_offset_length_metadata_and_expiry(tus: Tus, half: str) -> None:
    answer = tus.head(half)
    assert answer.status_code == 200 and answer.content == b""
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("100", str(len(TABLE)))
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Upload-Metadata"] == encoded(filename="visit.csv")
    left = parsedate_to_datetime(answer.headers["Upload-Expires"]) - timezone.now()
    assert timedelta(hours=71) < left <= timedelta(hours=72)


def test_another_offset_is_a_conflict_and_changes_nothing(tus: Tus, half: str) -> None:
    for wrong in (0, 99, 101):
        answer = tus.piece(half, wrong, b"xxx")
        assert answer.status_code == 409 and "byte 100" in answer.json()["detail"]
    assert tus.offset(half) == 100 and part_of(half).read_bytes() == TABLE[:100]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_piece_is_checked(tus: Tus, half: str, algorithm: str) -> None:
    assert (
        tus.piece(half, 100, TABLE[100:200], Upload_Checksum=digest(TABLE[100:200], algorithm)).status_code
        == 204
    )
    answer = tus.piece(half, 200, TABLE[201:301], Upload_Checksum=digest(TABLE[200:300], algorithm))
    assert (answer.status_code, answer.reason_phrase) == (460, "Checksum Mismatch")
    assert answer.json()["type"] == "urn:aimass:problem:checksum-mismatch"
    assert tus.offset(half) == 200 and part_of(half).read_bytes() == TABLE[:200]


@pytest.mark.parametrize(
    "checksum", ["md5 XUFAKrxLKna5cZ2REBfFkg==", "sha1", "sha1 !!!", "sha256 c2hvcnQ=", "", "crc32 AAAAAA=="]
)
def test_md5_and_junk_are_no_checksums(tus: Tus, half: str, checksum: str) -> None:
    answer = tus.piece(half, 100, TABLE[100:], Upload_Checksum=checksum)
    assert answer.status_code == 400 and answer.json()["detail"]
    assert tus.offset(half) == 100


def test_the_version_must_be_spoken(tus: Tus, half: str) -> None:
    for version in ("0.2.2", "1.0", ""):
        answer = tus.piece(half, 100, b"x", Tus_Resumable=version)
        assert answer.status_code == 412 and answer.headers["Tus-Version"] == "1.0.0"
        assert tus.begin(10, Tus_Resumable=version).status_code == 412
    assert tus.client.head(half).status_code == tus.client.delete(half).status_code == 412
    assert tus.offset(half) == 100


@pytest.mark.parametrize("length", ["", "-1", "1.5", "ten", "9" * 30, "٣"])
def test_a_length_that_is_none(tus: Tus, length: str) -> None:
    answer = tus.begin(1, Upload_Length=length.encode().decode("latin-1"))
    assert answer.status_code == 400 and "Upload-Length" in answer.json()["detail"]


def test_what_is_not_offered_is_refused(tus: Tus) -> None:
    assert tus.begin(10, Upload_Concat="partial").status_code == 400
    assert tus.begin(10, Upload_Defer_Length="1").status_code == 400


@pytest.mark.parametrize(
    "metadata",
    ["filename !", "filename YQ==,filename Yg==", "file name YQ==", " ,", "filename /w==", "x " + "A" * 5000],
)
def test_metadata_that_is_malformed(tus: Tus, metadata: str) -> None:
    answer = tus.begin(10, Upload_Metadata=metadata)
    assert answer.status_code == 400 and "Upload-Metadata" in answer.json()["detail"]
    assert Transfer.objects.count() == 0


def test_the_clients_name_is_shown_and_never_a_path(tus: Tus) -> None:
    before = set(parts.root().rglob("*"))
    address = tus.begin(len(TABLE), name="../../etc/张伟\x00.csv").headers["Location"]
    tus.piece(address, 0, TABLE[:50])
    row = Transfer.objects.get()
    assert row.name == "张伟.csv"
    made = {p for p in parts.root().rglob("*") if p.is_file()} - before
    assert [p.name for p in made] == [row.pk.hex]
    assert oct(made.pop().stat().st_mode)[-3:] == "600"
    logged = json.dumps(list(AuditEvent.objects.values_list("object_label", "detail", "action")))
    assert "transfer.started" in logged and "张伟" not in logged and "etc" not in logged


def test_other_content_types_and_unknown_lengths(tus: Tus, half: str) -> None:
    given = {"Tus-Resumable": "1.0.0", "Upload-Offset": "100"}
    answer = tus.client.generic(
        "PATCH", half, data=b"x", content_type="application/octet-stream", headers=given
    )
    assert answer.status_code == 415
    assert tus.piece(half, 100, b"x", Transfer_Encoding="chunked").status_code == 411
    assert tus.piece(half, 100, TABLE).status_code == 413, "beyond the announced length"
    assert tus.begin(10, b"x" * 11).status_code == 413
    assert tus.offset(half) == 100


def test_a_proxy_that_knows_only_get_and_post(tus: Tus, half: str) -> None:
    assert (
        tus.piece(half, 100, TABLE[100:300], method="POST", X_HTTP_Method_Override="PATCH").status_code == 204
    )
    assert tus.offset(half) == 300
    assert tus.piece(half, 0, b"", method="POST", X_HTTP_Method_Override="DELETE").status_code == 204
    assert tus.head(half).status_code == 404


def test_terminated_is_gone_with_its_bytes(tus: Tus, half: str) -> None:
    part = part_of(half)
    assert part.exists()
    assert tus.delete(half).status_code == 204
    assert not part.exists() and Transfer.objects.count() == 0
    assert tus.head(half).status_code == tus.delete(half).status_code == 404
    assert AuditEvent.objects.filter(action="transfer.cancelled").count() == 1


def test_terminated_just_after_it_arrived_is_discarded(tus: Tus) -> None:
    address = tus.begin(len(TABLE), TABLE).headers["Location"]
    upload = Upload.objects.get()
    assert tus.delete(address).status_code == 204
    upload.refresh_from_db()
    assert upload.state == "discarded" and not default_storage.exists(upload.file.path or "gone")


def test_terminated_after_its_import_was_confirmed_is_too_late(tus: Tus, dana: Any) -> None:
    address = tus.begin(len(TABLE), TABLE).headers["Location"]
    intake.confirm(actor=actor(dana), upload=Upload.objects.get(), new_dataset_name="Visits")
    assert tus.delete(address).status_code == 409
    assert tus.client.get(address).json()["state"] == "finished"


def test_two_writers_of_one_upload(tus: Tus, half: str) -> None:
    with parts.locked(Transfer.objects.get().pk):
        answer = tus.piece(half, 100, TABLE[100:])
        assert answer.status_code == 423 and answer.json()["title"] == "Locked"
        assert tus.delete(half).status_code == 423
        assert tus.head(half).status_code == 200, "the offset may be asked for at any time"
    assert tus.piece(half, 100, TABLE[100:]).status_code == 204


def test_what_is_no_table_is_refused_with_its_reason(tus: Tus) -> None:
    answer = tus.begin(10, b"\x00\x01\x02\x03\xff\xfe\x00\x00\x00\x01")
    assert answer.status_code == 422 and answer.json()["detail"]
    row = Transfer.objects.get()
    address = f"/api/v1/transfers/{row.pk}/"
    seen = tus.client.get(address).json()
    assert seen["state"] == "refused" and seen["reason"] == answer.json()["detail"] and seen["code"]
    assert tus.head(address).status_code == 410
    assert not parts.path_of(row.pk).exists() and Upload.objects.count() == StoredFile.objects.count() == 0
    assert tus.begin(0).status_code == 422, "an empty file too"


def test_a_file_larger_than_the_limit(tus: Tus, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 1000
    answer = tus.begin(1001)
    assert answer.status_code == 413 and "larger than 1000 B" in answer.json()["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert tus.begin(1000).status_code == 201


def test_an_organisations_quota_counts_what_is_kept_and_what_is_on_its_way(
    tus: Tus, settings: Any, charlie: Any, api_of: Any
) -> None:
    settings.UPLOAD_QUOTA_BYTES = 2 * len(TABLE) + 500
    assert tus.begin(len(TABLE), TABLE).status_code == 201  # kept
    waiting = tus.begin(len(TABLE)).headers["Location"]  # on its way
    answer = tus.begin(501)
    assert answer.status_code == 413 and answer.json()["type"] == "urn:aimass:problem:quota"
    assert "Discard uploads" in answer.json()["detail"]
    assert Tus(api_of(charlie)).begin(501).status_code == 201, "another organisation has its own"
    assert tus.delete(waiting).status_code == 204
    assert tus.begin(501).status_code == 201


def test_the_form_and_the_other_resource_keep_to_the_quota_too(
    dana: Any, client_of: Any, settings: Any
) -> None:
    settings.UPLOAD_QUOTA_BYTES = 100
    client = client_of(dana)
    answer = client.post("/api/v1/uploads/", {"file": SimpleUploadedFile("a.csv", TABLE)})
    assert answer.status_code == 413 and answer.json()["type"] == "urn:aimass:problem:quota"
    page = client.post("/datasets/upload/", {"file": SimpleUploadedFile("a.csv", TABLE)}).content.decode()
    assert "Your organisation may keep 100 B" in page
    assert StoredFile.objects.count() == 0


@pytest.fixture
def small_disk() -> Iterator[int]:
    """No file of this process may grow beyond 24 MB: the kernel's own refusal, as a full disk gives."""
    size = 24 * 1024 * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    yield size
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_what_has_come(tus: Tus, small_disk: int) -> None:
    body = b"x" * (small_disk + 5_000_000)
    address = tus.begin(len(body)).headers["Location"]
    answer = tus.piece(address, 0, body)
    assert answer.status_code == 507 and "disk is full" in answer.json()["detail"]
    assert tus.offset(address) == small_disk == part_of(address).stat().st_size


def test_no_room_is_said_before_a_byte_is_sent(tus: Tus, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = settings.UPLOAD_QUOTA_BYTES = 10**17
    assert tus.begin(10**16).status_code == 507


def test_bytes_beyond_the_offset_are_cut_off(tus: Tus, half: str) -> None:
    """As after a kill in the middle of a piece."""
    with part_of(half).open("ab") as part:
        part.write(b"half of a piece that was never answered")
    assert tus.offset(half) == 100
    assert tus.piece(half, 100, TABLE[100:]).status_code == 204
    with default_storage.open(Upload.objects.get().file.path) as stored:
        assert stored.read() == TABLE


def test_a_file_of_which_the_disk_has_lost_bytes_begins_anew(tus: Tus, half: str) -> None:
    """As after a back-up was restored."""
    part_of(half).write_bytes(TABLE[:40])
    answer = tus.piece(half, 100, TABLE[100:])
    assert answer.status_code == 410 and "Begin it again" in answer.json()["detail"]
    assert tus.head(half).status_code == 404 and Transfer.objects.count() == 0


@pytest.mark.parametrize("forgotten", [False, True])
def test_the_hash_is_of_what_came_in_whatever_process(tus: Tus, half: str, forgotten: bool) -> None:
    """`forgotten`: the last piece comes to a process that has not seen the others, so that the file itself is read."""
    assert tus.piece(half, 100, b"y" * 50, Upload_Checksum=digest(b"z" * 50)).status_code == 460
    assert tus.piece(half, 100, TABLE[100:200], Upload_Checksum=digest(TABLE[100:200])).status_code == 204
    if forgotten:
        digests._held.clear()
    assert tus.piece(half, 200, TABLE[200:]).status_code == 204
    assert StoredFile.objects.get().sha256 == hashlib.sha256(TABLE).hexdigest()
    assert Transfer.objects.get().pk not in digests._held


def test_a_whole_file_whose_last_request_was_killed_is_completed(tus: Tus, half: str) -> None:
    for look in ("head", "get"):
        address = half if look == "head" else tus.begin(len(TABLE)).headers["Location"]
        row = Transfer.objects.get(pk=pk_of(address))
        with parts.locked(row.pk) as part:
            part.go_to(0)
            part.write(TABLE)
            Transfer.objects.filter(pk=row.pk).update(offset=len(TABLE))
            assert tus.head(address).status_code == 423, "its Upload is being made: not yet finished"
        assert (tus.head(address) if look == "head" else tus.client.get(address)).status_code == 200
        row.refresh_from_db()
        assert row.state == "finished" and row.upload is not None


def test_nothing_of_the_file_is_logged(tus: Tus, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    address = tus.begin(len(TABLE), name="Zhang Wei.csv").headers["Location"]
    tus.piece(address, 0, TABLE)
    tus.piece(address, 5, TABLE)
    assert "Zhang" not in caplog.text and "mrn" not in caplog.text
