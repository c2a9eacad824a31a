"""Chromium against a live portal: a page that fails the test on any console error or CSP violation."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Playwright's synchronous API runs an event loop in this thread; Django is only called between its calls.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test on a database that the live server's threads can see."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One Chromium for the session; skipped, saying why, only where none is installed."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"Chromium is not installed at {CHROMIUM} (apt-get install chromium, or set CHROMIUM)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Complaints(list[str]):
    """What the page's console said that it should not have. `allow("404")` takes out what a test expects."""

    def allow(self, part: str) -> None:
        expected = [line for line in self if part in line]
        assert expected, f"expected a complaint with {part!r}, got {list(self)}"
        self[:] = [line for line in self if part not in line]


@pytest.fixture
def new_page(chromium: Any, live_server: Any) -> Iterator[Callable[..., Any]]:
    """`new_page(user=alice, width=390, language="zh-hans", scripts=False)`: a page in a fresh browser profile."""
    complaints, contexts = Complaints(), []

    def make(
        user: Any = None, *, width: int = 1280, height: int = 900, language: str = "en", scripts: bool = True, **options: Any
    ) -> Any:
        context = chromium.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": height},
            java_script_enabled=scripts,
            locale="en-GB",
            reduced_motion="reduce",
            **options,
        )
        context.set_default_timeout(15_000)
        cookies = [{"name": "django_language", "value": language, "url": live_server.url}]
        if user is not None:
            cookies.append({"name": "sessionid", "value": session_of(user), "url": live_server.url})
        context.add_cookies(cookies)
        page = context.new_page()
        page.on("console", lambda message: note(complaints, message))
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.complaints = complaints
        contexts.append(context)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not complaints, "the browser's console complained:\n" + "\n".join(complaints)


@pytest.fixture
def page(new_page: Callable[..., Any]) -> Any:
    """A page of nobody, 1280 pixels wide, in English."""
    return new_page()


@pytest.fixture
def page_of(new_page: Callable[..., Any]) -> Callable[..., Any]:
    """`page_of(alice)`: a page of a signed-in person."""
    return new_page


def note(complaints: Complaints, message: Any) -> None:
    """Keep console errors; CSP violations come as errors too."""
    if message.type == "error" or "Content Security Policy" in message.text:
        complaints.append(f"{message.location.get('url', '')}: {message.text}")


def session_of(user: Any) -> str:
    """The session cookie of a signed-in person, without walking through the sign-in form."""
    from django.test import Client

    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def overflow(page: Any) -> int:
    """How many pixels the page is wider than the window: 0 on a page that fits a phone."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
