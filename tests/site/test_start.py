"""The site starts: settings load, checks pass, the database answers."""

import pytest
from django.core.management import call_command
from django.test import Client


@pytest.mark.django_db
def test_health_answers() -> None:
    assert Client().get("/health/").json() == {"status": "ok"}


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_system_check_is_silent() -> None:
    call_command("check", fail_level="WARNING")
