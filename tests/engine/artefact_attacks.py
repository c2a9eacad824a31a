"""Attacks on stored models, run in a process of their own: `python -m tests.engine.artefact_attacks FOLDER OUT_FILE`.

FOLDER holds one stored model per subfolder. What became of each attack goes to OUT_FILE as JSON lines: the code of the
ArtefactError, "loaded" when the model still loads and predicts, or what went wrong. An audit hook and files that must not
appear watch for anything being executed; the process's memory and time are limited, so that a hang or a blow-up ends it.
"""

import copy
import functools
import hashlib
import io
import json
import operator
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from safetensors.numpy import load_file, save_file
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import engine
from engine import ArtefactError

NAMED = {
    "boosting-classification": ("",),
    "linear-classification": ("estimator_", "endless"),
}  # model → beginnings of attacks
MEMORY = 6 * 2**30  # bytes of address space
FLIPS, CUTS, MUTATIONS = 16, 4, 60  # per file; per model
SLOWEST = 20.0  # seconds for one attack, on a busy machine
WATCHED = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
)
HOSTILE: list[Any] = [
    None, 0, -1, 10**18, 1e308, -0.5, True, "", "x" * 3000, "\u202e\u0000../../etc", [], {}, [[]], [None], {"a": {"b": []}},
    ["a", "a"], "os.system", 10**4000,
]  # fmt: skip
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


# --- the manifest -------------------------------------------------------------------------------------------------


def _raw(text: str) -> Attack:
    def write(folder: Path, canary: Path) -> None:
        (folder / "manifest.json").write_text(text, encoding="utf-8", errors="surrogatepass")

    return write


for title, text in {
    "nested_lists": "[" * 200_000, "nested_objects": '{"a":' * 200_000, "not_utf8": "\udcff\udcfe", "empty": "",
    "a_number": "7", "a_pickle": pickle.dumps(Canary(Path("/nowhere"))).decode("latin-1"),
}.items():  # fmt: skip
    ATTACKS[f"manifest_{title}"] = unsealed(_raw(text))
    ATTACKS.pop("write")


def _textual(change: Callable[[str], str]) -> Attack:
    def rewrite(folder: Path, canary: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(change(path.read_text()))

    rewrite.unsealed = True
    return rewrite


for title, old, new in (
    ("nan", '"format": 1', '"format": 1, "other": NaN'), ("infinity", '"format": 1', '"format": 1, "other": -Infinity'),
    ("endless", '"format": 1', '"format": 1, "other": 1e999'), ("twice", '"format": 1', '"format": 1, "format": 1'),
    ("digits", '"format": 1', '"format": ' + "9" * 100_000), ("surrogate", '"format": 1', '"format": 1, "other": "\\ud800"'),
    ("version", '"format": 1', '"format": "1"'),
):  # fmt: skip
    ATTACKS[f"manifest_{title}"] = _textual(lambda text, old=old, new=new: text.replace(old, new, 1))


def _named(name: Any) -> Attack:
    def write(folder: Path, canary: Path) -> None:
        edit(folder, lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64}}))

    write.unsealed = True
    return write


for title, name in {
    "parent": "../state.safetensors", "absolute": "/etc/passwd", "folder": "a/b.skops", "backslash": "..\\x.skops",
    "wide": "ｓtate.safetensors", "turned": "state\u202e.safetensors", "newline": "state.safetensors\n", "null": "a\0.skops",
    "dot": ".safetensors", "long": "a" * 300 + ".skops", "upper": "STATE.safetensors", "code": "x.py", "pickle": "model.pkl",
    "url": "file:///etc/passwd", "nothing": "", "surrogate": "\ud800.skops", "cyrillic": "stаte.safetensors",
}.items():  # fmt: skip
    ATTACKS[f"name_{title}"] = _named(name)


@unsealed
def files_as_pairs(folder: Path, canary: Path) -> None:
    edit(
        folder,
        lambda manifest: manifest.update(files=[[name, value] for name, value in manifest["files"].items()]),
    )


@unsealed
def hashes_of_another_kind(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest.update(files={key: ["sha256"] for key in manifest["files"]}))


@unsealed
def no_files_named(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest.update(files={}))


