"""Attacks on skops packages: their members, their schema, and the arrays in them."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.engine.attacks.registry import ATTACKS, Attack, Canary


def _package(
    change: Callable[[dict[str, bytes], Path], None], compression: int = zipfile.ZIP_STORED
) -> Attack:
    """A change to the members of every skops file."""

    def write(folder: Path, canary: Path) -> None:
        for path in folder.glob("*.skops"):
            with zipfile.ZipFile(path) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            change(members, canary)
            with zipfile.ZipFile(path, "w", compression) as archive:
                for name, data in members.items():
                    archive.writestr(name, data)

    return write


def _schema(change: Callable[[Any], Any]) -> Attack:
    def apply(members: dict[str, bytes], canary: Path) -> None:
        members["schema.json"] = json.dumps(change(json.loads(members["schema.json"]))).encode()

    return _package(apply)


def _laughs(schema: dict[str, Any]) -> dict[str, Any]:
    """Fifty lists, each of which names the one before twice: few lines that unfold to a thousand million million."""
    node: dict[str, Any] = {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "ListNode",
        "content": [],
        "__id__": 1,
    }
    for i in range(2, 52):
        again = {**node, "content": []}
        node = {**again, "content": [node, again], "__id__": i}
    return {**node, "protocol": schema["protocol"]}


def _cycle(schema: dict[str, Any]) -> dict[str, Any]:
    inner = {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "ListNode",
        "content": [],
        "__id__": 7,
    }
    return {**inner, "content": [inner], "protocol": schema["protocol"]}


def _often(schema: dict[str, Any]) -> dict[str, Any]:
    """The same array read a hundred thousand times over."""
    found = re_file(schema)
    node = {
        "__class__": "ndarray",
        "__module__": "numpy",
        "__loader__": "NdArrayNode",
        "type": "numpy",
        "file": found,
    }
    return {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": [node] * 10_000,
            "protocol": schema["protocol"]}  # fmt: skip


def re_file(schema: Any) -> str:
    text = json.dumps(schema)
    return text.split('"file": "')[1].split('"')[0]


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": shape})
    return out.getvalue()


def _every_array(data: bytes) -> Attack:
    return _package(lambda members, c: members.update({n: data for n in members if n.endswith(".npy")}))


def _pickled(folder: Path, canary: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.array([Canary(canary)], dtype=object), allow_pickle=True)
    _every_array(out.getvalue())(folder, canary)


ATTACKS |= {
    "package_extra_pickle": _package(lambda m, c: m.update({"model.pkl": pickle.dumps(Canary(c))})),
    "package_pickled_array": _pickled,
    "package_path": _package(lambda m, c: m.update({"../../x.npy": b"x"})),
    "package_compressed": _package(lambda m, c: None, zipfile.ZIP_DEFLATED),
    "package_bomb": _package(lambda m, c: m.update({"1.npy": b"\0" * 200_000_000}), zipfile.ZIP_DEFLATED),
    "package_no_schema": _package(lambda m, c: m.pop("schema.json") and None),
    "package_deep_schema": _package(lambda m, c: m.update({"schema.json": b"[" * 200_000})),
    "package_huge_array": _every_array(_header("<f8", (2**35,))),
    "package_endless_array": _every_array(_header("<f8", (2**62, 2**62))),
    "package_negative_array": _every_array(_header("<f8", (-3,))),
    "package_odd_header": _every_array(b"\x93NUMPY\x01\x00\x10\x00{'descr': 'f8' * }"),
    "schema_laughs": _schema(_laughs), "schema_cycle": _schema(_cycle), "schema_often": _schema(_often),
    "schema_cached": _schema(lambda s: {**s, "__loader__": "CachedNode", "__id__": 3}),
    "schema_protocol": _schema(lambda s: {**s, "protocol": -1}),
    "schema_list": _schema(lambda s: [s]),
    "schema_foreign": _schema(lambda s: {**s, "__class__": "Popen", "__module__": "subprocess"}),
    "schema_builtin": _schema(lambda s: {**s, "__class__": "eval", "__module__": "builtins", "__loader__": "FunctionNode"}),
}  # fmt: skip
