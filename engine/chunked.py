"""Training in pieces: a table larger than memory is streamed, and what a kill interrupts goes on where it was.

    fitted = fit_chunks("records.parquet", Recipe(target="y", patient="mrn"), memory_limit=500, checkpoint="work")

1. scan: one look at all rows keeps a sample by a stable hash: whole patients go to validation, and no class is lost.
2. matrix: encoded and scaled rows are laid into a file that is mapped, not read (single precision).
3. linear: exact penalised maximum likelihood by Newton's method; gradient and Hessian are sums over blocks.
4. network: mini-batches over pieces; other patients' rows decide when to stop. Left out where torch has no room.
5. boosting: trees on as many rows as the memory limit holds.
The best of them, or their weighted mean, is calibrated on the validation patients as by `fit`.

The checkpoint folder holds transformed records of patients while it is needed, and is emptied at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from engine import registry
from engine.assembly import Assembler, Contender
from engine.candidates.base import Model
from engine.checkpoint import Checkpoint
from engine.checks import check
from engine.columns import categories_of
from engine.combining import parts_of, weighted
from engine.doubts import left_out
from engine.encoding import Encoder
from engine.errors import EngineError, Stopped
from engine.findings import OnProgress, Progress, ShouldStop
from engine.fitted import Fitted, Member
from engine.pieces import network
from engine.pieces.linear import fit_linear
from engine.pieces.mapped import MappedRows, append
from engine.pieces.sizes import MOST_SAMPLED, Sizes
from engine.pieces.table import Source, frames, hashes, identity, storable
from engine.plan import first_choices
from engine.positive import positive_code
from engine.preprocessing.pipeline import Preprocessor
from engine.problems import refuse
from engine.recipe import Recipe
from engine.schema import Role, infer_schema
from engine.suspicion import without
from engine.training_data import TrainingData, labels_of, metric_of, prepare
from engine.validation import TrialResult, Validator

NAMES = ("linear", "network", "boosting")  # in this order: what keeps no checkpoint of its own comes last
FORMAT = 2  # of the checkpoint: what an older version has left is not gone on with
VALIDATION = 0.1  # share of the patients
STOPPING = 0.1  # share of the patients who only decide when the network stops
OF_A_CLASS = 60  # rows of each class that the sample holds in any case


def fit_chunks(
    source: Source,
    recipe: Recipe,
    *,
    checkpoint: str | Path,
    memory_limit: int = 700,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> Fitted:
    """Train on a CSV or Parquet file, or on what `source()` yields (the same frames in the same order each time).

    `memory_limit`: MB that this process may take at most. `checkpoint`: a folder of its own; after each piece the state is
    there, and the same call after a kill goes on with it and ends with the same model. Raises EngineError
    ("memory_limit_too_small", "checkpoint_other": the folder belongs to another source or recipe, "not_in_pieces": none of
    the recipe's candidates can be trained so), and what `fit` raises.
    """
    folder = Path(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    run = _Chunks(source, recipe, folder, memory_limit, on_progress, should_stop)
    with threadpool_limits(limits=1):
        fitted = run.fit()
    run.state.clear()
    return fitted


class _Chunks:
    """One chunked training."""

    def __init__(
        self, source: Source, recipe: Recipe, folder: Path, limit: int, on_progress: OnProgress | None,
        should_stop: ShouldStop | None,
    ) -> None:  # fmt: skip
        self.source, self.recipe = source, recipe
        self.on_progress, self.should_stop = on_progress, should_stop
        self.limit, self.names, self.skipped = limit, _names(recipe), dict[str, str]()
        head = next(frames(source, 200)).head(200)
        self.columns = len(head.columns)
        self.patient = recipe.patient or next(
            (c.name for c in infer_schema(head, target=recipe.target).with_role(Role.PATIENT)), None
        )
        about = {
            "source": identity(source),
            "recipe": recipe.to_dict(),
            "columns": list(head.columns),
            "limit": limit,
            "format": FORMAT,
        }
        self.state = Checkpoint(folder, about)
        sizes = Sizes.of(limit, self.columns, "network" in self.names)
        self.sizes = Sizes(**self.state.get("sizes", asdict(sizes)))  # a resumed run cuts the same pieces
        self.state.put(sizes=asdict(self.sizes))

    def fit(self) -> Fitted:
        self._scan()
        data, held = self._sample()
        problems = check(data.frame, self.recipe)
        refuse(problems)
        suspicious = left_out(problems)
        data = without(data, {str(each["column"]) for each in suspicious})
        encoder, encoded = data.encode()
        choices = first_choices("boosting", self.recipe, data) | {"imputation": "median", "scaling": "zscore"}
        preprocessor = Preprocessor(encoder, choices, self.recipe.seed)
        train = np.flatnonzero(~held)
        preprocessor.fit(encoder.take(encoded, train), data.y[train], data.patients[train], data.classify)
        X, y = self._matrix(data, encoder, preprocessor)
        models = self._fitted(X, y, data)
        metric = metric_of(self.recipe, data.task, len(data.classes))
        validator = Validator(
            data, encoder, encoded, [(train, np.flatnonzero(held))], metric, positive_code(data, self.recipe),
            self.recipe.seed, self.recipe,
        )  # fmt: skip
        fitted = self._assemble(validator, preprocessor, models)
        fitted.training["left_out"] = suspicious
        return fitted

    # -- reading -------------------------------------------------------------------------------------------------

    def _pieces(self, stage: str) -> Iterator[tuple[int, int, pd.DataFrame]]:
        """(number, first row, frame) of the pieces that this stage has not done yet."""
        done, row = self.state.get(stage, 0), 0
        for number, frame in enumerate(frames(self.source, self.sizes.piece)):
            if number >= done:
                self._say(stage, number)
                yield number, row, frame.rename(columns=str)
            row += len(frame)

    def _ask(self) -> None:
        if self.should_stop is not None and self.should_stop():
            raise Stopped

    def _say(self, stage: str, number: int) -> None:
        self._ask()
        if self.on_progress is not None:
            begin = {"scan": 0.0, "matrix": 0.3, "linear": 0.5, "network": 0.6, "boosting": 0.9, "done": 1.0}[
                stage
            ]
            self.on_progress(Progress(begin, stage, f"Piece {number + 1}", None, {"piece": number}))

    # -- 1. scan -------------------------------------------------------------------------------------------------

    def _scan(self) -> None:
        """Keep of every piece the rows with the smallest hashes, and some of every class."""
        limits = self.state.get("limits", {"train": 2.0, "held": 2.0})
        counts: dict[str, int] = self.state.get("counts", {})
        total, unlabelled = self.state.get("total", 0), self.state.get("unlabelled", 0)
        smallest = np.array(self.state.get("smallest", {"train": [], "held": []})["train"], dtype=float)
        kept = {
            "train": smallest,
            "held": np.array(self.state.get("smallest", {"held": []})["held"], dtype=float),
        }
        for number, row, frame in self._pieces("scan"):
            patient, own = hashes(frame, row, self.patient, self.recipe.seed)
            labels = categories_of(frame[self.recipe.target].tolist(), self.recipe.keep_words)
            labelled = np.array([label is not None for label in labels])
            rare = np.zeros(len(frame), dtype=bool)
            if len(counts) <= MOST_SAMPLED // OF_A_CLASS:
                for i, label in enumerate(labels):
                    if label is not None:
                        counts[label] = counts.get(label, 0) + 1
                        rare[i] = counts[label] <= OF_A_CLASS
            take = rare.copy()
            for side, inside, share in (
                ("train", patient >= VALIDATION, 0.6),
                ("held", patient < VALIDATION, 0.4),
            ):
                place = np.flatnonzero(inside & labelled & (own < limits[side]))
                take[place] = True
                kept[side] = np.sort(np.concatenate([kept[side], own[place]]))[
                    : int(share * self.sizes.sample)
                ]
                if len(kept[side]) >= int(share * self.sizes.sample):
                    limits[side] = float(kept[side][-1])
            total += len(frame)
            unlabelled += int((~labelled).sum())
            part = storable(frame[take])
            part["__patient__"], part["__own__"], part["__rare__"] = patient[take], own[take], rare[take]
            draft = self.state.folder / f"sample_{number:06d}.draft"
            part.to_parquet(draft, index=False)
            draft.replace(self.state.folder / f"sample_{number:06d}.parquet")
            self.state.put(
                scan=number + 1, limits=limits, counts=counts if len(counts) <= 1000 else {}, total=total,
                unlabelled=unlabelled, smallest={side: values.tolist() for side, values in kept.items()},
            )  # fmt: skip

    def _sample(self) -> tuple[TrainingData, Any]:
        """The sample as training data, and which of its rows are of validation patients."""
        limits = self.state.get("limits", {})
        parts = []
        for path in sorted(self.state.folder.glob("sample_*.parquet")):
            part = pd.read_parquet(path)
            limit = np.where(part["__patient__"] >= VALIDATION, limits["train"], limits["held"])
            keep = (part["__own__"] <= limit) | (part["__rare__"] & (part["__own__"] >= 0) & self._few(part))
            parts.append(part[keep])
        frame = pd.concat(parts, ignore_index=True)
        held = (frame.pop("__patient__") < VALIDATION).to_numpy()
        frame = frame.drop(columns=["__own__", "__rare__"])
        data = prepare(frame, self.recipe)
        labels = labels_of(frame[self.recipe.target], data.task, self.recipe.keep_words)
        labelled = np.array([label is not None for label in labels])
        return data, held[labelled]

    def _few(self, part: pd.DataFrame) -> Any:
        """Rows of classes that are kept whatever their hash: not those of an amount, which has no classes."""
        counts = self.state.get("counts", {})
        return np.full(len(part), 0 < len(counts) <= 100)

    # -- 2. matrix -----------------------------------------------------------------------------------------------

    def _matrix(
        self, data: TrainingData, encoder: Encoder, preprocessor: Preprocessor
    ) -> tuple[MappedRows, MappedRows]:
        """Training rows as mapped files; labels that training does not know are left out."""
        code = {name: i for i, name in enumerate(data.classes.tolist())}
        width = preprocessor.transform(encoder.from_frame(data.frame.head(1))).shape[1]
        folder = self.state.folder
        rows_path, labels_path = folder / "rows.f32", folder / "labels.f64"
        done = self.state.get("rows", 0)
        for number, row, frame in self._pieces("matrix"):
            patient, _ = hashes(frame, row, self.patient, self.recipe.seed)
            labels = labels_of(frame[self.recipe.target], data.task, self.recipe.keep_words)
            fine = np.array([label is not None and (not data.classify or label in code) for label in labels])
            place = np.flatnonzero(fine & (patient >= VALIDATION))
            part = frame.iloc[place]
            X = np.asarray(preprocessor.transform(encoder.from_frame(part)), dtype=np.float32)
            y = np.array([code[labels[i]] if data.classify else labels[i] for i in place], dtype=np.float64)
            append(rows_path, done * width * 4, X)
            append(labels_path, done * 8, y)
            append(folder / "inner.u8", done, (patient[place] >= 1.0 - STOPPING).astype(np.uint8))
            done += len(place)
            self.state.put(matrix=number + 1, rows=done)
        if done == 0:
            raise EngineError(
                "no_labels", f"No row has a value in “{self.recipe.target}”.", {"column": self.recipe.target}
            )
        return MappedRows(rows_path, done, width, np.float32), MappedRows(labels_path, done, 0, np.float64)

    # -- 3. linear, and all candidates ---------------------------------------------------------------------------

    def _fitted(self, X: MappedRows, y: MappedRows, data: TrainingData) -> dict[str, Model]:
        """The candidates that can be trained in pieces, of those that the recipe names."""
        models: dict[str, Model] = {}
        for name in self.names:
            given = registry.validate(name, self.recipe.hyperparameters.get(name, {}))
            if name == "linear":
                models[name] = fit_linear(
                    self.state, X, y, data, given, self.recipe.seed, self._rows_in_block(X.width),
                    lambda piece: self._say("linear", piece),
                )  # fmt: skip
            elif name == "boosting":
                models[name] = self._boosting(X, y, data, given)
            elif (found := self._network(X, y, data, given)) is not None:
                models[name] = found
        if not models:
            raise EngineError(
                "memory_limit_too_small",
                f"{self.limit} MB are not enough for a network.",
                {"limit": self.limit},
            )
        return models

    def _rows_in_block(self, width: int) -> int:
        return int(np.clip(0.1 * self.sizes.room / (width * 8 * 3), 256, 200_000))

    # -- 4. the network ------------------------------------------------------------------------------------------

    def _network(
        self, X: MappedRows, y: MappedRows, data: TrainingData, given: dict[str, Any]
    ) -> Model | None:
        """None where it does not fit beside the rest."""
        settings = network.settings_for(data, len(X), X.width, given, self.recipe.seed)
        outputs = max(len(data.classes), 1)
        if not self.sizes.network or not network.fits(settings, X.width, outputs, self.sizes.room):
            self.skipped["network"] = "would not fit into the memory limit"
            return None
        rows = self.state.get("network_rows", network.rows_in_piece(self.limit, self.sizes.room, X.width))
        self.state.put(network_rows=rows)
        inner = MappedRows(self.state.folder / "inner.u8", len(X), 0, np.uint8)
        stop = None if self.should_stop is None else (lambda curve: self._ask())
        return network.fit_network(
            self.state, X, y, inner, settings, outputs, rows, lambda piece: self._say("network", piece), stop
        )

    # -- 5. boosting ---------------------------------------------------------------------------------------------

    def _boosting(self, X: MappedRows, y: MappedRows, data: TrainingData, given: dict[str, Any]) -> Model:
        """On as many rows, spread evenly over the table, as fit: scikit-learn's trees need theirs in memory."""
        most = int(np.clip(0.4 * self.sizes.room / (X.width * 14 + 64), 1_000, 2_000_000))
        rows = np.unique(np.linspace(0, len(X) - 1, min(most, len(X))).astype(np.int64))
        model = registry.get("boosting").model(task=data.task, seed=self.recipe.seed, **given)
        self._say("boosting", 0)
        target = y.take(rows).astype(np.int64) if data.classify else y.take(rows)
        stop = None if self.should_stop is None else (lambda curve: self._ask())
        return model.fit(X.take(rows), target, stop=stop)

    # -- the end -------------------------------------------------------------------------------------------------

    def _assemble(self, validator: Validator, preprocessor: Preprocessor, models: dict[str, Model]) -> Fitted:
        held = validator.folds[0][1]
        inputs = preprocessor.transform(validator.encoder.take(validator.encoded, held))
        assembler, contenders = Assembler(validator, self.recipe), []
        for name, model in models.items():
            raw = model.raw(inputs)
            result = TrialResult(
                held, raw, np.array([validator.gain(raw, held)]), [(preprocessor, model)], model.curve, (0,)
            )
            used = {each: getattr(model, each) for each in registry.get(name).defaults()}
            member = Member(name, used, preprocessor, model)
            contenders.append(Contender(name, [member], [(1.0, result)], held, raw))
        best = max(contenders, key=lambda c: validator.gain(c.raw, held))
        data = validator.data
        parts = parts_of(held, [held], data.y, data.patients, data.task, self.recipe.seed)
        mean = weighted(
            [c.raw for c in contenders],
            parts,
            lambda raw, positions: validator.gain(raw, held[positions]),
            20,
        )
        alone = self.recipe.candidates and "ensemble" not in self.recipe.candidates
        combined = None if alone else assembler.combine(contenders, mean)
        if combined is not None and assembler.clearly_better(combined, best):
            best = combined
        fitted = assembler.assemble(best, validator.metric)
        fitted.training |= {
            "n": self.state.get("total", 0) - self.state.get("unlabelled", 0),
            "unlabelled": self.state.get("unlabelled", 0), "trained_on": self.state.get("rows", 0), "chunked": True,
            "trials": [
                {"candidate": c.name, "score": abs(float(c.results[0][1].fold_gains[0])), "folds": 1, "stopped": ""}
                for c in contenders
            ],
            "skipped": dict(self.skipped),
        }  # fmt: skip
        self._say("done", 0)
        return fitted


def _names(recipe: Recipe) -> tuple[str, ...]:
    """What is trained: all that can be in pieces, or those of them that the recipe names."""
    chosen = set(recipe.candidates) - {"ensemble"}
    names = tuple(name for name in NAMES if not chosen or name in chosen)
    if not names:
        raise EngineError(
            "not_in_pieces",
            f"Only {', '.join(NAMES)} can be trained in pieces.",
            {"candidates": ", ".join(sorted(chosen))},
        )
    return names


__all__ = ["fit_chunks"]
