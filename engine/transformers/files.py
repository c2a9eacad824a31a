"""What the kinds whose cells are files have in common: decoding, a block, features for classical candidates, tensors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray

from engine.cells import is_missing
from engine.errors import FileRefused
from engine.files import Files, folder_of, source_of
from engine.frozen import Meter
from engine.metrics import Floats, Ints
from engine.preprocessing.steps import Arrays
from engine.schema import ColumnSpec, Kind
from engine.transformers.base import Block, Issue, Transformer

WIDE = 160  # features of a column above which they are reduced to their principal components
COMPONENTS = 128
MOST_ROWS = 4000  # that the components are learned from
FURTHEST = 10.0  # deviations; what lies beyond says only that it lies far out
AT_ONCE = 32  # cells that one thread decodes in a row
LEARNED = ("mean", "span", "components", "marked")  # of each column's features
FEW = 4  # cells; up to here threads cost more than they save

Source = Path | NDArray[Any]


class Tensors:
    """Decoded cells, each kept once: row i, column j is `store[index[i, j]]`. Row 0 of the store is the empty cell.

    Subsets and mixtures of rows share the store, so that folds and explanations cost no memory.
    """

    def __init__(self, store: NDArray[Any], index: Ints) -> None:
        self.store, self.index = store, index

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, columns, ...)."""
        return (*self.index.shape, *self.store.shape[1:])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """The tensors of some rows: (rows, columns, ...) for an array of row numbers."""
        array: NDArray[Any] = self.store[self.index[rows]]
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self.store[self.index]
        return whole if dtype is None else whole.astype(dtype)

    def take(self, rows: Ints) -> Tensors:
        """Some rows."""
        return Tensors(self.store, self.index[rows])


@dataclass(frozen=True)
class FileBlock:
    """`features` float32 (n, columns, F), NaN where a feature is not known; `tensors` (n, columns, ...) uint8 or
    float32; `present` bool (n, columns). An absent cell has features of NaN and the empty tensor.
    """

    features: NDArray[np.float32]
    tensors: Tensors
    present: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.present)


@dataclass(frozen=True)
class Decoded:
    """A cell whose file was read already: what `read` of its kind gives. Explanations ask with parts of it hidden."""

    item: Any


