"""The whole story in Chromium, with a real portal, a real worker and real records: from registration to a diagnosis.

Marked slow: it trains a model through the queue.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.check import mailed_link
from demo.processes import Portal, free_port

pytestmark = [pytest.mark.slow, pytest.mark.process]
PASSWORD = "a-long-enough-passphrase"
PATIENT = {"mean radius": "20.6", "mean texture": "29.3", "worst concave points": "0.265"}


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    """The portal and a worker as processes, on a folder and a port of their own."""
    with Portal(tmp_path, free_port()) as running:
        yield running


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Breast cancer (Wisconsin): 569 patients, 30 measurements of cell nuclei; the label in words."""
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    frame["diagnosis"] = frame.pop("target").map({0: "malignant", 1: "benign"})
    frame.insert(0, "mrn", [f"P{i:04d}" for i in range(len(frame))])
    path = tmp_path / "Breast cancer.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def page(chromium: Any, portal: Portal) -> Iterator[Any]:
    """A page of the real portal; a console error fails the test."""
    context = chromium.new_context(base_url=portal.url, viewport={"width": 1280, "height": 900}, locale="en-GB")
    context.set_default_timeout(30_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert not complaints, complaints


def register(page: Any, portal: Portal) -> None:
    page.goto("/accounts/signup/")
    page.fill("input[name=email]", "grace@clinic.example")
    page.fill("input[name=password1]", PASSWORD)
    page.fill("input[name=password2]", PASSWORD)
    page.press("input[name=password2]", "Enter")
    page.wait_for_url("**/confirm-email/")
    page.goto(mailed_link(portal.folder, "confirm-email"))
    page.locator("main form button[type=submit], main form button:not([type])").first.click()
    page.wait_for_load_state()
    if "/login" in page.url:
        page.fill("input[name=login]", "grace@clinic.example")
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
    page.goto("/organisations/new/")
    page.fill("input[name=name]", "Grace's clinic")
    page.press("input[name=name]", "Enter")
    page.wait_for_url("**/welcome/")
    page.fill("input[name=outcome_words]", "breast cancer")
    page.press("input[name=outcome_words]", "Enter")
    page.wait_for_url("**/recommendation/")


def upload(page: Any, table: Path) -> None:
    page.goto("/datasets/upload/")
    page.set_input_files("input[type=file]", table)
    page.locator("main form button[type=submit], main form button:not([type])").first.click()
    page.wait_for_url("**/datasets/uploads/*/")
    assert page.locator("select[name=c0-role]").input_value() == "patient"
    page.select_option("select[name=c31-role]", "target")
    page.locator("button[name=action][value=import]").first.click()
    page.wait_for_url("**/report/")
    # The page follows the job by itself, and at its end shows the counts and the way on.
    page.locator("main a[href^='/datasets/'][href$='/']", has_text=re.compile("data set|records", re.I)).first.wait_for()
    page.get_by_text("569").first.wait_for(timeout=60_000)


def train(page: Any) -> None:
    page.goto("/datasets/")
    page.get_by_role("link", name="Breast cancer").first.click()
    page.locator("a[href^='/training/new/']").first.click()
    page.locator("main form button[type=submit], main form button:not([type])").first.click()
    page.wait_for_url(re.compile(r"/training/[0-9a-f-]{36}/$"))
    page.get_by_role("progressbar").first.wait_for()
    page.locator("main a[href^='/models/versions/']").first.wait_for(timeout=240_000)


def confirm(page: Any) -> None:
    page.goto("/models/")
    page.locator("main a[href^='/models/']").first.click()
    assert re.search(r"n = \d+", page.locator("main").inner_text()), "every figure comes with its n"
    page.locator("main a[href$='/confirm/']").first.click()
    page.locator("main form button[type=submit], main form button:not([type])").first.click()
    page.wait_for_load_state()


def diagnose(page: Any) -> None:
    page.goto("/diagnose/")
    page.locator("main a[href^='/diagnose/']").first.click()
    for label, value in PATIENT.items():
        page.get_by_label(re.compile(rf"^{label}\b")).first.fill(value)
    page.locator("main form button[type=submit], main form button:not([type])").first.click()
    page.wait_for_url(re.compile(r"/diagnoses/[0-9a-f-]{36}/$"))
    text = page.locator("main").inner_text()
    assert "malignant" in text
    assert "95% interval" in text
    assert "of 100 patients" in text
    assert "not a diagnosis made by a physician" in text.lower()
    assert "not known" in text or "missing" in text.lower(), "what was left out is said"
    page.locator("input[name=verdict][value=confirmed]").check()
    page.locator("form[action$='/review/'] button[type=submit], form[action$='/review/'] button:not([type])").first.click()
    page.get_by_text(re.compile("confirmed", re.I)).first.wait_for()


def in_chinese(page: Any) -> None:
    page.get_by_role("button", name="中文").click()
    page.wait_for_load_state()
    assert page.locator("html").get_attribute("lang") == "zh-hans"
    assert "95%" in page.locator("main").inner_text()
    assert "诊断" in page.locator("main").inner_text()


def test_from_registration_to_a_diagnosis(page: Any, portal: Portal, table: Path) -> None:
    register(page, portal)
    upload(page, table)
    train(page)
    confirm(page)
    diagnose(page)
    in_chinese(page)
