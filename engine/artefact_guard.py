"""What is asked of a stored model before anything is built from it, and of what was built before it may be used.

Hashes only say that files are those of the manifest; whoever writes the manifest writes the hashes too. So every part is
looked at for itself: JSON without doubtful values, packages that can't grow when unpacked, arrays without NaN, trees whose
branches lead somewhere, and a first prediction.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.errors import ArtefactError, EngineError
from engine.fitted import Fitted, Prediction
from engine.preprocessing.normalisation import LANDMARKS
from engine.preprocessing.pipeline import Preprocessor
from engine.preprocessing.steps import Step
from engine.schema import Kind
from engine.transformers.base import TRANSFORMERS
from engine.transformers.category import CategoryTransformer
from engine.transformers.number import NumberTransformer
from engine.transformers.text import WIDTH, TextTransformer

LARGEST_MANIFEST = 64 * 2**20  # bytes
LARGEST_SCHEMA = 256 * 2**20  # bytes of the description of a scikit-learn estimator
MOST_TEXTS = 200  # text columns; each takes some megabytes of memory
MOST_BACKGROUND = 1000  # records that explanations start from
LONGEST_GRAM = 8  # characters of an n-gram: the memory that a text takes grows with it
MEMBER_NAME = re.compile(r"schema\.json|[0-9]{1,20}\.npy")
LOADERS = frozenset({  # what the candidates' estimators are written as; others can unfold or point elsewhere
    "DictNode", "JsonNode", "ListNode", "LossNode", "NdArrayNode", "ObjectNode", "RandomGeneratorNode", "TupleNode", "TypeNode",
})  # fmt: skip
MAY_BE_NAN = ("background/",)  # a missing cell is NaN there


def strict_json(data: bytes) -> Any:
    """JSON without NaN, infinity, repeated keys and lone surrogates. Raises ValueError, RecursionError."""
    value = json.loads(
        data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite
    )
    if b"\\ud" in data or b"\\uD" in data:
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # UnicodeEncodeError is a ValueError
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not np.isfinite(number):
        raise ValueError(f"{text[:20]} is too large")
    return number


def inspect_arrays(name: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Numbers only, and none of them NaN but the missing cells of the background."""
    for key, array in arrays.items():
        wrong = array.dtype.kind not in "fiub" or (
            array.dtype.kind == "f" and not key.startswith(MAY_BE_NAN) and bool(np.isnan(array).any())
        )
        if wrong:
            raise ArtefactError(
                "artefact_array", f"“{name}” holds an array that no model has.", {"file": name, "array": key}
            )


def inspect_package(path: Path) -> None:
    """A skops file that is as large unpacked as it is packed, whose description says nothing twice.

    Raises ArtefactError and what zipfile, json and numpy raise for damaged files.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        unpacked = sum(entry.file_size for entry in entries)
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or unpacked > size:
            raise _package(path, "artefact_too_large", "would be larger when unpacked than it may be")
        if len(set(names)) != len(names) or not all(map(MEMBER_NAME.fullmatch, names)):
            raise _package(path, "artefact_not_skops", "is not a stored estimator")
        if archive.getinfo("schema.json").file_size > LARGEST_SCHEMA:
            raise _package(path, "artefact_too_large", "has too long a description")
        sizes = {entry.filename: entry.file_size for entry in entries}
        for name in names:
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    _inspect_npy(path, file, sizes[name])
        _inspect_schema(path, strict_json(archive.read("schema.json")), sizes, size)


def _package(path: Path, code: str, what: str) -> ArtefactError:
    return ArtefactError(code, f"“{path.name}” {what}.", {"file": path.name})


def _inspect_npy(path: Path, file: IO[bytes], size: int) -> None:
    """The header promises as much as there is: nothing is allocated for numbers that do not come."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _order, dtype = read(file)
    count = 1
    for length in shape:
        count *= int(length)
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != size - file.tell():
        raise _package(path, "artefact_not_skops", "holds an array that is not what it claims to be")


