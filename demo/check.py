"""The demo's check: registration, upload, training, leaderboard, confirmation and diagnosis, as a person over HTTP and as
a scientist over the SDK; each step must show what it promises."""

import re
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path

import ai_mass as am
from demo import data
from demo.browser import Browser, Page
from demo.processes import Portal
from demo.story import PATIENT

EMAIL, PASSWORD = "newcomer@clinic.example", "a-long-enough-passphrase"
DATASET = "Newcomer's heart data"


class CheckFailed(Exception):
    """A step did not show what it promises."""


def expect(condition: object, what: str) -> None:
    """Raise CheckFailed unless the condition holds."""
    if not condition:
        raise CheckFailed(what)


def until(look: Callable[[], object], what: str, seconds: float = 180.0) -> None:
    """Look again and again until it holds. Raises CheckFailed after `seconds`."""
    deadline = time.monotonic() + seconds
    while not look():
        expect(time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)


def mailed_link(folder: Path, containing: str) -> str:
    """The newest link of that sort in the e-mails that the portal wrote."""
    for path in sorted((folder / "mail").iterdir(), key=lambda p: p.stat().st_mtime, reverse=True):
        for part in path.read_bytes().split(b"-" * 79):
            body = message_from_bytes(part.strip(), policy=policy.default).get_payload()
            found = re.search(rf"https?://\S*{containing}\S*", str(body))
            if found:
                return found.group()
    raise CheckFailed(f"no e-mail with a link to {containing}")


def register(browser: Browser, folder: Path) -> None:
    """Sign up, confirm the address by the e-mailed link, found an organisation, say what matters."""
    browser.send(
        browser.open("/accounts/signup/").form("signup"), email=EMAIL, password1=PASSWORD, password2=PASSWORD
    )
    page = browser.open(mailed_link(folder, "confirm-email"))
    page = browser.send(page.form("confirm-email"))
    if "/accounts/login" in page.url:
        page = browser.send(page.form("login"), login=EMAIL, password=PASSWORD)
    page = browser.send(browser.open("/organisations/new/").form("organisations", "name"), name="Newcomer's clinic")
    expect("/welcome" in page.url, f"after founding an organisation: {page.url}")
    page = browser.send(page.form(field="outcome_words"), outcome_words="heart disease")
    print("  registered, verified by e-mail, organisation founded, preferences said")


def make_key(browser: Browser) -> str:
    """An API key made on its page; it is shown once."""
    form = browser.open("/keys/new/").form("keys", "scopes")
    page = browser.send(form, name="check", scopes=form.choices["scopes"])
    found = re.search(r"am_[\w-]{40,}", page.html)
    expect(found, "the new key is shown")
    key = found.group() if found else ""
    expect(key not in browser.open("/keys/").html, "the key is shown only once")
    return key


def upload(browser: Browser, path: Path) -> str:
    """Upload a file, correct its preview, confirm, wait; the data set's address."""
    page = browser.send(browser.open("/datasets/upload/").form("upload", "file"), files={"file": path})
    raise NotImplementedError(page.forms)


def walk(portal: Portal, folder: Path) -> None:
    """The whole walk."""
    browser = Browser(portal.url)
    register(browser, folder)
    make_key(browser)