@attack
def endless_n_grams(folder: Path, canary: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for setting in manifest["model"]["settings"].get("text", {}).get("columns", []):
            setting |= {"analyzer": "char", "chars": [1, 10**6]}

    edit(folder, change)


@attack
def a_hundred_thousand_texts(folder: Path, canary: Path) -> None:
    column = {"name": "t", "kind": "text", "role": "feature"}
    edit(
        folder,
        lambda m: m["model"]["schema"]["columns"].extend(column | {"name": f"t{i}"} for i in range(100_000)),
    )


@attack
def other_classes(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest["model"].update(classes=["a", "b", "c", "d", "e"]))


@attack
def another_task(folder: Path, canary: Path) -> None:
    edit(
        folder, lambda m: m["model"].update(task="regression" if m["model"]["classes"] else "classification")
    )


@attack
def a_candidate_that_is_code(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest["model"]["members"][0].update(candidate="os.system"))


@attack
def no_members(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest["model"].update(members=[]))


# --- the folder -----------------------------------------------------------------------------------------------------


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


# --- arrays ---------------------------------------------------------------------------------------------------------


def _safetensors(header: bytes, body: bytes = b"") -> Attack:
    def write(folder: Path, canary: Path) -> None:
        (folder / "state.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + body)

    return write


for title, made in {
    "no_header": _safetensors(b""), "deep_header": _safetensors(b"[" * 100_000),
    "past_the_end": _safetensors(b'{"uncertainty":{"dtype":"F64","shape":[2],"data_offsets":[0,99999]}}'),
    "overflow": _safetensors(b'{"uncertainty":{"dtype":"F64","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'),
    "negative": _safetensors(b'{"uncertainty":{"dtype":"F64","shape":[-1],"data_offsets":[0,8]}}', b"\0" * 8),
    "half_floats": _safetensors(b'{"uncertainty":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}', b"\0" * 4),
    "tiny_floats": _safetensors(b'{"uncertainty":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}', b"\0" * 2),
    "unknown_type": _safetensors(b'{"uncertainty":{"dtype":"OBJ","shape":[1],"data_offsets":[0,8]}}', b"\0" * 8),
}.items():  # fmt: skip
    ATTACKS[f"arrays_{title}"] = made


def _wrong_arrays(folder: Path, rng: random.Random) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Each array of each file in some wrong form."""
    forms: dict[str, Callable[[Any], Any]] = {
        "nan": lambda a: np.full(a.shape, np.nan), "infinite": lambda a: np.full(a.shape, np.inf),
        "huge": lambda a: np.full(a.shape, 1e308), "negative": lambda a: np.full(a.shape, -(2**40), dtype=np.int64),
        "flat": lambda a: a.ravel()[:-1] if a.size > 1 else np.zeros((2, 3)), "deeper": lambda a: a[None, None],
        "empty": lambda a: a.ravel()[:0], "no_rows_of_many": lambda a: np.zeros((0, 2**40)),
        "scalar": lambda a: np.array(3.0), "large_index": lambda a: np.full(a.shape, 2**31, dtype=np.int64),
        "bytes": lambda a: np.zeros(a.shape, dtype=np.uint8), "truth": lambda a: np.ones(a.shape, dtype=bool),
        "many": lambda a: np.zeros(2_000_000), "ten_to_the_twelve": lambda a: np.full(a.shape, 10**12),
    }  # fmt: skip
    for path in sorted(folder.glob("*.safetensors")):
        arrays = load_file(path)
        for name in arrays:
            for form in rng.sample(sorted(forms), 2):
                yield (
                    f"{form} {name}",
                    path,
                    {**arrays, name: np.ascontiguousarray(forms[form](arrays[name]))},
                )
            yield f"without {name}", path, {key: value for key, value in arrays.items() if key != name}
        yield "one more", path, {**arrays, "other/x": np.zeros(3)}


# --- estimators -----------------------------------------------------------------------------------------------------


def _estimator(change: Callable[[Any, Path], Any]) -> Attack:
    def write(folder: Path, canary: Path) -> None:
        for path in folder.glob("*.skops"):
            estimator = skops.io.load(path, trusted=engine.artefact.TRUSTED)
            changed = change(estimator, canary)
            if changed is not None:
                skops.io.dump(changed, path)

    return write


def _nodes(change: Callable[[Any], Any]) -> Attack:
    """A change to the nodes of all boosted trees; other estimators stay."""

    def apply(estimator: Any, canary: Path) -> Any:
        if not hasattr(estimator, "_predictors"):
            return None
        for stage in estimator._predictors:
            for tree in stage:
                tree.nodes = change(tree.nodes.copy())
        return estimator

    return _estimator(apply)


def _set(field: str, value: Any, every: bool = False) -> Callable[[Any], Any]:
    def change(nodes: Any) -> Any:
        rows = np.ones(len(nodes), dtype=bool) if every else nodes["is_leaf"] == 0
        nodes[field][rows] = value
        return nodes

    return change


def _other(estimator: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


for title, made in {
    "cycle": _nodes(_set("left", 0)), "far_child": _nodes(_set("right", 2**31)),
    "far_feature": _nodes(_set("feature_idx", 2**40)),
    "negative_feature": _nodes(_set("feature_idx", -(2**40))), "deep": _nodes(_set("depth", 2**32 - 1, every=True)),
    "categorical": _nodes(_set("is_categorical", 1)), "bitset": _nodes(_set("bitset_idx", 2**31)),
    "endless_value": _nodes(_set("value", np.inf, every=True)), "nan_value": _nodes(_set("value", np.nan, every=True)),
    "nan_threshold": _nodes(_set("num_threshold", np.nan)), "no_leaf": _nodes(_set("is_leaf", 0, every=True)),
    "no_nodes": _nodes(lambda nodes: nodes[:0]), "two_dimensions": _nodes(lambda nodes: nodes[None]),
    "other_numbers": _nodes(lambda nodes: np.zeros((len(nodes), 3))), "shared_child": _nodes(lambda n: _shared(n)),
}.items():  # fmt: skip
    ATTACKS[f"tree_{title}"] = made


def _shared(nodes: Any) -> Any:
    inner = nodes["is_leaf"] == 0
    nodes["right"][inner] = nodes["left"][inner]
    return nodes


def _far_features(estimator: Any) -> Any:
    """Features that the estimator claims to have, but the record has not."""
    for stage in estimator._predictors:
        for tree in stage:
            tree.nodes["feature_idx"][1:] = 10**9
    return _other(estimator, n_features_in_=10**12)


for title, change in {
    "far_features": lambda e, c: _far_features(e) if hasattr(e, "_predictors") else None,
    "no_stages": lambda e, c: _other(e, _predictors=[]) if hasattr(e, "_predictors") else None,
    "strange_stages": lambda e, c: _other(e, _predictors=[["x"]]) if hasattr(e, "_predictors") else None,
    "nan_baseline": lambda e, c: _other(e, _baseline_prediction=np.array([[np.nan]])) if hasattr(e, "_predictors") else None,
    "nan_coefficients": lambda e, c: _other(e, coef_=e.coef_ * np.nan) if hasattr(e, "coef_") else None,
    "more_coefficients": lambda e, c: _other(e, coef_=np.zeros((1, 10_000))) if hasattr(e, "coef_") else None,
    "text_coefficients": lambda e, c: _other(e, coef_=np.array([["x"]])) if hasattr(e, "coef_") else None,
    "os_system": lambda e, c: FunctionTransformer(func=os.system, kw_args={"command": f"touch {c}"}),
    "operator": lambda e, c: FunctionTransformer(func=operator.methodcaller("touch")),
    "partial": lambda e, c: FunctionTransformer(func=functools.partial(Path.touch, c)),
    "ufunc": lambda e, c: FunctionTransformer(func=np.exp),
    "other_model": lambda e, c: Pipeline([("a", LogisticRegression())]),
    "a_list": lambda e, c: [1, 2, 3],
    "sparse": lambda e, c: _other(LogisticRegression(), coef_=sparse.csr_matrix((3, 10**6))),
}.items():  # fmt: skip
    ATTACKS[f"estimator_{title}"] = _estimator(change)


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


# --- running them ---------------------------------------------------------------------------------------------------


class Watch:
    """What must not happen while a model is loaded."""

    def __init__(self) -> None:
        self.on, self.seen = False, []  # type: bool, list[str]
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in WATCHED:
            self.seen.append(f"{event}{arguments!r}"[:200])


def mutations(model: Any, rng: random.Random) -> Iterator[tuple[str, Any]]:
    """The description with one value replaced by a hostile one."""
    places: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        if path:
            places.append(path)
        for key, part in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            walk(part, (*path, key))

    walk(model, ())
    for _ in range(MUTATIONS):
        path, value = rng.choice(places), rng.choice(HOSTILE)
        changed = copy.deepcopy(model)
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        if rng.random() < 0.1 and isinstance(inside, dict):
            del inside[path[-1]]
        else:
            inside[path[-1]] = value
        yield f"{'.'.join(map(str, path))} = {str(value)[:30]}", changed


class Trial:
    """One model, attacked again and again in a copy of its folder."""

    def __init__(self, source: Path, work: Path, report: Any, watch: Watch) -> None:
        self.source, self.work, self.report, self.watch = source, work, report, watch
        self.folder, self.canary = work / "model", work / "executed"
        whole = {"crp": 20.0, "age": 50, "ward": "north", "seen": "2024-05-01", "note": "fever cough"}
        self.records: list[dict[str, Any]] = [{}, whole]
        self.records *= 35  # with few rows a model goes another way than through scikit-learn's loops

    def fresh(self) -> None:
        for path in self.work.iterdir():
            if path.is_symlink() or path.is_file():
                path.unlink()
            else:
                shutil.rmtree(path)
        shutil.copytree(self.source, self.folder)

    def outcome(self) -> str:
        """What loading does now, and then predicting, explaining and the fingerprint."""
        self.watch.on = True
        began = time.monotonic()
        try:
            fitted = engine.load(self.folder)
        except ArtefactError as error:
            error.message.encode()
            return error.code if error.message and len(error.message) < 500 else "message"
        except BaseException as error:
            return f"WRONG {type(error).__name__}: {error}"[:300]
        finally:
            self.watch.on = False
            if time.monotonic() - began > SLOWEST:
                self.watch.seen.append("slow")
        try:
            with np.errstate(all="ignore"):
                fitted.predict_records(self.records)
        except BaseException as error:
            return f"WRONG in predict {type(error).__name__}: {error}"[:300]
        return "loaded"

    def tell(self, kind: str, what: str) -> None:
        found = self.outcome()
        self.report.write(json.dumps({
            "model": self.source.name, "kind": kind, "what": what, "outcome": found, "executed": self.watch.seen[:],
            "canary": self.canary.exists(), "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }) + "\n")  # fmt: skip
        self.report.flush()
        self.watch.seen.clear()

    def all(self, rng: random.Random, named: tuple[str, ...]) -> None:
        self.bytes(rng)
        self.forged(rng)
        for name, function in ATTACKS.items():
            if not name.startswith(named):
                continue
            self.fresh()
            function(self.folder, self.canary)
            if not getattr(function, "unsealed", False):
                reseal(self.folder)
            self.tell("named", name)

    def bytes(self, rng: random.Random) -> None:
        """Flipped and cut off, with the old hashes and with new ones."""
        self.fresh()
        for path in sorted(self.folder.iterdir()):
            data = path.read_bytes()
            stride = max(1, len(data) // FLIPS)
            flips = [
                min(start + rng.randrange(stride), len(data) - 1) for start in range(0, len(data), stride)
            ]
            cuts = [rng.randrange(len(data)) for _ in range(CUTS)] + [0, len(data) - 1]
            changed = [
                (f"flip {i}", data[:i] + bytes([data[i] ^ (1 << rng.randrange(8))]) + data[i + 1 :])
                for i in flips
            ]
            changed += [(f"cut {i}", data[:i]) for i in cuts]
            for number, (what, wrong) in enumerate(changed):
                path.write_bytes(wrong)
                if number % 4 == 0 or path.name == "manifest.json":
                    self.tell("changed", f"{path.name} {what}")
                if path.name != "manifest.json":
                    reseal(self.folder)
                    self.tell("resealed", f"{path.name} {what}")
                    shutil.copy(self.source / "manifest.json", self.folder)
            path.write_bytes(data)

    def forged(self, rng: random.Random) -> None:
        """Hostile values in the description, hostile arrays."""
        self.fresh()
        manifest = json.loads((self.folder / "manifest.json").read_text())
        sys.set_int_max_str_digits(0)
        for what, model in mutations(manifest["model"], rng):
            text = json.dumps({**manifest, "model": model})
            sys.set_int_max_str_digits(4300)
            (self.folder / "manifest.json").write_text(text)
            self.tell("description", what)
            sys.set_int_max_str_digits(0)
        sys.set_int_max_str_digits(4300)
        self.fresh()
        for what, path, arrays in _wrong_arrays(self.folder, rng):
            save_file(arrays, path)
            reseal(self.folder)
            self.tell("array", f"{path.name}: {what}")
            shutil.copy(self.source / path.name, path)


def main() -> None:
    """See the module."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    models, out = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2])
    watch = Watch()
    with out.open("w") as report, tempfile.TemporaryDirectory() as work:
        for number, source in enumerate(models):
            Trial(source, Path(work), report, watch).all(random.Random(number), NAMED.get(source.name, ()))


if __name__ == "__main__":
    main()
