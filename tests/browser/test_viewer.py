"""The viewer in Chromium: what is on the canvas, and which frames were asked for."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.browser.conftest import overflow
from tests.datasets.viewer.given import record_with

Pages = Callable[..., Any]
SLICES = 60
BRIGHT = 1000


def stairs() -> bytes:
    """Slices of one grey level each, brighter towards the head; a bright bar at the patient's right."""
    values = np.zeros((40, 40, SLICES), dtype=np.int16)
    values[:] = np.arange(SLICES) * 10
    values[-8:] = BRIGHT
    image = nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def pixel(page: Any, across: float, down: float) -> int:
    """The red of the canvas at these shares of its width and height."""
    return int(
        page.evaluate(
            "([x, y]) => { const c = document.querySelector('.viewer-canvas');"
            "return c.getContext('2d').getImageData(Math.floor(x * c.width), Math.floor(y * c.height), 1, 1).data[0]; }",
            [across, down],
        )
    )


def shown(page: Any, index: int, plane: str = "axial") -> None:
    page.wait_for_selector(f".viewer-canvas[data-index='{index}'][data-plane='{plane}']:not([aria-busy])")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def photograph(page: Any, name: str) -> None:
    if folder := os.environ.get("AIMASS_SEEN"):
        page.screenshot(path=str(Path(folder) / f"viewer-{name}.png"), full_page=True)


def opened(page: Any, row: Any, label: str = "Look through it") -> list[tuple[str, int]]:
    """Open the record's viewer; the list of frames that are asked for, which goes on growing."""
    asked: list[tuple[str, int]] = []

    def note(request: Any) -> None:
        if found := re.search(r"/look/(\w+)/(\d+)/$", request.url):
            asked.append((found[1], int(found[2])))

    page.on("request", note)
    page.goto(f"/datasets/{row.record.dataset_id}/records/{row.record_id}/")
    page.get_by_role("button", name=label).click()
    return asked


@pytest.fixture
def head(alice: Any) -> Any:
    return record_with(alice, stairs(), "head.nii", "volume")


def test_a_volume_is_scrolled_windowed_zoomed_and_played(page_of: Pages, alice: Any, head: Any) -> None:
    page = page_of(alice, width=1000)
    asked = opened(page, head)
    shown(page, 30)
    page.wait_for_load_state("networkidle")
    assert "the middle planes" not in page.inner_text("figcaption")  # that was said of the still picture
    assert asked == [("axial", 30), ("axial", 31), ("axial", 32)]  # the middle and two neighbours of sixty
    assert pixel(page, 0.5, 0.4) < 200 < pixel(page, 0.22, 0.4)  # the patient's right is at the left
    assert "at the left R, at the top A" in page.inner_text(".viewer-status")
    photograph(page, "axial")
    canvas = page.locator(".viewer-canvas")
    canvas.hover()
    page.mouse.wheel(0, 120)
    shown(page, 31)
    canvas.focus()
    page.keyboard.press("ArrowDown")
    shown(page, 32)
    page.keyboard.press("PageUp")
    shown(page, 22)
    page.keyboard.press("End")
    shown(page, SLICES - 1)
    page.wait_for_load_state("networkidle")
    places = {index for _plane, index in asked}
    assert len(asked) == len(places), "a frame was asked for twice"
    assert places <= {*range(30, 35), 22, 21, 20, 59}, places
    before = pixel(page, 0.5, 0.4)
    page.keyboard.press("w")  # a higher level is darker
    shown(page, SLICES - 1)
    assert pixel(page, 0.5, 0.4) < before
    darker, many = pixel(page, 0.5, 0.4), len(asked)
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 40)
    page.mouse.up()
    shown(page, SLICES - 1)
    assert pixel(page, 0.5, 0.4) > darker
    assert len(asked) == many  # windows are the browser's: nothing is sent anew
    page.select_option("[data-do=preset]", "0")
    shown(page, SLICES - 1)
    assert pixel(page, 0.5, 0.4) == before
    assert pixel(page, 0.05, 0.4) == 0  # beside the picture
    page.get_by_role("button", name="Larger").click()
    page.keyboard.press("Enter")
    shown(page, SLICES - 1)
    assert pixel(page, 0.05, 0.4) == 255  # the bar has grown to there
    canvas.focus()
    for _ in range(8):
        page.keyboard.press("Shift+ArrowRight")
    shown(page, SLICES - 1)
    assert pixel(page, 0.05, 0.4) != 255  # and was moved away
    page.keyboard.press("0")
    shown(page, SLICES - 1)
    assert pixel(page, 0.05, 0.4) == 0
    page.select_option("[data-do=plane]", "coronal")
    shown(page, 20, "coronal")
    assert pixel(page, 0.5, 0.2) > pixel(page, 0.5, 0.8) + 50  # the head is above
    page.fill("[data-do=rate]", "5")
    page.get_by_role("button", name="Play").click()
    while int(canvas.get_attribute("data-index")) < 23:
        page.wait_for_timeout(50)
    page.get_by_role("button", name="Pause").click()
    page.wait_for_load_state("networkidle")
    coronal = [index for plane, index in asked if plane == "coronal"]
    assert coronal == sorted(coronal) and len(coronal) == len(set(coronal)) < 35


