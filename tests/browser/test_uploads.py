"""Uploading in Chromium: pieces with progress, pause, a cut network, a reload, cancelling, several files, and no scripts."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.models import Upload
from datasets.tus import parts
from datasets.tus.models import Transfer
from datasets.tus.services import begin
from tests.browser.conftest import overflow
from tests.conftest import actor
from tests.jobs.process_site import until

Pages = Callable[..., Any]
MB = 1024 * 1024


def table(path: Path, megabytes: int = 1) -> Path:
    with path.open("w", encoding="ascii") as stream:
        stream.write("mrn,age,crp,outcome\n")
        number = 0
        while stream.tell() < megabytes * MB:
            block = range(number, number + 5000)
            stream.writelines(f"{i},{20 + i % 60},{i % 977}.25,{'ill' if i % 3 else 'well'}\n" for i in block)
            number += 5000
    return path


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A table of 30 MB: four pieces."""
    return table(tmp_path / "Zhang Wei 张伟.csv", 30)


def slow(page: Any, megabytes_per_second: float) -> Any:
    """Chromium's own throttling; 0 is no network at all. Returns the session that it belongs to."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    throttle(session, megabytes_per_second)
    return session


def throttle(session: Any, megabytes_per_second: float) -> None:
    speed = int(megabytes_per_second * MB)
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": speed == 0, "latency": 0, "downloadThroughput": -1, "uploadThroughput": speed or -1},
    )


def choose(page: Any, *paths: Path) -> None:
    page.set_input_files("input[type=file]", [str(path) for path in paths])
    page.get_by_role("button", name="Upload and preview").click()


def came() -> int:
    row = Transfer.objects.first()
    return row.offset if row else 0


def test_one_file_leads_to_its_preview(page_of: Pages, dana: Any, tmp_path: Path) -> None:
    page = page_of(dana)
    page.goto("/datasets/upload/")
    choose(page, table(tmp_path / "visits.csv"))
    page.wait_for_url("**/datasets/uploads/*/")
    assert page.locator("h1").inner_text() == "visits.csv"
    assert Transfer.objects.get().upload == Upload.objects.get()
    assert page.evaluate("Object.keys(localStorage).length") == 0


def test_progress_pause_and_resume(page_of: Pages, dana: Any, big: Path) -> None:
    page = page_of(dana)
    page.goto("/datasets/upload/")
    session = slow(page, 6)
    choose(page, big)
    moving = page.locator("p[data-state]", has_text=re.compile(r"\d MB of 30\.\d MB · [\d.]+ MB/s · \d+ (second|minute)s? left"))
    moving.wait_for()
    assert 0 < float(page.locator("progress[data-bar]").evaluate("bar => bar.value")) < 1
    until(lambda: came() >= 8 * MB, "the first piece")
    page.get_by_role("button", name="Pause").click()
    page.locator("p[data-state]", has_text="Paused").wait_for()
    page.wait_for_timeout(700)
    stopped = came()
    page.wait_for_timeout(1000)
    assert came() == stopped < big.stat().st_size
    throttle(session, -1 / MB)
    page.get_by_role("button", name="Resume").click()
    page.wait_for_url("**/datasets/uploads/*/")
    assert Upload.objects.get().file.size == big.stat().st_size


def test_a_cut_network_goes_on_by_itself(page_of: Pages, dana: Any, big: Path) -> None:
    page = page_of(dana)
    page.goto("/datasets/upload/")
    session = slow(page, 6)
    choose(page, big)
    until(lambda: came() >= 8 * MB, "the first piece")
    throttle(session, 0)
    page.locator("p[data-state]", has_text="No connection").wait_for()
    page.wait_for_timeout(1500)
    throttle(session, -1 / MB)
    page.wait_for_url("**/datasets/uploads/*/")
    assert Upload.objects.get().file.size == big.stat().st_size and Transfer.objects.count() == 1
    page.complaints.allow("ERR_INTERNET_DISCONNECTED")


def test_after_a_reload_it_goes_on_where_it_stopped(page_of: Pages, dana: Any, big: Path) -> None:
    page = page_of(dana)
    page.goto("/datasets/upload/")
    slow(page, 6)
    choose(page, big)
    until(lambda: came() >= 8 * MB, "the first piece")
    page.reload()
    waiting = page.locator("[data-unfinished]")
    assert "Zhang Wei 张伟.csv" in waiting.inner_text() and "%" in waiting.inner_text()
    kept = page.evaluate("JSON.stringify(localStorage)")
    assert "/api/v1/transfers/" in kept and "Zhang" not in kept and "张伟" not in kept
    before, sent = came(), []
    page.on("request", lambda r: sent.append((r.method, r.headers.get("upload-offset"))) if "/transfers/" in r.url else None)
    choose(page, big)
    page.wait_for_url("**/datasets/uploads/*/")
    assert before >= 8 * MB
    assert sent[0] == ("HEAD", None) and ("POST", None) not in sent, sent
    assert int(next(offset for method, offset in sent if method == "PATCH")) >= before
    assert Upload.objects.get().file.size == big.stat().st_size


def test_cancelling_asks_first_and_leaves_nothing(page_of: Pages, dana: Any, big: Path) -> None:
    page = page_of(dana)
    page.goto("/datasets/upload/")
    slow(page, 4)
    choose(page, big)
    until(lambda: came() >= 8 * MB, "the first piece")
    part = parts.path_of(Transfer.objects.get().pk)
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    assert "Zhang Wei" in dialog.inner_text()
    dialog.get_by_role("button", name="Keep uploading").click()
    assert not dialog.is_visible() and Transfer.objects.count() == 1
    page.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel the upload").click()
    page.locator("p[data-state]", has_text="Cancelled. Nothing of it is kept.").wait_for()
    until(lambda: Transfer.objects.count() == 0 and not part.exists(), "the end of the transfer")
    assert page.evaluate("Object.keys(localStorage).length") == 0
    page.complaints[:] = [line for line in page.complaints if "423" not in line]  # the piece that was cut off had the file


def test_several_files_each_with_its_own_end(page_of: Pages, dana: Any, tmp_path: Path) -> None:
    good = [table(tmp_path / f"ward {i}.csv") for i in (1, 2)]
    bad = tmp_path / "no table.csv"
    bad.write_bytes(b"\x00\x01\x02\xff\xfe\x00" * 100)
    page = page_of(dana)
    page.goto("/datasets/upload/")
    choose(page, *good, bad)
    until(lambda: page.locator("[data-check]:not([hidden])").count() == 2, "both files")
    links = page.locator("[data-check]:not([hidden])")
    assert links.first.get_attribute("aria-label") == "Check and import: ward 1.csv"
    refused = page.locator("li[data-state=refused] p[data-state]")
    refused.wait_for()
    assert len(refused.inner_text()) > 20, "the server's own reason"
    assert sorted(u.original_name for u in Upload.objects.all()) == ["ward 1.csv", "ward 2.csv"]
    links.first.click()
    page.wait_for_url("**/datasets/uploads/*/")
    page.complaints.allow("422")


def test_dropped_files_are_taken(page_of: Pages, dana: Any) -> None:
    page = page_of(dana)
    page.goto("/datasets/upload/")
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          for (const name of ["a.csv", "b.csv"]) data.items.add(new File(["mrn,age\\n1,30\\n2,40\\n"], name));
          const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
          document.querySelector("main").dispatchEvent(drop);
        }"""
    )
    page.get_by_role("button", name="Upload and preview").click()
    until(lambda: page.locator("[data-check]:not([hidden])").count() == 2, "both files")
    assert Upload.objects.count() == 2


