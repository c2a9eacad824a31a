"""Attacks on the folder: extra files, links, pipes, files in each other's place."""

import os
import pickle
import shutil
from pathlib import Path

from tests.engine.attacks.registry import Canary, attack, unsealed


@unsealed
def an_extra_file(folder: Path, canary: Path) -> None:
    (folder / ".hidden").write_text("hello")


@unsealed
def an_extra_file_with_an_odd_name(folder: Path, canary: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/odd\xff\n.skops")).write_text("hello")


@unsealed
def an_extra_folder(folder: Path, canary: Path) -> None:
    (folder / "sub").mkdir()


@unsealed
def a_pipe(folder: Path, canary: Path) -> None:
    (folder / "state.safetensors").unlink()
    os.mkfifo(folder / "state.safetensors")


@unsealed
def a_pipe_as_manifest(folder: Path, canary: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


@unsealed
def a_link(folder: Path, canary: Path) -> None:
    (folder / "state.safetensors").rename(folder.parent / "elsewhere")
    (folder / "state.safetensors").symlink_to(folder.parent / "elsewhere")


@unsealed
def a_linked_manifest(folder: Path, canary: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "elsewhere.json")
    (folder / "manifest.json").symlink_to(folder.parent / "elsewhere.json")


@unsealed
def a_linked_folder(folder: Path, canary: Path) -> None:
    folder.rename(folder.parent / "real")
    folder.symlink_to(folder.parent / "real")


@unsealed
def a_loop_of_links(folder: Path, canary: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to("manifest.json")


@attack
def files_swapped(folder: Path, canary: Path) -> None:
    first, second = sorted(folder.glob("*.safetensors"))[:2]
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


@attack
def arrays_as_estimator(folder: Path, canary: Path) -> None:
    for path in folder.glob("*.skops"):
        shutil.copy(folder / "state.safetensors", path)


@attack
def a_pickle_as_arrays(folder: Path, canary: Path) -> None:
    (folder / "state.safetensors").write_bytes(pickle.dumps(Canary(canary)))


@attack
def a_huge_sparse_file(folder: Path, canary: Path) -> None:
    # hashing 20 GB of nothing would take minutes: the size is looked at first, the hash need not be right
    os.truncate(folder / "state.safetensors", 20 * 2**30)


a_huge_sparse_file.unsealed = True