def test_on_a_phone_in_chinese_by_touch(page_of: Pages, alice: Any, head: Any) -> None:
    page = page_of(alice, width=390, language="zh-hans", has_touch=True, is_mobile=True)
    opened(page, head, "逐帧浏览")
    shown(page, 30)
    assert overflow(page) == 0
    page.select_option("[data-do=tool]", "scroll")
    page.evaluate(
        """() => { const c = document.querySelector('.viewer-canvas'); const b = c.getBoundingClientRect();
        c.setPointerCapture = () => {};
        const send = (name, y) => c.dispatchEvent(new PointerEvent(name, {pointerId: 7, pointerType: 'touch', bubbles: true,
          clientX: b.left + 100, clientY: b.top + y}));
        send('pointerdown', 50); send('pointermove', 90); send('pointerup', 90); }"""
    )
    shown(page, 35)
    assert "第 36 / 60 帧" in page.inner_text(".viewer-status")
    page.wait_for_load_state("networkidle")
    photograph(page, "phone-zh")


def test_a_frame_that_cannot_be_drawn_says_so_and_is_not_replaced_by_another(
    page_of: Pages, alice: Any, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.arrivals.desk import Desk
    from datasets.arrivals.found import Refused

    own = Desk.frame

    def some(self: Desk, path: Path, kind: str, plane: str, index: int) -> bytes:
        if index == 31:
            raise Refused("not_drawn")
        return own(self, path, kind, plane, index)

    monkeypatch.setattr(Desk, "frame", some)
    page = page_of(alice)
    opened(page, head)
    shown(page, 30)
    page.wait_for_load_state("networkidle")
    page.locator(".viewer-canvas").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".viewer-problem:not([hidden])")
    assert page.inner_text(".viewer-problem").startswith("This frame cannot be drawn")
    assert pixel(page, 0.22, 0.4) == 0
    page.keyboard.press("ArrowDown")
    shown(page, 32)
    assert not page.locator(".viewer-problem").is_visible()
    page.complaints.allow("422")


def test_without_scripts_the_still_picture_is_there(page_of: Pages, alice: Any, head: Any) -> None:
    page = page_of(alice, scripts=False)
    page.goto(f"/datasets/{head.record.dataset_id}/records/{head.record_id}/")
    page.wait_for_load_state("networkidle")
    assert page.locator(".cell-picture img").is_visible()
    assert not page.locator(".viewer").is_visible() and not page.locator("[data-open]").is_visible()


