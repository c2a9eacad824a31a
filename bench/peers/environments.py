"""The peers' own environments under .venv-peers, made when a peer is first asked for; the product's stays untouched."""

import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
OF_PEER = {"autogluon_medium": "autogluon", "autogluon_best": "autogluon", "flaml": "flaml"}
BUDGETS = {"engine": 60.0, "autogluon_medium": 120.0, "autogluon_best": 120.0, "flaml": 60.0, "linear": 60.0,
           "boosted": 60.0}  # fmt: skip


class NoEnvironment(Exception):
    """The peer could not be installed; the message is pip's last line."""


def python_of(peer: str) -> str:
    """The Python that has the peer. Raises NoEnvironment."""
    if peer not in OF_PEER:
        return sys.executable
    name = OF_PEER[peer]
    folder, wanted = HOME / ".venv-peers" / name, HOME / "requirements" / f"peers-{name}.txt"
    stamp = folder / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        print(
            f"installing {wanted.name} (the first time this takes some minutes)", file=sys.stderr, flush=True
        )
        if not (folder / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise NoEnvironment(lines[-1] if lines else f"pip ended with {done.returncode}")
        stamp.write_text(wanted.read_text())
    return str(folder / "bin" / "python")


def versions(python: str) -> dict[str, str]:
    """The versions of what decides the figures, as that environment has them."""
    code = (
        "import json, importlib.metadata as m\n"
        "names = 'autogluon.tabular flaml scikit-learn numpy pandas torch lightgbm xgboost catboost'.split()\n"
        "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()"
        " if (d.metadata['Name'] or '').lower() in names}))"
    )
    import json

    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))
