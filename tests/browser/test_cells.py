"""A mixed data set in the browser: a zip with fields, text and pictures, to the reviewed diagnosis with its heat map."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import actor
from tests.datasets.test_cells_intake import cells_of, with_table
from tests.training.test_cells import trained
from training.services import confirm_champion

pytestmark = pytest.mark.slow  # trains a model on real pictures
PATIENCE = 90_000  # milliseconds: files are taken in, and reasons worked out, within a request


def seen(page: Any, name: str) -> None:
    """All pictures of the page are there; a photograph of it where AIMASS_SEEN names a folder."""
    page.wait_for_load_state("networkidle")
    broken = page.eval_on_selector_all("main img", "all => all.filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    assert not broken, broken
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{name} is wider than the screen by {wide} pixels"
    if folder := os.environ.get("AIMASS_SEEN"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_from_zip_to_reviewed_diagnosis(
    alice: Any, page_of: Callable[..., Any], run_jobs: Callable[[], int], shared_data: Path, tmp_path: Path
) -> None:
    from datasets.models import Dataset, Record
    from inference.models import Diagnosis

    archive = tmp_path / "smears.zip"
    extra = "P1,50,lost,films/lost.png,rbc\n"
    archive.write_bytes(with_table(cells_of(shared_data, 20), {"films/nobody.png": b"\x89PNG"}, extra).getvalue())
    page = page_of(alice)
    page.set_default_timeout(PATIENCE)
    page.goto("/datasets/upload/")
    page.set_input_files("input[type=file]", str(archive))
    page.click("main form button[type=submit]")
    page.wait_for_selector("#files-of-zip")
    assert "films/lost.png" in page.inner_text("main")
    assert "films/nobody.png" in page.inner_text("main")
    seen(page, "preview-desktop")
    page.click("button[value=import]")
    page.wait_for_url("**/report/")
    run_jobs()
    dataset = Dataset.objects.get()
    assert dataset.record_count == 60
    page.goto(f"/datasets/{dataset.pk}/records/")
    assert page.locator("img.cell-thumb").count() == 50
    seen(page, "records-desktop")
    record = Record.objects.first()
    assert record is not None
    page.goto(f"/datasets/{dataset.pk}/records/{record.pk}/")
    assert page.locator(".cell-picture img").count() == 1
    seen(page, "record-desktop")
    version = trained(alice, run_jobs, dataset).versions.get(chosen=True)
    confirm_champion(actor=actor(alice), version=version)
    path = sorted((shared_data / "bccd_blood_cells" / "images" / "wbc").glob("*.png"))[-1]
    page.goto(f"/diagnose/{version.model_id}/")
    page.get_by_label("age", exact=False).first.fill("50")
    page.set_input_files("input[type=file]", str(path))
    page.fill("input[name=patient]", "P-77")
    seen(page, "form-desktop")
    page.click("main form button[type=submit]")
    page.wait_for_selector(".reasons .cell-picture img")
    page.locator(".reasons .cell-picture img").scroll_into_view_if_needed()
    seen(page, "diagnosis-desktop")
    assert "wbc" in page.inner_text(".reasons figcaption")
    address = page.url
    page.check("input[value=confirmed]")
    page.click("section:has(input[name=verdict]) button[type=submit], form:has(input[name=verdict]) button[type=submit]")
    page.wait_for_selector("text=Your review is saved")
    made = Record.objects.get(source="review")
    assert made.files.get().name == path.name
    assert Diagnosis.objects.get().verdict == "confirmed"
    phone = page_of(alice, width=390, height=844, language="zh-hans")
    phone.set_default_timeout(PATIENCE)
    for name, where in {
        "diagnosis": address, "record": f"/datasets/{dataset.pk}/records/{made.pk}/",
        "records": f"/datasets/{dataset.pk}/records/", "form": f"/diagnose/{version.model_id}/",
    }.items():  # fmt: skip
        phone.goto(where)
        for picture in phone.locator("main img").all()[:3]:
            picture.scroll_into_view_if_needed()
        seen(phone, f"{name}-phone-zh")
