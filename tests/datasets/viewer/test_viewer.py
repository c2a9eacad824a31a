"""The viewer's addresses: what there is to look at, one frame, who may see it, and what the desk may not make of it."""

import gzip
import io
import json
from typing import Any

import numpy as np
import pytest
from django.urls import reverse
from PIL import Image

from accounts.models import AuditEvent
from datasets.arrivals.desk import Desk
from datasets.cells import pictures
from datasets.viewer import frames
from datasets.viewer.looking import pack
from tests.datasets.viewer import phantoms
from tests.datasets.viewer.given import record_with
from tests.datasets.viewer.phantoms import HEAD, SHAPE
from tests.datasets.viewer.test_planes import unpacked

pytestmark = pytest.mark.django_db


def where(row: Any, *frame: Any) -> str:
    args = [row.record.dataset_id, row.record_id, row.pk, *frame]
    return reverse("datasets:record_frame" if frame else "datasets:record_look", args=args)


@pytest.fixture
def head(dana: Any) -> Any:
    return record_with(dana, phantoms.nifti(), "head.nii", "volume")


def test_a_volume_is_told_and_sent_frame_by_frame(client_of: Any, bob: Any, head: Any) -> None:
    client = client_of(bob)
    answer = client.get(where(head))
    assert answer.status_code == 200 and answer["Cache-Control"] == "no-store, private"
    assert answer["X-Content-Type-Options"] == "nosniff"
    told = answer.json()
    assert (told["kind"], told["size"]) == ("volume", head.file.size)
    assert [(p["label"], p["count"]) for p in told["planes"]] == [("Axial", 8), ("Coronal", 10), ("Sagittal", 12)]
    assert [p["label"] for p in told["presets"]] == ["Nearly all values"]
    sent = client.get(where(head, "axial", SHAPE[2] - 1))
    assert sent.status_code == 200 and sent["Content-Encoding"] == "gzip"
    assert (sent["Cache-Control"], sent["X-Content-Type-Options"]) == ("no-store, private", "nosniff")
    assert unpacked(gzip.decompress(sent.content)).max() == HEAD
    kept = pictures.folder_of(head.file.organisation_id, head.file.sha256) / "frames"
    assert [path.name for path in kept.glob("*.frame")] == ["volume-axial-7-2.frame"]  # nothing that was not asked for
    pictures.forget(head.file.organisation_id, head.file.sha256)
    assert not kept.exists()


def test_one_look_is_one_reading_in_the_audit_log(client_of: Any, bob: Any, alice: Any, head: Any) -> None:
    for index in range(3):
        client_of(bob).get(where(head, "axial", index))
    client_of(bob).get(where(head))
    events = AuditEvent.objects.filter(action="record.file_read")
    assert [event.detail["column"] for event in events] == ["scan"]
    client_of(alice).get(where(head, "axial", 0))
    assert events.all().count() == 2  # another person's look is another reading


def test_nobody_else_sees_any_of_it(client_of: Any, charlie: Any, head: Any) -> None:
    for address in (where(head), where(head, "axial", 0)):
        assert client_of(charlie).get(address).status_code == 404
        assert client_of().get(address).status_code == 302
        assert client_of(charlie).post(address).status_code in (403, 404, 405)
    assert not AuditEvent.objects.filter(action="record.file_read").exists()


@pytest.mark.parametrize(
    "frame", [("axial", 8), ("axial", 10**30), ("frames", 0), ("picture", 0), ("clip", 0), ("x" * 300, 0), ("__class__", 0)]
)
def test_what_is_not_there_is_not_found(client_of: Any, bob: Any, head: Any, frame: tuple[str, int]) -> None:
    assert client_of(bob).get(where(head, *frame)).status_code == 404


def test_odd_addresses_and_questions_are_no_errors(client_of: Any, bob: Any, head: Any) -> None:
    base = where(head).removesuffix("all/")
    for part in ("axial/-1/", "axial/1.5/", "..%2f..%2fetc/1/", "axial/%00/", "ax ial/1/", "axial/NaN/"):
        assert client_of(bob).get(base + part).status_code == 404, part
    for planes in ("all", "all;", "\0", "x" * 5000):
        assert client_of(bob).get(where(head), {"planes": planes}).status_code == 200
    assert client_of(bob).post(where(head)).status_code == 405


