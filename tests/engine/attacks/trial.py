"""One stored model, attacked again and again, and what became of each attack."""

import copy
import json
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import engine
from engine import ArtefactError
from tests.engine.attacks.arrays import wrong_arrays
from tests.engine.attacks.registry import ATTACKS, reseal

FLIPS, CUTS, MUTATIONS = 5, 2, 25  # per file; per model
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


def peak_mb() -> int:
    """Of this process. Not ru_maxrss: Linux hands the parent's down through fork and exec, and the test process is large."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 1_000_000


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
            "canary": self.canary.exists(), "memory": peak_mb(),
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
        for what, path, arrays in wrong_arrays(self.folder, rng):
            save_file(arrays, path)
            reseal(self.folder)
            self.tell("array", f"{path.name}: {what}")
            shutil.copy(self.source / path.name, path)
