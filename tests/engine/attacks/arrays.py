"""Attacks on arrays: damaged safetensors files, and arrays of a wrong form."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.engine.attacks.registry import ATTACKS, Attack


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


def wrong_arrays(folder: Path, rng: random.Random) -> Iterator[tuple[str, Path, dict[str, Any]]]:
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
