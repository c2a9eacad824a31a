"""The dictionary of attacks, and what they are made with."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Attack = Callable[[Path, Path], None]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    """Registers an attack on (folder of a copied model, file that must not appear); the folder is resealed afterwards."""
    ATTACKS[function.__name__] = function
    return function


def unsealed(function: Attack) -> Attack:
    """As `attack`, but the function writes the manifest itself."""
    function.unsealed = True
    return attack(function)


def reseal(folder: Path) -> None:
    """What an attacker does: the right hashes of the wrong files."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)
