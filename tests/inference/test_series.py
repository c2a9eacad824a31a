"""Series of DICOM slices and WFDB records the whole way: a zip with a table, training, and a diagnosis by form and over REST."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from accounts.models import AuditEvent
from datasets.models import Record
from inference.models import Diagnosis
from inference.reviews import review
from tests.conftest import actor
from tests.datasets.given_series import series_of, wfdb
from tests.datasets.test_cells_intake import imported, zipped
from tests.datasets.test_cells_series import named, table
from tests.training.test_cells import trained
from training.services import confirm_champion

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.once]  # it de-identifies a hundred slices, trains and explains
EACH = 16  # of a class


def sent(parts: dict[str, bytes]) -> list[SimpleUploadedFile]:
    return [SimpleUploadedFile(name.rsplit("/", 1)[-1], content) for name, content in parts.items()]


def test_a_table_with_series_and_recordings_trains_and_diagnoses(
    dana: Any, bob: Any, api_of: Any, client_of: Any, run_jobs: Any
) -> None:
    parts, rows = {}, [["scan", "ecg", "label"]]
    for number in range(2 * EACH):
        ill = number % 2
        parts |= named(series_of(4, patient=f"P{number}", bright=3500 if ill else 1300), f"scans/p{number}/s1")
        parts |= {f"ecg/{n}": c for n, c in wfdb(beat=(0.4 if ill else 1.0) + number / 500, name=f"e{number}").items()}
        rows.append([f"scans/p{number}", f"e{number}", "ill" if ill else "healthy"])
    upload = imported(dana, run_jobs, zipped({"table.csv": table(rows), **parts}))
    assert (upload.rows_added, upload.rows_refused) == (2 * EACH, 0), upload.report
    version = trained(dana, run_jobs, upload.dataset).versions.select_related("model").get(chosen=True)
    kinds = {c["name"]: c["kind"] for c in version.schema["columns"] if c["role"] == "feature"}
    assert kinds == {"scan": "volume", "ecg": "signal"}
    confirm_champion(actor=actor(dana), version=version)

    slices, pair = named(series_of(4, patient="new", bright=3500)), wfdb(beat=0.4, name="new")
    client, address = client_of(bob), reverse("inference:form", args=[version.model_id])
    page = client.get(address).content.decode()
    assert page.count('type="file"') == page.count(" multiple") == 2
    fields = {"c0": sent(slices), "c1": sent(pair)}
    answer = client.post(address, {"token": "t1", "patient": "P-77", **fields})
    assert answer.status_code == 302, answer.content.decode()[-2000:]
    row = Diagnosis.objects.get()
    assert row.value == "ill" and row.files.count() == 2
    page = client.get(answer.url).content.decode()
    pointer = row.files.get(column="scan")
    for size in ("page", "reasons"):
        picture = client.get(reverse("inference:picture", args=[row.pk, pointer.pk, size]))
        assert picture.status_code == 200 and picture["Content-Type"] == "image/png"
    look = reverse("inference:look", args=[row.pk, pointer.pk])
    assert f'data-viewer="{look}"' in page and 'data-signal="' in page
    told = client.get(f"{look}?planes=all").json()
    assert [p["name"] for p in told["planes"]] == ["frames", "axial", "coronal", "sagittal"]
    # What was bright speaks: on the axial frames at the patient's right (the left of the picture), in front (above).
    strongest = max(told["heat"]["axial"], key=lambda mark: mark["strength"])
    assert 0 <= strongest["frames"][0] <= strongest["frames"][1] < 4 and 0 < strongest["strength"] <= 1
    assert client.get(reverse("inference:frame", args=[row.pk, pointer.pk, "axial", 1])).status_code == 200
    said = review(actor=actor(bob), diagnosis=row, verdict="confirmed")
    assert said.record is not None and said.record.files.count() == 2

    # Over REST: a zip of the series and both files of the recording as parts of the columns' names; then by ids.
    body = {"model": str(version.model_id), "scan": SimpleUploadedFile("s.zip", zipped(slices).getvalue()), "ecg": sent(pair)}
    answer = api_of(bob).post("/api/v1/diagnoses/", body, format="multipart")
    assert answer.status_code == 201, answer.content
    assert answer.json()["value"] == "ill"
    body = {"model": str(version.model_id), "record": row.inputs}
    assert api_of(bob).post("/api/v1/diagnoses/", body, format="json").json()["value"] == "ill"
    # A picture that may name the patient waits for a person's eyes: the form then asks for them.
    seen = named(series_of(5, patient="new", bright=3500, BurnedInAnnotation="YES"), "s")
    held = client.post(address, {"token": "t3", "patient": "P-79", "c0": sent(seen)})
    text = held.content.decode()
    assert held.status_code == 400 and "shows identifying text" in text and "I have looked at the DICOM pictures" in text
    assert "I have looked" not in page and "I have looked" not in client.get(address).content.decode()
    again = client.post(address, {"token": "t3", "patient": "P-79", "c0": sent(seen), "looked": "on"})
    assert again.status_code == 302 and AuditEvent.objects.filter(action="dicom.pixels_checked", actor_user=bob).exists()
    # What is wrong with a series is said at its field.
    two = sent(slices | named(series_of(5), "other"))
    refused = client.post(address, {"token": "t2", "patient": "P-78", "c0": two})
    assert refused.status_code == 400 and "hold 2 series (with 5, 4 slices)" in refused.content.decode()

    fresh = zipped({"table.csv": table([rows[0], *rows[1:5]]), **parts})
    body = {"file": SimpleUploadedFile("n.zip", fresh.getvalue())}
    answer = api_of(dana).post(f"/api/v1/model-versions/{version.pk}/evaluate/", body, format="multipart")
    assert answer.status_code == 200, answer.content
    assert answer.json()["report"]["metrics"]["balanced_accuracy"]["value"] == 1.0
    assert Record.objects.filter(dataset=upload.dataset).count() == 2 * EACH + 1
