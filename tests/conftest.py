"""What all tests share: a folder of their own, people with roles, clients, and jobs run to their end."""

import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

# The folder of each test process, AIMASS_DATA_DIR, is made by the settings: pytest-django reads them before this file.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from tests import migrated

DATABASE_FIXTURES = frozenset(["db", "transactional_db", "django_db_reset_sequences", "live_server"])


SECONDS = {"process": 8.0, "slow": 6.0, "browser": 4.0}  # that a test of this mark takes, about; others a quarter of one
# What the longest files take (pytest --durations=0 on two cores, rounded). A file that is not named is guessed by its marks.
MEASURED: dict[str, float] = json.loads((Path(__file__).parent / "seconds.json").read_text())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first, so that at the end no worker waits for another's last one.

    Under AIMASS_TOUCHING_DATABASE (script/run_tests.py, for the second database) what knows no database is left out.
    """
    weights: dict[Path, float] = defaultdict(float)
    for item in items:
        weights[item.path] += max((t for mark, t in SECONDS.items() if item.get_closest_marker(mark)), default=1 / 4)
    weights |= {path: MEASURED[name] for path in weights if (name := item_name(path, config)) in MEASURED}
    items.sort(key=lambda item: (-weights[item.path], item.path))
    if not os.environ.get("AIMASS_TOUCHING_DATABASE"):
        return
    kept = [item for item in items if touches_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if not touches_database(item)])
    items[:] = kept


def item_name(path: Path, config: pytest.Config) -> str:
    """As in seconds.json: from the checkout's folder on."""
    return path.relative_to(config.rootpath).as_posix() if path.is_relative_to(config.rootpath) else str(path)


