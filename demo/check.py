"""The demo's check: registration, upload, training, leaderboard, confirmation and diagnosis, as a person over HTTP and as
a scientist over the SDK; each step must show what it promises."""

import re
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path

import ai_mass as am
from demo import data, processes
from demo.browser import Browser
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
    try:
        processes.until(look, what, seconds)
    except TimeoutError as error:
        raise CheckFailed(str(error)) from None


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
    page = browser.send(
        browser.open("/organisations/new/").form("organisations", "name"), name="Newcomer's clinic"
    )
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
    """Upload a file, correct its preview, confirm, wait until its records are there; the data set's address."""
    page = browser.send(browser.open("/datasets/upload/").form("upload", "file"), files={"file": path})
    header = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    place = {name: i for i, name in enumerate(header)}
    corrections = {
        f"c{place['id']}-role": "patient",
        f"c{place['num']}-role": "ignore",
        f"c{place['heart_disease']}-role": "target",
    }
    page = browser.send(page.form("uploads", "-role"), dataset_name=DATASET, action="import", **corrections)
    address = page.url

    def imported() -> bool:
        nonlocal page
        page = browser.open(address)
        return "920" in page.text and any(
            re.search(r"/datasets/[0-9a-f-]{36}/$", link) for link in page.links
        )

    until(imported, "the import of 920 rows")
    found = next(link for link in page.links if re.search(r"/datasets/[0-9a-f-]{36}/$", link))
    expect("920" in browser.open(found).text, "the data set has 920 records")
    print("  uploaded, preview corrected, 920 records imported")
    return found


def train(browser: Browser, dataset: str) -> str:
    """Train without any choice, watch, and open the leaderboard; the model's address."""
    page = browser.send(
        browser.open(f"/training/new/{dataset.strip('/').split('/')[-1]}/").form("/training/new/")
    )
    address = page.url
    expect(
        re.search(r"/training/[0-9a-f-]{36}/", address),
        f"training was refused: {' '.join(page.text.split())[:400]}",
    )

    def finished() -> bool:
        nonlocal page
        page = browser.open(address)
        expect("failed" not in page.text, f"the run failed: {' '.join(page.text.split())[:600]}")
        return any("/models/versions/" in link for link in page.links)

    until(finished, "the training")
    page = browser.open(page.link("/models/versions/"))
    models = browser.open("/models/")
    address = next(link for link in models.links if re.search(r"/models/[0-9a-f-]{36}/$", link))
    board = browser.open(address)
    expect(re.search(r"n = \d+", board.text), "the leaderboard shows n")
    print("  trained without a choice; the leaderboard shows every version with interval and n")
    return address


def confirm(browser: Browser, model: str) -> None:
    """Confirm the version that the leaderboard offers first."""
    page = browser.open(browser.open(model).link("/confirm/"))
    page = browser.send(page.form("/confirm/"))
    expect("roll" in page.html.lower() or "champion" in page.text.lower(), "the champion is shown")
    print("  champion confirmed")


def diagnose(browser: Browser, model: str) -> None:
    """Fill in the form for a new patient, read the result, confirm it."""
    form = browser.open(f"/diagnose/{model.strip('/').split('/')[-1]}/").form("/diagnose/", "c0")
    values = {}
    for i, value in enumerate(PATIENT.values()):
        options = form.choices.get(f"c{i}")
        values[f"c{i}"] = (
            next((o for o in options if o.lower() == str(value).lower()), "") if options else value
        )
    page = browser.send(form, **values)
    expect("/diagnoses/" in page.url, f"the diagnosis has a page of its own: {page.url}")
    for promise in ("present", "95% interval", "of 100 patients", "not a diagnosis made by a physician"):
        expect(promise in page.text, f"the result says “{promise}”")
    again = browser.send(form, **values)
    expect(again.url == page.url, "sending the form twice makes one diagnosis")
    page = browser.send(page.form("/review/"), verdict="confirmed")
    expect("confirmed" in page.text.lower(), "the review is shown")
    print("  diagnosed with probability, interval and reasons; reviewed; a double click made one diagnosis")


def as_scientist(portal: Portal, key: str, path: Path) -> None:
    """The same over the SDK: evaluate, infer, and a second data set of their own trained with hyperparameters."""
    with am.connect(portal.url, key):
        report = am.evaluate(path)
        expect(report["roc_auc"] and 0.5 < report["roc_auc"] <= 1.0, "am.evaluate gives a ROC AUC")
        values = am.inference([PATIENT, PATIENT | {"ca": 0, "thal": "normal"}])
        expect(
            len(values) == 2 and set(values) <= {"absent", "present"}, f"am.inference gives values: {values}"
        )
        version = am.train(dataset=DATASET, candidates=["linear"], C=0.5, time_budget=10, quiet=True)
        expect(version.candidate == "linear" and "roc_auc" in version.metrics, "am.train gives the version")
    print("  am.evaluate, am.inference and am.train work")


def walk(portal: Portal, folder: Path) -> None:
    """The whole walk. Raises CheckFailed (or the browser's errors) at the first step that does not hold."""
    print("A newcomer walks through the portal:")
    browser = Browser(portal.url)
    path = data.heart_disease(folder)
    register(browser, folder)
    key = make_key(browser)
    model = train(browser, upload(browser, path))
    confirm(browser, model)
    diagnose(browser, model)
    as_scientist(portal, key, path)
