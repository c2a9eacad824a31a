"""A database as `migrate` leaves it, made once by script/run_tests.py: test databases and installations are copies of it.

AIMASS_MIGRATED names it: an SQLite file, or a database of the same PostgreSQL. Where it is not set, as under pytest alone, the
test database and the first installation are migrated; the next ones are copies of the first, if it is a file.
"""

import os
import shutil
from pathlib import Path


def file() -> Path | None:
    """The migrated file, where there is one and the tests run on SQLite."""
    given = os.environ.get("AIMASS_MIGRATED", "")
    return Path(given) if given and not os.environ.get("DATABASE_URL") else None


def template() -> str:
    """The name of the migrated database on PostgreSQL, or nothing."""
    return os.environ.get("AIMASS_MIGRATED", "") if os.environ.get("DATABASE_URL") else ""


def copy_to(path: Path) -> bool:
    """Whether there was a file to copy."""
    source = file()
    if source is None:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return True


def remember(path: Path, folder: Path) -> None:
    """The next installation of this process may copy this file, which nobody has open."""
    if not path.with_name(f"{path.name}-wal").exists():
        os.environ["AIMASS_MIGRATED"] = shutil.copyfile(path, str(folder / "migrated.sqlite3"))