class FileTransformer(Transformer):
    """All columns of one kind of file.

    A subclass sets `width` (F), `shape` and `dtype` of a cell's tensor, and gives `read`, `describe` and `sketch`. They
    are called in threads and may raise anything: such a cell is missing, with an Issue. Decoders are imported in `read`.
    `seconds`: about what a network's encoder needs for one cell in one training step (forward and back) on one core.
    """

    reads_files = True
    width: int
    shape: tuple[int, ...]
    dtype: ClassVar[type] = np.uint8
    seconds: ClassVar[float] = 1e-3
    looks: ClassVar[Kind | None] = None  # the kind of pretrained networks that can look at `views`
    pictures: ClassVar[int] = 1  # that `views` gives of a cell, at most

    @classmethod
    def settle(
        cls, specs: Sequence[ColumnSpec], columns: Sequence[Sequence[Any]], files: Files | None = None
    ) -> dict[str, Any]:
        """The pretrained networks whose frozen features join the cheap ones, where there is the time for them."""
        if cls.looks is None:
            return {}
        cells = sum(not is_missing(cell) for column in columns for cell in column)
        chosen = frozen_for(specs[0].kind, cls.looks, cells * cls.pictures, files or Files())
        return {"weights": chosen} if chosen else {}

    def part(self, column: int) -> FileTransformer:
        """What reads, describes and sketches the cells of one column: itself, unless columns differ. Only it is asked to,
        so a kind whose columns differ has no `read`, `describe` and `sketch` of its own."""
        return self

    def read(self, source: Source) -> Any:
        """A decoded item from a file, a folder or an array. Raises FileRefused, or anything, when it can't."""
        raise NotImplementedError

    def describe(self, item: Any) -> NDArray[Any]:
        """(F,) cheap features; NaN for what is not known of this item."""
        raise NotImplementedError

    def sketch(self, item: Any) -> NDArray[Any]:
        """The tensor of `shape` and `dtype` for networks."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        """Features of a cell: the cheap ones, then those of frozen networks."""
        return self.width + sum(int(entry["width"]) for entry in self.settings.get("weights", ()))

    def measured(self, item: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Both of an item; for kinds where the two share work."""
        return np.asarray(self.describe(item)), np.asarray(self.sketch(item))

    def views(self, item: Any) -> list[NDArray[np.float32]]:
        """Pictures (h, w, 3) from 0 to 1 that frozen networks of the kind `looks` see; their answers are averaged.
        Only asked of kinds that have `looks`."""
        raise NotImplementedError

    def encode(
        self, columns: Sequence[Sequence[Any]], files: Files | None = None
    ) -> tuple[FileBlock, list[Issue]]:
        """What can't be opened or read becomes missing and is reported."""
        files = files or Files()
        rows = len(columns[0]) if columns else 0
        cells = [(i, j, cell) for j, column in enumerate(columns) for i, cell in enumerate(column)]
        done = self._all(cells, files, self._frozen(files))
        found = [(i, j, result) for (i, j, _), result in zip(cells, done, strict=True)]
        good = [(i, j, result) for i, j, result in found if isinstance(result, tuple)]
        features = np.full((rows, len(columns), self.features), np.nan, dtype=np.float32)
        store: NDArray[Any] = np.zeros((1 + len(good), *self.shape), dtype=self.dtype)
        index = np.zeros((rows, len(columns)), dtype=np.int64)
        for place, (i, j, result) in enumerate(good, start=1):
            features[i, j], store[place] = result
            index[i, j] = place
        issues = [
            Issue(i, self.specs[j].name, result, _name(columns[j][i]))
            for i, j, result in found
            if isinstance(result, str)
        ]
        return FileBlock(features, Tensors(store, index), index > 0), issues

    def _frozen(self, files: Files) -> list[Any]:
        """The frozen networks. Raises EngineError ("weights_missing", "weights_invalid")."""
        if not self.settings.get("weights"):
            return []
        from engine import weights

        return weights.required_all(folder_of(files.weights), self.settings["weights"])

    def _all(self, cells: list[tuple[int, int, Any]], files: Files, frozen: list[Any]) -> list[Any]:
        """Raises TooSlow where the frozen networks would take longer than the search allows."""
        with warnings.catch_warnings():  # around the threads: what decoders grumble about is no news to the caller
            warnings.simplefilter("ignore")
            if len(cells) <= FEW:
                return self._some(cells, files, frozen, None)
            parts = [cells[k : k + AT_ONCE] for k in range(0, len(cells), AT_ONCE)]
            threads = min(cpu_count(), len(parts))
            allowed = files.allowance if frozen else None
            meter = None if allowed is None else allowed.meter(self.specs[0].kind, len(cells), threads)
            jobs = (delayed(self._some)(part, files, frozen, meter) for part in parts)
            made = Parallel(n_jobs=threads, backend="threading")(jobs)
            return [result for part in made for result in part]

    def _some(
        self, cells: list[tuple[int, int, Any]], files: Files, frozen: list[Any], meter: Meter | None
    ) -> list[Any]:
        """For each cell (features, tensor), None when it is missing, or the code of what is wrong with it."""
        done = [self._one(cell, files, bool(frozen)) for _, _, cell in cells]
        good = [k for k, result in enumerate(done) if isinstance(result, tuple)]
        if frozen and good:
            views = [view for k in good for view in done[k][2]]
            owner = np.repeat(np.arange(len(good)), [len(done[k][2]) for k in good])
            began = 0.0 if meter is None else meter.now()
            with one_thread():
                vectors = np.concatenate([network.embed(views) for network in frozen], axis=1)
            if meter is not None:
                meter.note(len(cells), meter.now() - began)
            sums = np.zeros((len(good), vectors.shape[1]), dtype=np.float32)
            np.add.at(sums, owner, vectors)
            means = sums / np.bincount(owner, minlength=len(good))[:, None].astype(np.float32)
            for k, extra in zip(good, means, strict=True):
                done[k] = (np.concatenate([done[k][0], extra]), done[k][1])
        return [result[:2] if isinstance(result, tuple) else result for result in done]

    def opened(self, cell: Any, files: Files) -> Any:
        """The decoded item of a cell, None where it is missing. Raises FileRefused, whatever is wrong with the file."""
        try:
            source = source_of(cell, files.folder)
            return None if source is None else self.read(source)
        except FileRefused:
            raise
        except Exception as error:  # a decoder given a damaged or hostile file raises whatever it likes
            raise FileRefused("file_unreadable") from error

    def _one(self, cell: Any, files: Files, look: bool) -> Any:
        try:
            source = cell if isinstance(cell, Decoded) else source_of(cell, files.folder)
            return None if source is None else self._decoded(source, look)
        except FileRefused as refused:
            return refused.code
        except Exception:  # a decoder given a damaged or hostile file raises whatever it likes
            return "file_unreadable"

    def _decoded(
        self, source: Source | Decoded, look: bool
    ) -> tuple[NDArray[np.float32], NDArray[Any], list[Any]]:
        item = source.item if isinstance(source, Decoded) else self.read(source)
        described, tensor = self.measured(item)
        features = np.asarray(described, dtype=np.float32).ravel()
        features[~np.isfinite(features)] = np.nan
        if len(features) != self.width or tensor.shape != self.shape:
            raise ValueError(f"{self.kind}: features {features.shape}, tensor {tensor.shape}")
        if tensor.dtype != self.dtype or not np.all(np.isfinite(tensor)):
            tensor = np.nan_to_num(tensor).astype(self.dtype)
        return features, tensor, self.views(item) if look else []

    def take(self, block: Block, rows: Ints) -> FileBlock:
        """Some rows."""
        return FileBlock(block.features[rows], block.tensors.take(rows), block.present[rows])

    def mix(self, block: Block, rows: Ints) -> FileBlock:
        """Column j from the rows `rows[:, j]`."""
        columns = np.arange(block.present.shape[1])
        index = block.tensors.index[rows, columns]
        return FileBlock(
            block.features[rows, columns], Tensors(block.tensors.store, index), block.present[rows, columns]
        )

    def background(self, block: Block, rows: Ints) -> FileBlock:
        """Empty cells: nobody's picture is kept."""
        n, columns = len(rows), len(self.specs)
        empty: NDArray[Any] = np.zeros((1, *self.shape), dtype=self.dtype)
        features = np.full((n, columns, self.features), np.nan, dtype=np.float32)
        index = np.zeros((n, columns), dtype=np.int64)
        return FileBlock(features, Tensors(empty, index), index > 0)

    def join(self, first: Block, second: Block) -> FileBlock:
        """The rows of both."""
        a, b = first.tensors, second.tensors
        moved = np.where(b.index > 0, b.index + len(a.store) - 1, 0)  # both stores begin with the empty cell
        store = np.concatenate([a.store, b.store[1:]])
        return FileBlock(
            np.concatenate([first.features, second.features]),
            Tensors(store, np.concatenate([a.index, moved])),
            np.concatenate([first.present, second.present]),
        )

    def absent(self, block: Block) -> NDArray[np.bool_]:
        """Absent cells."""
        empty: NDArray[np.bool_] = ~block.present
        return empty

    def fit(
        self, block: Block, y: Floats, choices: Mapping[str, str], patients: Ints, classify: bool
    ) -> FileTransformer:
        """For each column the features' means and deviations, when they are many their components, and a marker.

        The components are scaled by one factor, not each to the same length: a ridge penalty then means what it
        means on the standardised features themselves.
        """
        self.columns: list[dict[str, NDArray[Any]]] = []
        for j in range(len(self.specs)):
            present = block.present[:, j]
            self.columns.append(learn(block.features[present, j].astype(float), len(present)))
        return self

    def transform(self, block: Block) -> Floats:
        """(n, features): each column's standardised features or components, 0 where the cell is absent, and a marker."""
        parts = []
        for j, learned in enumerate(self.columns):
            X = standard(block.features[:, j].astype(float), learned)
            if learned["components"].size:
                X = X @ learned["components"].astype(float)
            parts.append(X)
            if learned["marked"][0]:
                parts.append((~block.present[:, j : j + 1]).astype(float))
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(block), 0))

    @property
    def origins(self) -> Ints:
        """Features and marker come from their own column."""
        counts = [outputs(learned) for learned in self.columns]
        return np.repeat(np.arange(len(self.columns)), counts)

    def arrays(self) -> Arrays:
        """The learned state of each column."""
        return {f"{j}.{name}": a for j, learned in enumerate(self.columns) for name, a in learned.items()}

    def restore(self, arrays: Arrays, choices: Mapping[str, str]) -> FileTransformer:
        """From the learned state of each column."""
        self.columns = [{name: arrays[f"{j}.{name}"] for name in LEARNED} for j in range(len(self.specs))]
        return self


