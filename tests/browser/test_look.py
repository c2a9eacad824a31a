"""The portal's frame in Chromium: it fits a phone, works by keyboard and without scripts, and breaks no CSP rule."""

from collections.abc import Callable
from typing import Any

import pytest

from datasets.models import Dataset
from tests.browser.conftest import overflow

Pages = Callable[..., Any]


@pytest.fixture
def dataset(alice: Any) -> Dataset:
    return Dataset.objects.create(organisation=alice.last_organisation, name="Patients with chest pain, 2019 to 2026")


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("width", [1280, 390])
def test_home_fits_the_screen(page_of: Pages, alice: Any, width: int, language: str) -> None:
    page = page_of(alice, width=width, language=language)
    page.goto("/")
    assert page.locator("h1").inner_text() == "St Mary's"
    assert overflow(page) == 0
    assert page.locator("html").get_attribute("lang") == language


def test_menu_opens_on_a_phone(page_of: Pages, alice: Any) -> None:
    page = page_of(alice, width=390)
    page.goto("/")
    link = page.locator(".site-nav a").first
    assert not link.is_visible()
    page.get_by_role("button", name="Menu").click()
    link.wait_for(state="visible")
    assert overflow(page) == 0


@pytest.mark.parametrize("path", ["/members/", "/datasets/"])
def test_a_list_is_not_cut_off_on_a_phone(page_of: Pages, alice: Any, dataset: Any, path: str) -> None:
    page = page_of(alice, width=390)
    page.goto(path)
    cut = "all => all.map(e => e.scrollWidth - e.clientWidth)"
    assert page.eval_on_selector_all(".table-responsive", cut) == [0]
    assert page.locator("tbody td[data-label]").first.is_visible()


def test_without_scripts_the_menu_is_open_and_languages_switch(page_of: Pages, alice: Any) -> None:
    page = page_of(alice, width=390, scripts=False)
    page.goto("/")
    assert page.locator(".site-nav a").first.is_visible()
    page.get_by_role("button", name="中文").click()
    assert page.locator("html").get_attribute("lang") == "zh-hans"


def test_first_tab_reaches_the_skip_link(page_of: Pages, alice: Any) -> None:
    page = page_of(alice)
    page.goto("/")
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.get_attribute("class") == "skip-link"
    assert focused.bounding_box()["y"] >= 0, "the skip link is not visible when focused"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_account_menu_works_by_keyboard(page_of: Pages, alice: Any) -> None:
    page = page_of(alice)
    page.goto("/")
    page.locator("details.menu > summary").focus()
    page.keyboard.press("Enter")
    sign_out = page.get_by_role("button", name="Sign out")
    assert sign_out.is_visible()
    page.keyboard.press("Escape")
    assert not sign_out.is_visible()


def test_dark_follows_the_system(page_of: Pages, alice: Any) -> None:
    page = page_of(alice, color_scheme="dark")
    page.goto("/")
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 24, 28)"


def test_404_page_leads_home(page_of: Pages, alice: Any) -> None:
    page = page_of(alice)
    page.goto("/no/such/page/")
    page.complaints.allow("404")
    page.get_by_role("link", name="Go to the home page").click()
    assert page.locator("h2").first.is_visible()


def test_api_docs_show_operations_offline(page_of: Pages, alice: Any, live_server: Any) -> None:
    page = page_of(alice)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/api/docs/")
    page.locator(".opblock").first.wait_for()
    assert page.locator(".opblock").count() > 10
    assert [url for url in asked if not url.startswith((live_server.url, "data:"))] == []


def test_login_page_is_usable_on_a_phone(new_page: Pages) -> None:
    page = new_page(width=390)
    page.goto("/accounts/login/")
    assert overflow(page) == 0
    assert page.get_by_label("Password").is_visible()


# Contrast of text and what it stands on, as WCAG 2.1 defines it, for every pair of tokens that the styles use.
PAIRS = [
    ("ink", "ground"), ("ink", "surface"), ("ink", "surface-sunk"), ("muted", "ground"), ("muted", "surface"),
    ("muted", "surface-sunk"), ("accent", "surface"), ("accent", "ground"), ("accent-strong", "accent-soft"),
    ("ink", "accent-soft"), ("on-accent", "accent"), ("success", "success-soft"), ("info", "info-soft"),
    ("warning", "warning-soft"), ("danger", "danger-soft"), ("danger", "surface"), ("surface", "danger"), ("surface", "success"),
]  # fmt: skip
CONTRAST = """([first, second]) => {
  const luminance = (name) => {
    const probe = document.createElement("span");
    document.body.append(probe);
    probe.style.transition = "none";
    probe.style.color = `var(--am-${name})`;
    const parts = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255);
    const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [low, high] = [luminance(first), luminance(second)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(new_page: Pages, scheme: str) -> None:
    page = new_page(color_scheme=scheme)
    page.goto("/accounts/login/")
    weak = {f"{a} on {b}": round(page.evaluate(CONTRAST, [a, b]), 2) for a, b in PAIRS}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}
