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
    ],
)
def test_what_is_missing_or_unsafe_stops_the_start(environment: dict[str, str], said: str) -> None:
    result = start(**environment)
    assert result.returncode != 0
    assert said in result.stderr


def test_a_complete_environment_starts() -> None:
    assert start(SECRET_KEY="x", ALLOWED_HOSTS="portal.example").returncode == 0