def learn(X: Floats, rows: int) -> dict[str, NDArray[Any]]:
    known = np.isfinite(X)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, X, 0.0).sum(axis=0) / count
    span = np.sqrt(np.where(known, (X - mean) ** 2, 0.0).sum(axis=0) / count)
    learned: dict[str, NDArray[Any]] = {
        "mean": mean, "span": np.where(span > 1e-9 * (1.0 + np.abs(mean)), span, np.inf),
        "components": np.zeros((0, 0), dtype=np.float32), "marked": np.array([int(0 < len(X) < rows)]),
    }  # fmt: skip
    if X.shape[1] > WIDE and len(X) > 2:
        learned["components"] = _components(standard(X, learned))
    return learned


def standard(X: Floats, learned: Mapping[str, NDArray[Any]]) -> Floats:
    Z: Floats = np.nan_to_num((X - learned["mean"]) / learned["span"])  # what is not known lies at the mean
    return np.clip(Z, -FURTHEST, FURTHEST)


def _components(Z: Floats) -> NDArray[np.float32]:
    """(F, k) directions of the largest variance, by which the projections vary by 1 on average."""
    Z = Z[np.unique(np.linspace(0, len(Z) - 1, min(len(Z), MOST_ROWS)).astype(int))]
    k = max(1, min(COMPONENTS, len(Z) - 1, Z.shape[1]))
    if len(Z) < Z.shape[1]:  # fewer rows than features: through the smaller matrix of products
        values, vectors = np.linalg.eigh(Z @ Z.T)
        directions = Z.T @ (vectors[:, -k:] / np.sqrt(np.maximum(values[-k:], 1e-9)))
    else:
        values, directions = np.linalg.eigh(Z.T @ Z)
        directions = directions[:, -k:]
    deviation = np.sqrt(max(float(values[-k:].mean()) / len(Z), 1e-12))
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(k)])  # eigh leaves the sign open
    return np.ascontiguousarray((directions * signs / deviation)[:, ::-1]).astype(np.float32)


def outputs(learned: Mapping[str, NDArray[Any]]) -> int:
    components = learned["components"]
    return (components.shape[1] if components.size else len(learned["mean"])) + int(learned["marked"][0])


def _name(cell: Any) -> str | None:
    """The name to show beside an issue: of a path only its end, so that no folder of the server is told."""
    if isinstance(cell, Path):
        return cell.name
    return cell[:200] if isinstance(cell, str) else None


def frozen_for(
    kind: Kind, looks: Kind, cells: float, files: Files, english: bool = True
) -> list[dict[str, Any]]:
    """What is recorded of the pretrained networks for `looks` that a column of this kind uses: as many as there is the
    time for, when other kinds have taken theirs. `cells`: how many, or as how many they count; `english`: see `affordable`."""
    from engine import weights

    folder, allowed = folder_of(files.weights), files.allowance
    chosen = weights.affordable(folder, looks, cells, files.seconds if allowed is None else allowed.left, english)
    if allowed is not None and chosen:
        names = {entry["sha256"] for entry in chosen}
        each = sum(found.seconds for found in weights.available(folder, looks) if found.sha256 in names)
        allowed.planned[kind] = cells * each / min(2, cpu_count())
    return chosen


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread while pictures are decoded in several."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