def _inspect_schema(path: Path, schema: Any, sizes: Mapping[str, int], size: int) -> None:
    """Only known loaders; an object that is named again is written out again, so that no few lines unfold to many."""
    seen: dict[Any, Any] = {}
    read = 0
    for node in _nodes(schema):
        loader = node.get("__loader__")
        if loader is None:
            continue
        if loader not in LOADERS:
            raise _package(path, "artefact_untrusted", "holds a type that is not trusted; it was not built")
        known = seen.setdefault(node.get("__id__"), node)
        if node.get("__id__") is not None and known is not node and known != node:
            raise _package(path, "artefact_not_skops", "describes an object in two ways")
        read += sizes.get(str(node["file"]), 0) if "file" in node else 0
    if read > 2 * size:
        raise _package(path, "artefact_too_large", "would be larger when unpacked than it may be")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def inspect_model(model: Mapping[str, Any]) -> None:
    """Of the description: classes are different texts, settings of texts and their number keep within limits."""
    classes = model["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes are texts")
    if len(set(classes)) != len(classes):
        raise ValueError("a class occurs twice")
    if (model["task"] == "classification" and len(classes) < 2) or (
        model["task"] == "regression" and classes
    ):
        raise ValueError("classes of another task")
    texts = [column for column in model["schema"]["columns"] if column["kind"] == Kind.TEXT.value]
    own = (model["settings"].get(Kind.TEXT.value) or {}).get("columns") or []
    if max(len(texts), len(own)) > MOST_TEXTS:
        raise ValueError("too many text columns")
    for setting in own:
        low, high = setting.get("chars", (0, 0))
        if setting["analyzer"] not in ("none", "char", "char_wb") or not 0 <= low <= high <= LONGEST_GRAM:
            raise ValueError("no setting of a text")
    if not set(model["settings"]) <= {kind.value for kind in TRANSFORMERS}:
        raise ValueError("settings of an unknown kind")


def inspect_estimator(estimator: Any) -> None:
    """Every tree inside is a tree: scikit-learn follows its branches and features without looking. Raises ValueError."""
    from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    owned: set[int] = set()
    parts = list(_parts(estimator))
    for part in parts:
        if isinstance(part, BaseHistGradientBoosting):
            owned |= {id(tree) for tree in _boosted_trees(part)}
    if any(isinstance(part, TreePredictor) and id(part) not in owned for part in parts):
        raise ValueError("a tree that belongs to no model")


def _parts(value: Any) -> Iterator[Any]:
    """The object and all that is inside it, each once."""
    waiting, seen = [value], set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, (str, bytes, int, float, type)) or part is None or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, Mapping):
            waiting.extend(part.values())
        elif isinstance(part, (list, tuple, set)):
            waiting.extend(part)
        elif isinstance(part, np.ndarray):
            waiting.extend(part.ravel().tolist() if part.dtype == object else ())
        else:
            waiting.extend(getattr(part, "__dict__", {}).values())


def _boosted_trees(estimator: Any) -> list[Any]:
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    width = estimator.n_features_in_
    if isinstance(width, bool) or not isinstance(width, int):
        raise ValueError("the number of features is no number")
    trees = [tree for stage in estimator._predictors for tree in stage]
    if not trees or len({len(stage) for stage in estimator._predictors}) != 1:
        raise ValueError("no trees, or not as many for each class")
    for tree in trees:
        if type(tree) is not TreePredictor:
            raise ValueError("something else in the place of a tree")
        _inspect_nodes(tree.nodes, width)
    return trees


def _inspect_nodes(nodes: Any, width: int) -> None:
    """A tree in preorder: children come after their parent and one step deeper, features exist, numbers are numbers."""
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    if (
        type(nodes) is not np.ndarray
        or nodes.dtype != PREDICTOR_RECORD_DTYPE
        or nodes.ndim != 1
        or not len(nodes)
    ):
        raise ValueError("the nodes of a tree are of another kind")
    leaf, here = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    inner, depth = here[~leaf], nodes["depth"].astype(np.int64)
    children = np.concatenate([nodes["left"][inner], nodes["right"][inner]]).astype(np.int64)
    parents = np.concatenate([inner, inner])
    sound = (
        bool(((children > parents) & (children < len(nodes))).all())
        and len(set(children.tolist())) == len(children) == len(nodes) - 1
        and depth[0] == 0
        and bool((depth[children] == depth[parents] + 1).all())
        and bool(((nodes["feature_idx"][inner] >= 0) & (nodes["feature_idx"][inner] < width)).all())
        and not nodes["is_categorical"].any()
        and not np.isnan(nodes["num_threshold"][inner]).any()
        and bool(np.isfinite(nodes["value"]).all())
    )
    if not sound:
        raise ValueError("the nodes make no tree")