def test_a_file_over_the_limit_is_not_sent(page_of: Pages, dana: Any, tmp_path: Path, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 1000
    page = page_of(dana)
    page.goto("/datasets/upload/")
    choose(page, table(tmp_path / "large.csv"))
    page.locator("p[data-state]", has_text="This file is larger than 1000 B.").wait_for()
    assert Transfer.objects.count() == 0


def test_signed_out_in_the_middle(page_of: Pages, dana: Any, big: Path) -> None:
    page = page_of(dana)
    page.goto("/datasets/upload/")
    session = slow(page, 6)
    choose(page, big)
    until(lambda: came() >= 8 * MB, "the first piece")
    cookie = next(c for c in page.context.cookies() if c["name"] == "sessionid")
    page.context.clear_cookies(name="sessionid")
    page.locator("p[data-state]", has_text="You are signed out").wait_for()
    page.get_by_role("button", name="Resume").click()  # still signed out: nothing is begun anew
    page.locator("p[data-state]", has_text="You are signed out").wait_for()
    page.context.add_cookies([cookie])
    throttle(session, -1 / MB)
    page.get_by_role("button", name="Resume").click()
    page.wait_for_url("**/datasets/uploads/*/")
    assert Transfer.objects.count() == 1
    page.complaints[:] = [line for line in page.complaints if "401" not in line]


def test_without_scripts_the_form_sends_the_file(page_of: Pages, dana: Any, tmp_path: Path) -> None:
    page = page_of(dana, scripts=False)
    page.goto("/datasets/upload/")
    page.set_input_files("input[type=file]", str(table(tmp_path / "plain.csv")))
    page.get_by_role("button", name="Upload and preview").click()
    page.wait_for_url("**/datasets/uploads/*/")
    assert Upload.objects.get().original_name == "plain.csv" and Transfer.objects.count() == 0


def test_without_scripts_an_unfinished_upload_can_be_discarded(page_of: Pages, dana: Any) -> None:
    begin(actor=actor(dana), length=1000, name="half.csv")
    page = page_of(dana, scripts=False)
    page.goto("/datasets/upload/")
    page.get_by_role("link", name="Discard").click()
    assert "half.csv" in page.locator("main").inner_text()
    page.get_by_role("button", name="Cancel the upload").click()
    page.get_by_text("nothing of it is kept").wait_for()
    assert Transfer.objects.count() == 0


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_it_fits_a_phone(page_of: Pages, dana: Any, big: Path, language: str) -> None:
    begin(actor=actor(dana), length=7_000_000, name="half-of-a-very-long-name-without-a-space-" * 3 + ".csv")
    page = page_of(dana, width=390, language=language)
    page.goto("/datasets/upload/")
    slow(page, 2)
    page.set_input_files("input[type=file]", str(big))
    page.locator("main form[data-upload] button[type=submit]").click()
    until(lambda: page.locator("[data-transfers] [data-bar]").evaluate("bar => bar.value") > 0.03, "some progress")
    page.wait_for_timeout(600)
    assert overflow(page) == 0
    page.locator("[data-cancel]").click()
    assert page.locator("dialog").is_visible() and overflow(page) == 0
    if language == "zh-hans":
        assert "取消此上传" in page.locator("dialog").inner_text() and "剩余" in page.locator("[data-transfers]").inner_text()
