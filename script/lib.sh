# What the scripts share; sourced, POSIX sh. Use: `. "$(dirname "$0")/lib.sh"; aimass_setup requirements/test.txt`
set -eu
ROOT=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$ROOT"

# Prints a Python that is 3.11 or newer and can make virtual environments; says what to do when there is none.
find_python() {
    for name in ${AIMASS_PYTHON:-} python3 python3.11 python3.12 python3.13 python3.14 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return 0
        fi
    done
    echo "AI Mass needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv; AIMASS_PYTHON names another)." >&2
    return 1
}

# aimass_setup [requirements file ...]: everything that running AI Mass needs; quick when nothing has changed.
aimass_setup() {
    python=$(find_python)
    "$python" "$ROOT/script/setup.py" "$@"
    PYTHON="$ROOT/.venv/bin/python"
    PATH="$ROOT/.venv/bin:$PATH"
    export PATH PYTHON
}

# aimass_alone FILE: installs what a requirements file pins without what those packages name; quick when it is there.
aimass_alone() {
    "$PYTHON" - "$1" 2>/dev/null <<'PY' || "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps -r "$1"
import re, sys
from importlib.metadata import version
from pathlib import Path
pins = re.findall(r"^([\w.-]+)==(\S+)", Path(sys.argv[1]).read_text(encoding="utf-8"), re.M)
assert all(version(name) == pinned for name, pinned in pins)
PY
}
