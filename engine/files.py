"""Where the file of a cell lies, and whether it may be opened: the one door from a table to the disk.

A cell of an image, volume, video or signal column is a `pathlib.Path` (only a trusted caller can make one: nothing that
comes from CSV or JSON is a Path), an array that is already decoded, or a text. A text is only ever opened below a folder
that the caller names; a table that says `/etc/passwd` opens nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.cells import is_missing, to_category
from engine.errors import FileRefused
from engine.frozen import Allowance

LONGEST = 1024  # characters of a name


@dataclass(frozen=True)
class Files:
    """What a caller allows: texts are names below `folder`; `weights` holds pretrained networks (see engine.weights).

    `seconds`: about how long all frozen features of a training table may take; None: as long as it takes. A search sets
    `allowance`, which holds them to it.
    """

    folder: Path | None = None
    weights: Path | None = None
    seconds: float | None = None
    allowance: Allowance | None = None

    @classmethod
    def of(cls, files: Files | Path | str | None) -> Files:
        """From what `files=` may be given as."""
        if isinstance(files, Files):
            return files
        return cls(None if files is None else Path(files))


def folder_of(given: Path | None) -> Path | None:
    """The folder of pretrained weights: the given one, else that of the environment."""
    named = os.environ.get("AIMASS_WEIGHTS", "")
    return given if given is not None else Path(named) if named else None


Folder = Files | Path | str | None  # what the public functions take as `files`


def resolve(cell: Any, folder: Path | None) -> Path | None:
    """The file or folder that a cell names; None for a missing cell.

    Raises FileRefused: a text without a folder (files_folder_missing); an absolute name, `..`, a link that leaves the
    folder, a device (file_refused); nothing there (file_missing).
    """
    if isinstance(cell, Path):
        return _existing(cell)
    if is_missing(cell):
        return None
    if not isinstance(cell, str):
        raise FileRefused("file_refused", "neither a name nor a path nor an array")
    if folder is None:
        raise FileRefused("files_folder_missing")
    name = cell.strip()
    parts = name.replace("\\", "/").split("/")
    if len(name) > LONGEST or "\0" in name or name.startswith(("/", "\\", "~")) or ".." in parts or ":" in parts[0]:
        raise FileRefused("file_refused")
    try:
        root = folder.resolve(strict=True)
        path = (root / name).resolve()
    except FileNotFoundError:
        raise FileRefused("file_missing") from None
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that the system can't hold
        raise FileRefused("file_refused") from None
    if path == root or not path.is_relative_to(root):
        raise FileRefused("file_refused")
    return _existing(path)


def _existing(path: Path) -> Path:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileRefused("file_missing") from None
    except (OSError, ValueError):
        raise FileRefused("file_refused") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # reading a pipe would wait for ever
        raise FileRefused("file_refused")
    return path


def source_of(cell: Any, folder: Path | None) -> Path | np.ndarray[Any, Any] | None:
    """What a reader starts from: an array as it is, else `resolve`."""
    return cell if isinstance(cell, np.ndarray) else resolve(cell, folder)


def cell_key(cell: Any) -> str | None:
    """A text that is equal for equal cells, arrays too."""
    if isinstance(cell, np.ndarray):
        return f"{cell.dtype} {cell.shape} {hashlib.sha256(np.ascontiguousarray(cell).tobytes()).hexdigest()}"
    return to_category(cell)


def members(folder: Path, most: int) -> Iterator[Path]:
    """The plain files below a folder in the order of their names; links are passed over, for they could leave it.

    Raises FileRefused ("file_unreadable") when there are more than `most`.
    """
    count = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.name.startswith("."):
            continue
        if any(parent.is_symlink() for parent in path.parents if parent != folder and folder in parent.parents):
            continue
        count += 1
        if count > most:
            raise FileRefused("file_unreadable", f"more than {most} files in one folder")
        yield path