def test_three_planes_side_by_side(page_of: Pages, alice: Any, head: Any) -> None:
    page = page_of(alice, width=1280)
    opened(page, head)
    shown(page, 30)
    page.get_by_label("Three planes side by side").check()
    page.wait_for_selector(".viewer-other canvas[data-plane=coronal][data-index='20']")
    page.wait_for_selector(".viewer-other canvas[data-plane=sagittal][data-index='20']")
    photograph(page, "three")
    page.locator(".viewer-canvas").click(position={"x": 1, "y": 20}, modifiers=["Alt"])  # to the volume's corner
    page.wait_for_selector(".viewer-other canvas[data-plane=sagittal][data-index='39']")
    page.get_by_role("button", name="Coronal").click()
    shown(page, 39, "coronal")
    page.wait_for_selector(".viewer-other canvas[data-plane=axial][data-index='30']")
    page.get_by_label("Three planes side by side").uncheck()
    assert not page.locator(".viewer-beside").is_visible()


CANVAS = "document.querySelector('.viewer-canvas')"
INK = f"""() => {{ const c = {CANVAS}; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] < 90 && d[i + 2] < 140; return n; }}"""


def beats() -> bytes:
    """Ten seconds of two leads in millivolts, a peak each second, as a zip of a WFDB record."""
    from tests.datasets.given_series import wfdb
    from tests.datasets.test_cells_intake import zipped

    return zipped(wfdb(seconds=10.0)).getvalue()


@pytest.mark.parametrize(("width", "language"), [(1280, "en"), (390, "zh-hans")])
def test_a_signal_is_drawn_on_paper_and_zoomed(page_of: Pages, alice: Any, width: int, language: str) -> None:
    page = page_of(alice, width=width, language=language)
    row = record_with(alice, beats(), "p17.zip", "signal")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/look/trace" in request.url else None)
    page.goto(f"/datasets/{row.record.dataset_id}/records/{row.record_id}/")
    page.locator("[data-open]").click()
    page.wait_for_selector(".viewer-canvas[data-span]:not([aria-busy])")
    assert "25.0 mm/s" in page.inner_text(".viewer-status")
    assert overflow(page) == 0
    assert page.evaluate(INK) > 200
    photograph(page, f"signal-{language}")
    canvas = page.locator(".viewer-canvas")
    before = float(canvas.get_attribute("data-span"))
    canvas.focus()
    page.keyboard.press("+")
    page.wait_for_function(f"() => Number(document.querySelector('.viewer-canvas').dataset.span) < {before * 0.7}")
    page.keyboard.press("End")
    page.wait_for_function(f"() => {{ const d = {CANVAS}.dataset; return +d.from + +d.span > 9.99; }}")
    page.keyboard.press("0")
    page.wait_for_function("() => document.querySelector('.viewer-canvas').dataset.span === '10.000'")
    assert len(asked) == len(set(asked)) <= 8  # no tile twice


def test_a_clip_has_a_strip_to_choose_from(page_of: Pages, alice: Any, tmp_path: Path) -> None:
    from tests.datasets.viewer.test_traces_and_clips import clip

    row = record_with(alice, clip(tmp_path / "clip.mp4").read_bytes(), "clip.mp4", "video")
    page = page_of(alice, width=1000)
    asked = opened(page, row)
    shown(page, 0, "clip")
    strip = "[...document.querySelectorAll('.viewer-strip img')]"
    page.wait_for_function(f"() => {strip}.filter((picture) => picture.naturalWidth).length >= 3")  # those in view
    page.locator(".viewer-strip button").nth(11).click()
    shown(page, 59, "clip")
    assert pixel(page, 0.5, 0.5) > 215
    photograph(page, "clip")
    page.wait_for_load_state("networkidle")
    frames = {index for plane, index in asked if plane == "clip"}
    assert {0, 1, 59} <= frames <= {0, 1, 2, 59}  # the second one ahead may be cut off by the click
