"""Settings: every variable is in .env.example, and unsafe ones stop the start."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
READ = re.compile(r"(?:env(?:\.\w+)?\(|environ(?:\.get\(|\[))\s*\"([A-Z_0-9]+)\"")


def documented() -> set[str]:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return set(re.findall(r"^(?:# )?([A-Z][A-Z_0-9]+)=", text, flags=re.MULTILINE))


def test_every_variable_is_in_the_example() -> None:
    read = set(READ.findall((ROOT / "aimass_site" / "settings.py").read_text(encoding="utf-8")))
    assert "SECRET_KEY" in read
    assert sorted(read - documented()) == []
    assert sorted(documented() - read) == []


def test_no_app_reads_a_variable_that_the_example_does_not_name() -> None:
    """Names written out in the apps; AIMASS_NODE_ID is handed by the worker to its own clusters."""
    direct = re.compile(r"os\.(?:environ(?:\.get\(|\[)|getenv\()\s*([A-Z]+\b|\"[A-Z_0-9]+\")")
    found = {
        (path.relative_to(ROOT).as_posix(), name.strip('"'))
        for app in ("accounts", "jobs", "datasets", "training", "inference", "aimass_site", "engine")
        for path in (ROOT / app).rglob("*.py")
        for name in direct.findall(path.read_text(encoding="utf-8"))
    }
    assert ("jobs/nodes.py", "ENVIRONMENT") in found
    known = documented() | {"DJANGO_SETTINGS_MODULE"}
    assert {(path, name) for path, name in found if name not in known} == {("jobs/nodes.py", "ENVIRONMENT")}


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a fresh process with only these variables."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-c", "import aimass_site.settings"]
    variables = {**keep, "AIMASS_DATA_DIR": str(settings.DATA_DIR), **environment}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.skipif((ROOT / ".env").exists(), reason="a .env file of this checkout would answer for the variables")
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "SECRET_KEY"),
        ({"SECRET_KEY": "x", "DEBUG": "1"}, "AIMASS_DEMO"),
        ({"SECRET_KEY": "x", "AIMASS_WORKERS": "many"}, "many"),
        ({"SECRET_KEY": "x", "AIMASS_PATIENT_KEYS": "too-short"}, "AIMASS_PATIENT_KEYS"),
        ({"SECRET_KEY": "x", "AIMASS_IMPORT_NETWORKS": "10.1.0.0/16"}, "AIMASS_IMPORT_NETWORKS"),
        ({"SECRET_KEY": "x", "AIMASS_IMPORT_FOLDERS": "*=drops"}, "AIMASS_IMPORT_FOLDERS"),
    ],
)
def test_what_is_missing_or_unsafe_stops_the_start(environment: dict[str, str], said: str) -> None:
    result = start(**environment)
    assert result.returncode != 0
    assert said in result.stderr


def test_a_complete_environment_starts() -> None:
    assert start(SECRET_KEY="x", ALLOWED_HOSTS="portal.example").returncode == 0
