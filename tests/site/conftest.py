"""The World of the guard tests: made once for a module, every test's changes rolled back."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from tests.site.world import World, build


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: Any) -> Iterator[World]:
    """One hospital with one of everything; see world.py."""
    from accounts import append_only

    with django_db_blocker.unblock():
        made = build(tmp_path_factory.mktemp("world"))
    yield made
    with django_db_blocker.unblock():
        append_only.remove(connection)
        call_command("flush", interactive=False, verbosity=0)
        append_only.install(connection)