def test_a_ct_has_its_presets_and_other_planes_when_asked(client_of: Any, bob: Any, dana: Any) -> None:
    stream = io.BytesIO()
    data = phantoms.dicom()
    data.WindowCenter, data.WindowWidth = 450, 1000
    data.BurnedInAnnotation = "NO"
    data.save_as(stream, enforce_file_format=True)
    row = record_with(dana, stream.getvalue(), "ct.dcm", "volume")
    client = client_of(bob)
    told = client.get(where(row)).json()
    assert [p["name"] for p in told["planes"]] == ["frames"] and told["more"]
    labels = [(p["label"], p["center"], p["width"]) for p in told["presets"]]
    assert labels[0] == ("The file's window", 450, 1000)
    assert ("Lung", -600, 1500) in labels and ("Brain", 40, 80) in labels
    assert told["planes"][0]["marks"] == ["R", "L", "A", "P"]
    whole = client.get(where(row), {"planes": "all"}).json()
    assert [p["name"] for p in whole["planes"]] == ["frames", "axial", "coronal", "sagittal"]
    assert client.get(where(row, "coronal", 3)).status_code == 200
    assert client.get(where(row, "coronal", 10)).status_code == 404


def test_a_picture_is_sent_as_png(client_of: Any, bob: Any, dana: Any) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 10, 10)).save(stream, "PNG")
    row = record_with(dana, stream.getvalue(), "skin.png", "image")
    told = client_of(bob).get(where(row)).json()
    assert [(p["name"], p["width"], p["height"], p["marks"], p["spacing"]) for p in told["planes"]] == [
        ("picture", 30, 20, None, None)
    ]
    assert told["range"] is None and not told["presets"]
    sent = client_of(bob).get(where(row, "picture", 0))
    assert sent["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(sent.content)).getpixel((3, 3)) == (200, 10, 10)


def test_what_cannot_be_drawn_says_so_in_both_languages(client_of: Any, bob: Any, dana: Any, monkeypatch: Any) -> None:
    from datasets.arrivals.found import Refused

    def refuse(*args: Any) -> bytes:
        raise Refused("not_drawn")

    row = record_with(dana, phantoms.nifti(), "head.nii", "volume")
    client_of(bob).get(where(row))
    monkeypatch.setattr(Desk, "frame", refuse)
    answer = client_of(bob).get(where(row, "axial", 0))
    assert answer.status_code == 422 and answer.json()["error"].startswith("This frame cannot be drawn")
    monkeypatch.undo()
    client = client_of(bob)
    client.cookies["django_language"] = "zh-hans"
    again = client.get(where(row, "axial", 0))  # not tried at every look
    assert again.status_code == 422 and "此帧无法绘制" in again.json()["error"]
    assert client.get(where(row, "axial", 1)).status_code == 200


def test_a_desk_that_was_taken_over_sends_nothing_else(client_of: Any, bob: Any, head: Any, monkeypatch: Any) -> None:
    client = client_of(bob)
    client.get(where(head))
    lies = [b"<script>", b"AMG1", pack(np.zeros((3, 3)))[:-1], pack(np.zeros((3, 3))) + b"more", b""]
    for index, lie in enumerate(lies):
        monkeypatch.setattr(Desk, "frame", lambda *args, lie=lie: lie)
        assert client.get(where(head, "axial", index)).status_code == 422
    plane = {"name": "axial", "count": 3, "width": 3, "height": 3, "spacing": None, "marks": None, "start": 0}
    plane |= {"aspect": 1, "depth": 1}
    good = {
        "planes": [plane], "windows": [[1, 2]], "range": [0, 1], "exact": True, "inverse": False, "hounsfield": False,
        "rate": None, "more": False, "signal": None,
    }  # fmt: skip
    assert frames.checked(json.loads(json.dumps(good)))["planes"][0]["count"] == 3
    for bad in (
        {"planes": [{**plane, "name": "<b>"}]}, {"planes": [{**plane, "count": 10**9}]}, {"planes": [{**plane, "start": 3}]},
        {"planes": [{**plane, "marks": ["R", "L", "A", "<img>"]}]}, {"planes": [{**plane, "aspect": float("nan")}]},
        {"windows": [["a", 1]]}, {"windows": [[1]]}, {"range": [1, float("inf")]}, {"rate": "fast"}, {"planes": 7},
    ):  # fmt: skip
        with pytest.raises(frames.Refused):
            frames.checked({**good, **bad})


def test_frames_of_a_file_are_kept_within_bounds(client_of: Any, bob: Any, head: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(frames, "KEPT_FRAMES", 3)
    for index in range(8):
        assert client_of(bob).get(where(head, "axial", index)).status_code == 200
    kept = pictures.folder_of(head.file.organisation_id, head.file.sha256) / "frames"
    assert sorted(path.name for path in kept.glob("*.frame")) == [f"volume-axial-{k}-2.frame" for k in (5, 6, 7)]


def test_the_page_keeps_the_still_picture_and_offers_the_viewer(client_of: Any, bob: Any, head: Any) -> None:
    page = client_of(bob).get(reverse("datasets:record", args=[head.record.dataset_id, head.record_id])).content.decode()
    assert f'data-viewer="{where(head)}"' in page and "/page/" in page