def inspect_preprocessor(preprocessor: Preprocessor) -> None:
    """What the transformers have learned belongs to their columns: nothing else would notice. Raises ValueError."""
    for transformer in preprocessor.transformers.values():
        columns = len(transformer.specs)
        sound = True
        if isinstance(transformer, NumberTransformer):
            sound = all(_step_fits(step, columns * transformer.per_column) for step in transformer.steps)
        elif isinstance(transformer, CategoryTransformer):
            sound = _indices(transformer.missing, int(transformer.sizes.max(initial=0)) + 2)
            sound = sound and transformer.missing.shape == (columns,)
            sound = sound and bool((transformer.missing <= transformer.sizes + 1).all())
        elif isinstance(transformer, TextTransformer):
            kept, components = transformer.kept, transformer.components
            sound = _indices(kept, WIDTH * columns) and transformer.idf.shape == kept.shape
            sound = sound and components.ndim == 2 and len(components) in (0, len(kept))
        if not sound:
            raise ValueError("what was learned does not fit the columns")
    if preprocessor.kept is not None and not _indices(preprocessor.kept, 2**31):
        raise ValueError("no selection of features")


def _step_fits(step: Step, width: int) -> bool:
    for name in step.learned:
        array = getattr(step, name, None)
        if array is None:
            continue
        if name == "marked":
            if not _indices(array, width):
                return False
        elif array.shape[-1:] != ((len(LANDMARKS),) if name == "targets" else (width,)) or array.ndim > 2:
            return False
    return True


def _indices(array: Any, end: int) -> bool:
    """Whole numbers from 0 to before `end`."""
    return array.ndim == 1 and array.dtype.kind == "i" and bool(((array >= 0) & (array < end)).all())


def try_out(fitted: Fitted) -> None:
    """An empty record and the background are predicted: shapes fit together, and numbers come out. Raises ValueError.

    Where pretrained weights are missing here, nothing can be predicted, and so it is said at the first prediction.
    """
    try:
        _try_out(fitted)
    except EngineError as error:
        if error.code != "weights_missing":
            raise


def _try_out(fitted: Fitted) -> None:
    inspect_preprocessor(fitted.novelty.table)
    for member in fitted.members:
        inspect_preprocessor(member.preprocessor)
    own = getattr(fitted, "try_out", None)  # of a pipeline's model
    if own is not None:
        own()
        return
    empty = fitted.encoder.from_records([{}])
    shape = (1, len(fitted.classes_)) if fitted.classify else (1,)
    with np.errstate(all="ignore"):
        if fitted.task in ("classification", "regression") and any(
            m.raw(empty).shape != shape for m in fitted.members
        ):
            raise ValueError("predictions of another shape")
    background = fitted.background
    if background is not None and not 0 < background.n <= MOST_BACKGROUND:
        raise ValueError("no background")
    probes = [empty] + ([] if background is None else [background])
    with np.errstate(all="ignore"):
        for probe in probes:
            found = fitted.predict_encoded(probe)
            if not (_decided(fitted, found, probe.n) and np.isfinite(found.ood_score).all()):
                raise ValueError("predictions are no numbers")


def _decided(fitted: Fitted, found: Prediction, n: int) -> bool:
    """Whether n rows have a value, and probabilities that are some."""
    if len(found.value) != n or bool(np.isnan(np.asarray(found.interval, dtype=float)).any()):
        return False
    p = found.probabilities
    if p is None:
        return found.value.dtype.kind != "f" or bool(np.isfinite(found.value).all())
    sound = bool(((p >= 0.0) & (p <= 1.0)).all()) and len(p) == n
    if not fitted.classify:
        return sound
    sums = np.abs(p.sum(axis=1) - 1.0) < 1e-6
    return sound and p.shape == (n, len(fitted.classes_)) and bool(sums.all())
