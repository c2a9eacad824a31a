"""Imports go one way, dotted names resolve, and torch stays out of the web process."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

ROOT = Path(settings.BASE_DIR)
APPS = ("accounts", "jobs", "datasets", "training", "inference", "aimass_site")


@pytest.mark.slow  # grimp reads every file of eight packages
def test_imports_point_one_way() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:]


@pytest.mark.slow  # starts a fresh Python, as the point is what a new process loads
def test_the_web_process_does_not_load_torch() -> None:
    code = (
        "import django, sys; django.setup()\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
        "import aimass_site.wsgi, engine\n"
        "heavy = [name for name in ('torch',) if name in sys.modules]\n"
        "print(heavy); sys.exit(bool(heavy))"
    )
    environment = {"AIMASS_DEMO": "1", "AIMASS_DATA_DIR": str(settings.DATA_DIR)}
    environment["DJANGO_SETTINGS_MODULE"] = "aimass_site.settings"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]


def dotted_names() -> Iterator[tuple[str, str]]:
    """Every string constant in the apps that looks like `app.module.function`, with where it stands."""
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    parts = node.value.split(".")
                    plain = len(parts) >= 3 and parts[0] in APPS and all(part.isidentifier() for part in parts)
                    if plain:
                        yield node.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or what is found in one by its attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return all((found := getattr(found, part, None)) is not None for part in parts[length:])
    return False


def test_every_dotted_name_resolves() -> None:
    found = dict(dotted_names())
    assert any(".tasks." in name for name in found), "no task name was found: has the way of naming changed?"
    broken = [f"{where}: {name}" for name, where in found.items() if not resolves(name)]
    assert not broken, "\n".join(broken)


def test_every_schedule_names_a_function() -> None:
    from jobs.schedules import SCHEDULES

    assert SCHEDULES
    assert all(callable(import_string(periodic.task)) for periodic in SCHEDULES)


def test_a_broken_name_would_be_seen() -> None:
    assert not resolves("training.tasks.no_such_function")
    assert resolves("accounts.notifications.notify")