def touches_database(item: pytest.Item) -> bool:
    """Through a fixture or a mark; what starts processes of its own is taken to."""
    names = set(getattr(item, "fixturenames", ()))
    return bool(names & DATABASE_FIXTURES) or any(item.get_closest_marker(mark) for mark in ("django_db", "process"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that is not committed; tests that need it are skipped, saying so, where it is not set."""
    folder = os.environ.get("AIMASS_SHARED_DATA")
    if not folder:
        pytest.skip("AIMASS_SHARED_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """PostgreSQL makes each process's test database as a copy of a migrated one, if there is one (tests/migrated.py)."""
    from django.db import connection

    if migrated.template():
        connection.settings_dict["TEST"]["TEMPLATE"] = migrated.template()


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_modify_db_settings: None) -> bool:
    """Whether a test database is there already: the same for SQLite, whose file goes with the process's folder."""
    from django.db import connection

    return migrated.file() is not None and migrated.copy_to(Path(connection.creation._get_test_db_name()))


@pytest.fixture(scope="session", autouse=True)
def transactional_tests_may_empty_the_audit_log() -> Iterator[None]:
    """Their tear-down empties every table, which the audit log's triggers refuse; migrate's signal puts them back."""
    from django.db import connection
    from django.test import TransactionTestCase

    from accounts import append_only

    original = TransactionTestCase._fixture_teardown

    def teardown(self: Any) -> None:
        append_only.remove(connection)
        original(self)

    TransactionTestCase._fixture_teardown = teardown  # type: ignore[method-assign]
    yield
    TransactionTestCase._fixture_teardown = original  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def desks_may_read_what_tests_write(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The process that looks at files reaches stored and arriving files alone; tests hand it files of their own."""
    from datasets.arrivals.desk import Desk

    Desk.readable = (tmp_path_factory.getbasetemp(), Path(os.environ.get("AIMASS_SHARED_DATA", os.devnull)))
    yield
    Desk.readable = ()


@pytest.fixture(scope="session", autouse=True)
def patient_clock() -> Iterator[None]:
    """What a search finds must not depend on how busy the machine is; the budget's own tests set it back."""
    import engine.clock

    engine.clock.STRETCH = 1000.0
    yield
    engine.clock.STRETCH = 1.0


@pytest.fixture(scope="session", autouse=True)
def static_files_are_listed_once() -> Iterator[None]:
    """Each test client makes the middleware anew, and WhiteNoise would walk through all static files each time: a third of a
    page's time."""
    from whitenoise.middleware import WhiteNoiseMiddleware

    original = WhiteNoiseMiddleware.add_files_from_finders
    listed: dict[str, Any] = {}

    def list_files(self: Any) -> None:
        if not listed:
            original(self)
            listed.update(self.files)
        self.files.update(listed)

    WhiteNoiseMiddleware.add_files_from_finders = list_files
    yield
    WhiteNoiseMiddleware.add_files_from_finders = original


@pytest.fixture(autouse=True)
def clear_cache() -> Iterator[None]:
    from accounts.held import clear_all

    cache.clear()
    clear_all()
    yield
    cache.clear()
    clear_all()


@pytest.fixture(autouse=True)
def same_split_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set's salt is random, and with it its locked test split: here the salts are the same in every run."""
    from datasets import services

    numbers = itertools.count(1)
    monkeypatch.setattr(services, "new_salt", lambda: f"{next(numbers):032x}")


@pytest.fixture
def organisation(db: None) -> Any:
    from accounts.models import Organisation

    return Organisation.objects.create(name="St Mary's")


@pytest.fixture
def other_organisation(db: None) -> Any:
    from accounts.models import Organisation

    return Organisation.objects.create(name="Elsewhere Clinic")


def make_user(email: str, organisation: Any, role: str) -> Any:
    from allauth.account.models import EmailAddress

    from accounts.models import Membership, User

    user = User.objects.create_user(email, "correct horse battery", full_name=email.split("@")[0].title())
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    if organisation is not None:
        Membership.objects.create(organisation=organisation, user=user, role=role)
        user.last_organisation = organisation
        user.save()
    return user


@pytest.fixture
def alice(organisation: Any) -> Any:
    """Administrator of St Mary's."""
    return make_user("alice@example.org", organisation, "administrator")


@pytest.fixture
def dana(organisation: Any) -> Any:
    """Data scientist of St Mary's."""
    return make_user("dana@example.org", organisation, "data_scientist")


@pytest.fixture
def bob(organisation: Any) -> Any:
    """Clinician of St Mary's."""
    return make_user("bob@example.org", organisation, "clinician")


@pytest.fixture
def victor(organisation: Any) -> Any:
    """Auditor of St Mary's: reads all, changes nothing."""
    return make_user("victor@example.org", organisation, "auditor")


@pytest.fixture
def charlie(other_organisation: Any) -> Any:
    """Administrator of another organisation: the outsider."""
    return make_user("charlie@elsewhere.example", other_organisation, "administrator")


def actor(user: Any, organisation: Any = None) -> Any:
    """The actor of a person's membership, as services want it."""
    from accounts.actor import Actor

    membership = user.memberships.select_related("organisation", "user").get(
        **({"organisation": organisation} if organisation else {})
    )
    return Actor.member(membership, ip="127.0.0.1", user_agent="tests")


@pytest.fixture
def client_of() -> Callable[[Any], Client]:
    """`client_of(alice)`: a browser signed in as Alice."""

    def make(user: Any = None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return make


@pytest.fixture
def api_of() -> Callable[..., Any]:
    """`api_of(alice)`: a REST client with a fresh key of Alice's (all scopes of her role unless given)."""
    from rest_framework.test import APIClient

    from accounts.keys import make_key
    from accounts.models import ApiKey
    from accounts.permissions import ROLES

    def make(user: Any, scopes: Any = None) -> APIClient:
        membership = user.memberships.get()
        plain, prefix, key_hash = make_key()
        ApiKey.objects.create(
            organisation=membership.organisation,
            user=user,
            name="test",
            prefix=prefix,
            key_hash=key_hash,
            scopes=sorted(scopes if scopes is not None else ROLES[membership.role].permissions),
            expires_at=timezone.now() + timedelta(days=1),
        )
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {plain}")
        return client

    return make


@pytest.fixture
def run_jobs() -> Callable[[], int]:
    """`run_jobs()`: runs every waiting job to its end in this process, through the same entry point as a worker."""
    from jobs.models import Job, State
    from jobs.reaper import settle_ended
    from jobs.runner import run_job

    def run() -> int:
        count = 0
        while (job := Job.objects.filter(state=State.QUEUED).order_by("created_at").first()) is not None:
            run_job(job.pk, owner="tests")
            count += 1
        settle_ended()  # jobs that were cancelled while they waited
        return count

    return run
