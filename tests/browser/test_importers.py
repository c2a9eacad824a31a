"""An administrator sets up an importer in Chromium, from the list of kinds to the records on the data set's page."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from datasets.importing.models import Importer
from datasets.models import Dataset
from tests.browser.conftest import overflow

PATIENCE = 60_000  # ms; a busy machine needs long for a page with all time zones
ROWS = "mrn,age,diagnosis\n" + "".join(f"p{n:03d},{30 + n},{'ill' if n % 3 else 'well'}\n" for n in range(12))


@pytest.fixture
def drop(tmp_path: Path, settings: Any) -> Path:
    """A folder of the hospital with a first table in it, an hour old."""
    folder = tmp_path / "visits"
    folder.mkdir()
    (folder / "monday.csv").write_text(ROWS)
    os.utime(folder / "monday.csv", (time.time() - 3600,) * 2)
    settings.IMPORT_FOLDERS = [f"*={tmp_path}"]
    return folder


@pytest.mark.slow  # a browser walks through eight pages
def test_from_the_kinds_to_the_records(
    page_of: Callable[..., Any], alice: Any, drop: Path, run_jobs: Callable[[], int]
) -> None:
    page = page_of(alice)
    page.set_default_timeout(PATIENCE)
    page.goto(reverse("datasets:importers"))  # which loads all pages' code here and not in the browser's time
    page.get_by_role("link", name="Add an importer").first.click()
    page.get_by_role("link", name="Folder", exact=True).click()
    page.get_by_label("Name", exact=True).fill("Visits of the ward")
    page.get_by_label("Folder", exact=True).fill("/etc")
    page.get_by_label("each file is a table").check()
    page.get_by_role("button", name="Save and test the connection").click()
    page.get_by_text("Please correct what is marked below.").wait_for()
    page.complaints.allow("422")
    assert page.locator(".form-error, .invalid-feedback").filter(has_text="AIMASS_IMPORT_FOLDERS").count() == 1
    assert page.get_by_label("Name", exact=True).input_value() == "Visits of the ward"  # nothing is lost
    assert page.get_by_label("Folder", exact=True).input_value() == "/etc"
    assert page.get_by_label("each file is a table").is_checked()
    page.get_by_label("Folder", exact=True).fill(str(drop))
    page.get_by_role("button", name="Save and test the connection").click()
    page.get_by_role("heading", name="The connection is being tested").wait_for()
    run_jobs()
    page.get_by_role("heading", name="Which field goes into which column").wait_for()  # by itself
    for name, role in (("mrn", "patient"), ("diagnosis", "target")):
        column = page.locator("tr", has=page.get_by_role("rowheader", name=name))
        column.locator("td.choice select").nth(1).select_option(role)
    page.get_by_label("Name of the new data set").fill("Ward")
    page.get_by_role("button", name="Save the mapping").click()
    page.get_by_label("When", exact=True).select_option("daily")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Give the time of day.").wait_for()
    page.complaints.allow("422")
    page.get_by_label("Time of day").fill("02:30")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("every day at 02:30").wait_for()
    page.get_by_role("button", name="Run now").click()
    page.get_by_text("It looks for new data now.").wait_for()
    run_jobs()
    page.goto(f"/datasets/importers/{Importer.objects.get().pk}/")
    page.get_by_text("12 new records").first.wait_for()
    page.get_by_role("link", name="Ward", exact=True).click()
    page.get_by_role("heading", name="Ward").first.wait_for()
    assert Dataset.objects.get(name="Ward").record_count == 12
    assert page.get_by_text("12", exact=True).count()

    phone = page_of(alice, width=390, height=844, language="zh-hans")
    phone.set_default_timeout(PATIENCE)
    row = Importer.objects.get()
    run = row.runs.get()
    of_it = (f"{row.pk}/{more}" for more in ("", "settings/", "schedule/", f"runs/{run.pk}/"))
    for path in ("", "add/", "add/folder/", "add/sql/", *of_it):
        phone.goto(f"/datasets/importers/{path}")
        assert overflow(phone) <= 0, path
        assert phone.locator("html").get_attribute("lang") == "zh-hans"
    phone.get_by_role("heading").first.wait_for()
    phone.goto(f"/datasets/importers/{row.pk}/")
    phone.get_by_role("button", name="测试").click()
    run_jobs()
    phone.goto(f"/datasets/importers/{row.pk}/look/")
    assert phone.get_by_text("p001").count() and overflow(phone) <= 0
