"""One fit of one peer in a process of its own: `runner.py PEER SPLIT_FOLDER OUT_FOLDER BUDGET SEED THREADS`.

Runs in the peer's own environment and so imports nothing of this repository but, for the peer "engine", the engine.
Writes `result.json` and `predictions.npz`; scores are computed by the parent, with the same code for all peers.
"""

import json
import re
import sys
import time
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROWS = 2000  # the test rows, repeated until there are so many, are predicted for "rows per second"
ONE_ROW = 30  # one-row predictions, of which the median counts
PATIENCE = 20.0  # seconds after which fewer repetitions have to do


class Peer(ABC):
    """`fit`, then `predict`: probabilities in the order of `classes`, or numbers. `own` is the peer's own estimate."""

    own: float | None = None
    chosen = ""
    classes: list[str]

    def __init__(self, task: dict[str, Any], budget: float, seed: int, threads: int) -> None:
        self.task, self.budget, self.seed, self.threads = task, budget, seed, threads
        self.classify = task["task"] == "classification"

    @abstractmethod
    def fit(self, train: pd.DataFrame) -> None:
        """Learn from a table with its target, within the budget."""

    @abstractmethod
    def predict(self, frame: pd.DataFrame) -> Any:
        """Probabilities (n, k) in the order of `classes`, or numbers (n,)."""

    def one(self, frame: pd.DataFrame) -> Any:
        """The quickest way of this peer for a single row, from the row as the caller has it; made ready by `ready`."""
        return self.predict(frame)

    def features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What may be learned from: not the target, nor what only keeps rows together."""
        return frame.drop(columns=[c for c in ("target", self.task["group"]) if c in frame])


class Engine(Peer):
    """AI Mass's engine, which is told the kinds of file and text columns and which rows belong together."""

    def fit(self, train: pd.DataFrame) -> None:
        import engine

        recipe = engine.Recipe(
            target="target", patient=self.task["group"], task=self.task["task"], columns=self.task["kinds"], seed=self.seed,
            time_budget=self.budget,
        )  # fmt: skip
        self.fitted = engine.fit(self._paths(train), recipe)
        self.classes = self.fitted.classes_.tolist()
        name = "r2" if not self.classify else "roc_auc"
        own = self.fitted.validation["metrics"].get(name, {}).get("value")
        self.own, self.chosen = own, self.fitted.candidate

    def predict(self, frame: pd.DataFrame) -> Any:
        found = self.fitted.predict(self._paths(frame))
        return found.probabilities if self.classify else found.value

    def one(self, frame: pd.DataFrame) -> Any:
        record = dict(zip(frame.columns, next(frame.itertuples(index=False, name=None)), strict=True))
        return self.fitted.predict_records([record | {name: Path(record[name]) for name in self.task["files"]}])

    def _paths(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Texts open no files (see engine.files); a Path, which only a caller can make, does."""
        return frame.assign(**{name: frame[name].map(Path) for name in self.task["files"]})


class TableOnly(Peer):
    """A peer that reads tables: files reach it as the numbers of their pixels, as to plain scikit-learn.

    (AutoGluon's reader of pictures is fine-tuned from a hub's weights, which no machine of ours can reach.)
    """

    def features(self, frame: pd.DataFrame) -> pd.DataFrame:
        plain = super().features(frame)
        numbers = [
            pd.DataFrame(pixels(plain[name]), index=plain.index).rename(columns=lambda k, name=name: f"{name} {k}")
            for name in self.task["files"]
        ]
        return pd.concat([plain.drop(columns=self.task["files"]), *numbers], axis=1)


class AutoGluon(TableOnly):
    """AutoGluon tabular; `presets` and the time limit are all that is set, and the metric that is compared."""

    presets = "medium_quality"

    def fit(self, train: pd.DataFrame) -> None:
        from autogluon.tabular import TabularPredictor

        several = self.classify and train["target"].nunique() > 2
        metric = "r2" if not self.classify else "roc_auc_ovr_macro" if several else "roc_auc"
        kind = "regression" if not self.classify else "multiclass" if several else "binary"
        data = self.features(train).assign(target=train["target"])
        self.predictor = TabularPredictor(
            "target", problem_type=kind, eval_metric=metric, path="model", verbosity=1
        )
        self.predictor.fit(
            data, presets=self.presets, time_limit=self.budget, num_cpus=self.threads, num_gpus=0
        )
        board = self.predictor.leaderboard(silent=True)
        self.chosen = self.predictor.model_best
        self.own = float(board.loc[board["model"] == self.chosen, "score_val"].iloc[0])
        self.predictor.persist()
        self.classes = [str(c) for c in self.predictor.class_labels] if self.classify else []

    def predict(self, frame: pd.DataFrame) -> Any:
        features = self.features(frame)
        if not self.classify:
            return self.predictor.predict(features).to_numpy()
        return self.predictor.predict_proba(features).to_numpy()


class AutoGluonBest(AutoGluon):
    """Bagging and stacking."""

    presets = "best_quality"


class Flaml(TableOnly):
    """FLAML's AutoML with its own choice of estimators."""

    def fit(self, train: pd.DataFrame) -> None:
        from flaml import AutoML

        several = self.classify and train["target"].nunique() > 2
        metric = "r2" if not self.classify else "roc_auc_ovr" if several else "roc_auc"
        self.model = AutoML()
        self.model.fit(
            self.features(train), train["target"], task=self.task["task"], metric=metric, time_budget=self.budget,
            n_jobs=self.threads, seed=self.seed, verbose=0,
        )  # fmt: skip
        if self.model.best_estimator is None or self.model.model is None:
            raise RuntimeError("FLAML found no model within its budget")
        self.own, self.chosen = 1.0 - float(self.model.best_loss), self.model.best_estimator
        self.classes = [str(c) for c in self.model.classes_] if self.classify else []

    def predict(self, frame: pd.DataFrame) -> Any:
        features = self.features(frame)
        return self.model.predict_proba(features) if self.classify else self.model.predict(features)


class Plain(Peer):
    """The scikit-learn pipeline that a careful person writes first: logistic or ridge regression."""

    boosted = False

    def fit(self, train: pd.DataFrame) -> None:
        features = self.features(train)
        self.texts = [name for name, kind in self.task["kinds"].items() if kind == "text"]
        self.numbers = [c for c in features.columns if pd.api.types.is_numeric_dtype(features[c])]
        self.others = [c for c in features if c not in {*self.numbers, *self.texts, *self.task["files"]}]
        self.model = self._pipeline(features)
        self.model.fit(self._cells(features), train["target"])
        self.classes = [str(c) for c in self.model.classes_] if self.classify else []
        self.chosen = type(self.model[-1]).__name__

    def predict(self, frame: pd.DataFrame) -> Any:
        cells = self._cells(self.features(frame))
        return self.model.predict_proba(cells) if self.classify else self.model.predict(cells)

    def _cells(self, features: pd.DataFrame) -> pd.DataFrame:
        cells = features.copy()
        for name in self.others:
            cells[name] = cells[name].astype(object).map(lambda v: v if pd.isna(v) else str(v))
            cells[name] = cells[name].astype(object).where(cells[name].notna(), np.nan)
        for name in self.texts:
            cells[name] = cells[name].fillna("")
        return cells

    def _pipeline(self, features: pd.DataFrame) -> Any:
        from sklearn.compose import make_column_transformer
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

        parts: list[Any] = []
        if self.boosted:
            codes = OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
            )
            parts += [(codes, self.others), ("passthrough", self.numbers)]
        else:
            number = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
            category = make_pipeline(
                SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
            )
            parts += [(number, self.numbers), (category, self.others)]
        for name in self.texts:
            short = features[name].astype(str).str.len().median() < 400
            words = (
                TfidfVectorizer(analyzer="char", ngram_range=(1, 3))
                if short
                else TfidfVectorizer(ngram_range=(1, 2))
            )
            parts.append(
                (make_pipeline(words, TruncatedSVD(64, random_state=0)) if self.boosted else words, name)
            )
        for name in self.task["files"]:
            parts.append((make_pipeline(FunctionTransformer(pixels), StandardScaler()), [name]))
        parts = [part for part in parts if len(part[1])]
        return make_pipeline(make_column_transformer(*parts, sparse_threshold=0.3), self._last())

    def _last(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
        from sklearn.linear_model import LogisticRegression, Ridge

        if self.boosted:
            return HistGradientBoostingClassifier() if self.classify else HistGradientBoostingRegressor()
        return LogisticRegression(max_iter=2000) if self.classify else Ridge()


class PlainBoosted(Plain):
    """The same with histogram gradient boosting."""

    boosted = True


def pixels(paths: Any) -> Any:
    """32 × 32 grey pixels of each picture, of a clip its middle frame: what one does without a network."""
    rows = []
    for path in np.asarray(paths).ravel():
        with opened(Path(path)) as picture:
            rows.append(np.asarray(picture.convert("L").resize((32, 32)), dtype=float).ravel() / 255.0)
    return np.array(rows)


def opened(path: Path) -> Any:
    """A picture, or a clip's middle frame, as Pillow has it."""
    from PIL import Image

    try:
        return Image.open(path)
    except Image.UnidentifiedImageError:
        import av

        with av.open(str(path)) as clip:
            frames = list(clip.decode(video=0))
        return frames[len(frames) // 2].to_image()


PEERS = {
    "engine": Engine,
    "linear": Plain,
    "boosted": PlainBoosted,
    "autogluon_medium": AutoGluon,
    "autogluon_best": AutoGluonBest,
    "flaml": Flaml,
}


def peak_mb() -> float:
    """The largest resident size of this process in MB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def one_row_ms(peer: Peer, test: pd.DataFrame) -> float:
    """The median time of predicting one row, each time another one."""
    times: list[float] = []
    began = time.perf_counter()
    for i in range(ONE_ROW + 3):
        row = test.iloc[[i % len(test)]].reset_index(drop=True)
        start = time.perf_counter()
        peer.one(row)
        times.append(time.perf_counter() - start)
        if time.perf_counter() - began > PATIENCE and len(times) > 4:
            break
    return 1000.0 * float(np.median(times[3:]))  # the first ones warm up


def rows_per_second(peer: Peer, test: pd.DataFrame) -> float:
    """The better of three, for a table of at least ROWS rows; files are predicted once."""
    copies = 1 if peer.task["files"] else -(-ROWS // len(test))
    many = pd.concat([test] * copies, ignore_index=True)
    best = float("inf")
    began = time.perf_counter()
    for _attempt in range(3):
        start = time.perf_counter()
        peer.predict(many)
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() - began > PATIENCE:
            break
    return len(many) / best


def main() -> None:
    """Fit, predict, measure."""
    name, folder, out, budget, seed, threads = sys.argv[1:]
    task = json.loads((Path(folder) / "task.json").read_text())
    train, test = (pd.read_csv(Path(folder) / f"{part}.csv") for part in ("train", "test"))
    if name == "engine":
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    warnings.simplefilter("ignore")
    peer = PEERS[name](task, float(budget), int(seed), int(threads))
    began = time.perf_counter()
    peer.fit(train)
    took = time.perf_counter() - began
    features = test.drop(columns="target")
    predicted = np.asarray(peer.predict(features), dtype=float)
    classes = np.array(peer.classes if peer.classify else [], dtype=str)
    np.savez(Path(out) / "predictions.npz", predicted=predicted, classes=classes)
    result = {"fit_seconds": took, "own": peer.own, "chosen": peer.chosen, "fit_peak_mb": peak_mb(),
              "one_row_ms": one_row_ms(peer, features), "rows_per_second": rows_per_second(peer, features),
              "peak_mb": peak_mb()}  # fmt: skip
    (Path(out) / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
