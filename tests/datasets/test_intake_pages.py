"""The upload pages and the uploads over REST: who may, who may not, and the whole way through each."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from datasets import intake
from datasets.models import Dataset, Record, Upload
from tests.conftest import actor

TABLE = b"mrn,age,outcome\n1,63,ill\n2,41,healthy\n3,x,ill\n" + b"".join(
    b"%d,%d,ill\n" % (i, i) for i in range(4, 60)
)


def a_file(content: bytes = TABLE, name: str = "visit.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


@pytest.fixture
def upload(dana: Any) -> Upload:
    return intake.receive(actor=actor(dana), file=a_file(), name="visit.csv")


def test_the_whole_way_through_the_portal(dana: Any, client_of: Any, run_jobs: Any) -> None:
    client = client_of(dana)
    assert "At most" in client.get(reverse("datasets:upload")).content.decode()
    answer = client.post(reverse("datasets:upload"), {"file": a_file()})
    upload = Upload.objects.get()
    assert answer.url == reverse("datasets:preview", args=[upload.pk])
    page = client.get(answer.url).content.decode()
    assert "1 values are not numbers" in page
    form = {"c0-include": "on", "c0-kind": "category", "c0-role": "patient", "c1-include": "on", "c1-kind": "number",
            "c1-role": "feature",
            "c1-number_format": ".|", "c2-include": "on", "c2-kind": "category", "c2-role": "target",
            "new_dataset_name": "Ward 3",
            "keep_good_rows": "yes", "action": "import"}  # fmt: skip
    answer = client.post(answer.url, form)
    assert answer.url == reverse("datasets:upload_report", args=[upload.pk])
    client.post(reverse("datasets:preview", args=[upload.pk]), form)  # a second click
    run_jobs()
    page = client.get(answer.url).content.decode()
    assert "58 records were imported" in page
    refused = b"".join(client.get(reverse("datasets:refused", args=[upload.pk])).streaming_content).decode(
        "utf-8-sig"
    )
    assert refused.splitlines()[1] == "visit.csv,4,age,“x” is not a number"
    assert Dataset.objects.get().name == "Ward 3" and Record.objects.count() == 58


def test_other_reading_options_show_another_preview(dana: Any, client_of: Any, upload: Upload) -> None:
    url = reverse("datasets:preview", args=[upload.pk])
    answer = client_of(dana).post(url, {"delimiter": ";", "action": "preview"})
    assert answer.url == url
    upload.refresh_from_db()
    assert [c["name"] for c in upload.preview["columns"]] == ["mrn,age,outcome"]
    assert Record.objects.count() == 0


def test_wrong_choices_are_said_on_the_page(dana: Any, client_of: Any, upload: Upload) -> None:
    form = (
        {f"c{i}-include": "on" for i in range(3)}
        | {f"c{i}-kind": "category" for i in range(3)}
        | {f"c{i}-role": "target" for i in range(3)}
    )
    answer = client_of(dana).post(reverse("datasets:preview", args=[upload.pk]), {**form, "action": "import"})
    assert answer.status_code == 422
    assert "Only one column can be the target" in answer.content.decode()


def test_what_cannot_be_read_is_said_on_the_page(dana: Any, client_of: Any, settings: Any) -> None:
    answer = client_of(dana).post(reverse("datasets:upload"), {"file": a_file(b"", "x.csv")})
    assert "The file is empty" in answer.content.decode()
    settings.MAX_UPLOAD_BYTES = 20
    answer = client_of(dana).post(reverse("datasets:upload"), {"file": a_file()})
    assert "larger than 20 B" in answer.content.decode()
    assert Upload.objects.count() == 0


def test_upload_can_be_discarded(dana: Any, client_of: Any, upload: Upload) -> None:
    client_of(dana).post(reverse("datasets:discard", args=[upload.pk]))
    upload.refresh_from_db()
    assert (upload.state, upload.preview) == ("discarded", {})
    page = client_of(dana).get(reverse("datasets:upload_report", args=[upload.pk])).content.decode()
    assert "discarded; nothing was imported" in page


@pytest.mark.parametrize("name", ["preview", "upload_report", "refused", "discard"])
def test_outsider_gets_404(charlie: Any, client_of: Any, upload: Upload, name: str) -> None:
    url = reverse(f"datasets:{name}", args=[upload.pk])
    assert (client_of(charlie).post if name == "discard" else client_of(charlie).get)(url).status_code == 404
    upload.refresh_from_db()
    assert upload.state == "preview"


def test_auditor_sees_the_preview_but_cannot_upload_change_or_discard(
    victor: Any, client_of: Any, upload: Upload
) -> None:
    client = client_of(victor)
    page = client.get(reverse("datasets:preview", args=[upload.pk]))
    assert page.status_code == 200 and 'value="import"' not in page.content.decode()
    assert client.get(reverse("datasets:upload")).status_code == 403
    assert client.post(reverse("datasets:preview", args=[upload.pk]), {}).status_code == 403
    assert client.post(reverse("datasets:discard", args=[upload.pk])).status_code == 403


def test_outsiders_data_set_cannot_be_chosen(charlie: Any, dana: Any, client_of: Any) -> None:
    from datasets.services import create_dataset

    other = create_dataset(actor=actor(dana), name="Secret")
    answer = client_of(charlie).post(reverse("datasets:upload"), {"file": a_file(), "dataset": str(other.pk)})
    assert "Secret" not in answer.content.decode() and Upload.objects.count() == 0
    assert client_of(charlie).get(reverse("datasets:upload"), {"dataset": "junk"}).status_code == 200


def test_the_whole_way_over_rest(dana: Any, api_of: Any, run_jobs: Any) -> None:
    api = api_of(dana)
    made = api.post("/api/v1/uploads/", {"file": a_file()}, format="multipart")
    assert made.status_code == 201 and made.data["preview"]["columns"][0]["role"] == "patient"
    url = f"/api/v1/uploads/{made.data['id']}/"
    again = api.patch(url, {"columns": [{"name": "age", "kind": "text"}]})
    assert again.data["preview"]["columns"][1]["kind"] == "text"
    confirmed = api.post(
        url + "confirm/", {"new_dataset_name": "R", "columns": [{"name": "age", "kind": "number"}]}
    )
    assert confirmed.status_code == 202 and confirmed.data["state"] == "importing"
    run_jobs()
    done = api.get(url).data
    assert (done["state"], done["rows_added"], done["rows_refused"]) == ("imported", 58, 1)
    assert api.post(url + "confirm/", {}).data["job"] == confirmed.data["job"]
    assert api.post(url + "discard/").status_code == 409
    assert [u["id"] for u in api.get("/api/v1/uploads/").data["results"]] == [made.data["id"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"columns": [{"name": "nope"}]}, 422),
        ({"columns": [{"name": "age", "kind": "soup"}]}, 400),
        ({"columns": [{"name": "age", "minimum": 9, "maximum": 1}]}, 400),
        ({"columns": [{"name": "age", "minimum": "nan"}]}, 400),
        ({"columns": [{"name": n, "include": False} for n in ("mrn", "age", "outcome")]}, 422),
        ({"dataset": "00000000-0000-0000-0000-000000000000"}, 404),
        ({"dataset": "soup"}, 400),
        ([], 400),
    ],
)
def test_junk_is_answered_by_a_problem(
    dana: Any, api_of: Any, upload: Upload, body: Any, status: int
) -> None:
    assert api_of(dana).post(f"/api/v1/uploads/{upload.pk}/confirm/", body).status_code == status
    upload.refresh_from_db()
    assert upload.state == "preview" and Dataset.objects.count() == 0


def test_rest_refuses_what_is_not_a_table_and_what_is_too_large(
    dana: Any, api_of: Any, settings: Any
) -> None:
    api = api_of(dana)
    assert (
        api.post("/api/v1/uploads/", {"file": a_file(b"\0\1\2\3" * 99)}, format="multipart").status_code
        == 422
    )
    assert api.post("/api/v1/uploads/", {}, format="multipart").status_code == 400
    settings.MAX_UPLOAD_BYTES = 20
    assert api.post("/api/v1/uploads/", {"file": a_file()}, format="multipart").status_code == 413


def test_outsider_gets_404_over_rest(charlie: Any, api_of: Any, upload: Upload) -> None:
    api, url = api_of(charlie), f"/api/v1/uploads/{upload.pk}/"
    assert {
        api.get(url).status_code,
        api.patch(url, {}).status_code,
        api.post(url + "confirm/", {}).status_code,
        api.post(url + "discard/").status_code,
    } == {404}
    assert api.get("/api/v1/uploads/").data["results"] == []


def test_reading_key_cannot_write(dana: Any, api_of: Any) -> None:
    api = api_of(dana, scopes=["data:read"])
    assert api.post("/api/v1/uploads/", {"file": a_file()}, format="multipart").status_code == 403


def test_demo_file_gets_its_roles(dana: Any, shared_data: Path) -> None:
    rows = (shared_data / "mtsamples500").glob("*.csv")
    path = next(rows, None)
    if path is None:
        pytest.skip("there is no CSV file in mtsamples500")
    upload = intake.receive(actor=actor(dana), file=path, name=path.name)
    assert any(c["kind"] == "text" for c in upload.preview["columns"])
