"""Several labels at once: each has its own probability, calibration and threshold; a label may be unknown in a row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.calibration import conformal_quantile, logit
from engine.candidates.base import Model, sigmoid
from engine.cells import is_missing, to_category
from engine.errors import EngineError
from engine.fitted import Fitted, Prediction
from engine.metrics import MULTILABEL, Floats, Ints, Outcomes, _mean, divide, rank_scores
from engine.positive import ABSENCE, FINDING, plain
from engine.problems import Problem, make_problem
from engine.recipe import Recipe
from engine.registry import Candidate
from engine.tasks.base import (
    Details,
    Task,
    Truth,
    as_plain,
    column,
    coverage_of,
    jackknife,
    restored_probabilities,
    stored_probabilities,
)
from engine.tasks.calibration import ManyCalibrators
from engine.tasks.reductions import many_questions

if TYPE_CHECKING:
    from engine.assembly import Contender
    from engine.training_data import TrainingData
    from engine.validation import Validator

SEPARATORS = r"[;；|、\n]"
FEWEST_PATIENTS = 5  # a label in a list that fewer patients have is not kept: it could name one
UNKNOWN = -1
NEEDS_THRESHOLDS = frozenset(["macro_f1", "micro_f1", "subset_accuracy", "hamming_loss"])
UNLIMITED = 2.0  # a conformal limit of no effect, in JSON


@dataclass(frozen=True)
class MultilabelPrediction(Prediction):
    """`value` (n,): the list of decided labels of each record. `probabilities` (n, labels), in the order of `classes_`,
    don't sum to 1; `interval` (n, labels, 2) is theirs; `decided` (n, labels). `sets`: for each record the labels that
    can't be ruled out: 95% of those who have a label get it."""

    decided: np.ndarray[Any, np.dtype[np.bool_]] | None = None


class MultilabelOutcomes(Outcomes):
    """`truth` and `decided` (n, labels): 1, 0, or UNKNOWN; `probabilities` (n, labels)."""

    @property
    def task(self) -> str:
        """Its metrics."""
        return MULTILABEL

    def scores(self, weights: Floats, wanted: frozenset[str]) -> dict[str, Floats]:
        """The metrics of several labels for each row of `weights` (B, n)."""
        assert self.probabilities is not None
        known = (self.truth != UNKNOWN).astype(float)
        true, called = (self.truth == 1) * known, (self.decided == 1) * known
        hit, actual, named = weights @ (true * called), weights @ true, weights @ called
        f1 = np.where(actual > 0, divide(2 * hit, actual + named), np.nan)
        wrong, asked = weights @ (known * (true != called)), weights @ known
        whole = known.all(axis=1).astype(float)
        right = whole * (true == called).all(axis=1)
        squares = weights @ (known * (self.probabilities - true) ** 2)
        scores = {
            "macro_f1": _mean(f1),
            "micro_f1": divide(2 * hit.sum(axis=1), (actual + named).sum(axis=1)),
            "subset_accuracy": divide(weights @ right, weights @ whole),
            "hamming_loss": divide(wrong.sum(axis=1), asked.sum(axis=1)),
            "label_brier": _mean(divide(squares, asked)),
        }
        if wanted & {"label_roc_auc", "label_pr_auc"}:
            scores |= self._ranking(weights, "label_pr_auc" in wanted)
        return scores

    def _ranking(self, weights: Floats, precision: bool) -> dict[str, Floats]:
        assert self.probabilities is not None
        areas, averages = [], []
        for truth, p in zip(self.truth.T, self.probabilities.T, strict=True):
            rows = np.flatnonzero(truth != UNKNOWN)
            if not len(rows):
                continue
            area, average = rank_scores(truth[rows] == 1, p[rows], weights[:, rows], precision)
            areas.append(area)
            averages.append(average)
        return {"label_roc_auc": _mean(np.stack(areas, 1)), "label_pr_auc": _mean(np.stack(averages, 1))}


def best_thresholds(p: Floats, truth: Floats) -> Floats:
    """(labels,) the thresholds with the largest F1 of each label (Lipton et al. 2014, arXiv:1402.1892), half-way to the
    next lower probability; 0.5 for a label that does not occur. `truth` is 1, 0, or NaN."""
    found = np.full(p.shape[1], 0.5)
    for j, (scores, answers) in enumerate(zip(p.T, truth.T, strict=True)):
        rows = np.flatnonzero(np.isfinite(answers))
        order = rows[np.argsort(-scores[rows], kind="stable")]
        hits, ordered = answers[order], scores[order]
        if not hits.sum():
            continue
        ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
        f1 = 2 * np.cumsum(hits)[ends] / (hits.sum() + ends + 1)
        best = int(f1.argmax())
        following = ordered[ends[best + 1]] if best + 1 < len(ends) else 0.0
        found[j] = (ordered[ends[best]] + following) / 2.0
    return found


class Multilabel(Task):
    """Truth is (n, labels): 1, 0, or NaN where it is not known."""

    name = MULTILABEL
    unit = "log odds"

    def read(self, frame: pd.DataFrame, recipe: Recipe) -> tuple[Ints, Truth, list[str], Details]:
        """From several columns of yes and no, or from one of lists. Raises EngineError."""
        if recipe.targets:
            names = list(dict.fromkeys((*recipe.targets, recipe.target)))
            if recipe.target in recipe.targets:
                names = list(recipe.targets)
            truth = np.column_stack([yes_or_no(column(frame, name), name) for name in names])
            rows = np.flatnonzero(np.isfinite(truth).any(axis=1))
            return rows, truth[rows], names, {"lists": False, "rare": 0}
        cells = [labels_in(cell, recipe) for cell in column(frame, recipe.target)]
        rows = np.array([i for i, cell in enumerate(cells) if cell is not None], dtype=np.int64)
        names, rare = _common_labels(frame, recipe, cells, rows)
        if len(rows) and not names:
            raise EngineError(
                "labels_rare",
                f"No label of “{recipe.target}” occurs in {FEWEST_PATIENTS} patients or more.",
                {"column": recipe.target, "least": FEWEST_PATIENTS},
            )
        return rows, _as_matrix(cells, rows, names), names, {"lists": True, "rare": rare}

    def reread(self, fitted: Fitted, frame: pd.DataFrame) -> tuple[Ints, Truth, dict[str, int]]:
        """Labels that training did not know are passed over, and the records that have one counted."""
        names, recipe = fitted.classes_.tolist(), fitted.recipe
        if not fitted.details["lists"]:
            truth = np.column_stack([yes_or_no(column(frame, name), name) for name in names])
            rows = np.flatnonzero(np.isfinite(truth).any(axis=1))
            return rows, truth[rows], {"unlabelled": len(truth) - len(rows), "unknown_class": 0}
        cells = [labels_in(cell, recipe) for cell in column(frame, recipe.target)]
        rows = np.array([i for i, cell in enumerate(cells) if cell is not None], dtype=np.int64)
        strange = sum(bool(set(cell) - set(names)) for cell in cells if cell is not None)
        left = {"unlabelled": len(cells) - len(rows), "unknown_class": 0, "unknown_labels": strange}
        return rows, _as_matrix(cells, rows, names), left

    def guide(self, truth: Truth, patients: Ints, details: Details) -> Floats:
        """A code for the set of labels; sets that fewer than ten records have go by their rarest label."""
        known = np.nan_to_num(truth)
        kinds, code, counts = np.unique(known, axis=0, return_inverse=True, return_counts=True)
        often = known.sum(axis=0)
        rarest = np.where(known > 0, often, np.inf).argmin(axis=1) + len(kinds)
        rarest[known.sum(axis=1) == 0] = len(kinds) + known.shape[1]
        merged = np.where(counts[code.ravel()] >= 10, code.ravel(), rarest)
        return np.unique(merged, return_inverse=True)[1].astype(float)

    def strata(self, guide: Floats) -> Ints | None:
        """The sets of labels."""
        return guide.astype(np.int64)

    def problems(self, frame: pd.DataFrame, data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
        """What is missing, and for each label whether there is enough of it and of its absence."""
        if data.unlabelled:
            yield make_problem(
                "labels_missing", "warning", recipe.target,
                "{count} of {total} rows have no value in “{column}” and are left out.",
                count=data.unlabelled, total=len(frame),
            )  # fmt: skip
        if data.details["rare"]:
            yield make_problem(
                "labels_rare", "warning", recipe.target,
                "{count} labels of “{column}” occur in fewer than {least} patients and are left out.",
                count=data.details["rare"], least=FEWEST_PATIENTS,
            )  # fmt: skip
        for j, name in enumerate(data.classes.tolist()):
            yield from _label_problems(recipe, data, j, name)

    def plain(self, data: TrainingData) -> list[TrainingData]:
        """Each label alone, where it is known and varies."""
        found = []
        for answers in data.answers.T:
            rows = np.flatnonzero(np.isfinite(answers))
            if len(np.unique(answers[rows])) == 2:
                found.append(as_plain(data, "classification", np.nan_to_num(answers), rows))
        return found

    def build(self, candidate: Candidate, seed: int, hyperparameters: Mapping[str, Any], details: Details) -> Model:
        """A model for each label, or the network with an output for each."""
        return many_questions(candidate.model, candidate.name, hyperparameters, seed)

    def baseline(self, data: TrainingData, n: int) -> Floats:
        """How common each label is."""
        return np.tile(np.nanmean(data.answers, axis=0), (n, 1))

    def outcomes(self, data: TrainingData, rows: Ints, raw: Floats, metric: str) -> Outcomes:
        """Decided at the best thresholds where the metric looks at decisions."""
        truth = data.answers[rows]
        limits: Any = best_thresholds(raw, truth) if metric in NEEDS_THRESHOLDS else 0.5
        return MultilabelOutcomes(_coded(truth), (raw >= limits).astype(np.int64), raw)

    def finish(self, fitted: Fitted, validator: Validator, contender: Contender) -> Outcomes:
        """Calibration and threshold of each label, the jackknife's spread of its log odds, and the limits of the sets."""
        data, rows = validator.data, contender.rows
        truth, patients = data.answers[rows], np.unique(data.patients[rows], return_inverse=True)[1]
        calibrator = ManyCalibrators().fit(contender.raw, truth, patients, validator.seed)
        p = calibrator.apply(contender.raw)
        fitted.calibrator = calibrator  # type: ignore[assignment]  # only this task asks it
        fitted.details |= {
            "thresholds": best_thresholds(p, truth).tolist(),
            "limits": [_limit(p[:, j], truth[:, j], patients, coverage_of(fitted)) for j in range(p.shape[1])],
            "spread": jackknife(validator, contender.results, logit).tolist(),
        }
        return self.judged(fitted, truth, contender.raw)

    def calibrator(self, method: str, state: dict[str, Any]) -> Any:
        """One for each label."""
        return ManyCalibrators(method, state)

    def predict(self, fitted: Fitted, raw: Floats, about: Mapping[str, Any]) -> Prediction:
        """Each label at its own threshold."""
        calibrator: Any = fitted.calibrator
        p = calibrator.apply(raw)
        decided = p >= np.array(fitted.details["thresholds"])
        inside = decided | (1.0 - p <= np.array(fitted.details["limits"]) + 1e-12)
        deviation = np.hypot(calibrator.deviation(raw), calibrator.slopes * np.array(fitted.details["spread"]))
        z, reach = logit(p), 1.959964 * np.minimum(deviation, 10.0)
        low, high = np.minimum(sigmoid(z - reach), p), np.maximum(sigmoid(z + reach), p)
        names = fitted.classes_
        value = np.empty(len(p), dtype=object)
        value[:] = [names[row].tolist() for row in decided]
        sets = [names[row].tolist() for row in inside]
        return MultilabelPrediction(value, p, np.stack([low, high], axis=-1), sets, decided=decided, **about)

    def judged(self, fitted: Fitted, truth: Truth, raw: Floats) -> Outcomes:
        """Calibrated, at the stored thresholds."""
        p = fitted.calibrator.apply(raw)
        return self.reference(fitted, truth, p)

    def reference(self, fitted: Fitted, truth: Truth, raw: Floats) -> Outcomes:
        """At the stored thresholds."""
        decided = (raw >= np.array(fitted.details["thresholds"])).astype(np.int64)
        return MultilabelOutcomes(_coded(truth), decided, raw)

    def stored(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
        """Rows of labels."""
        return stored_probabilities(fitted, outcomes)

    def restored(self, predictions: Mapping[str, Any]) -> Outcomes:
        """From rows of labels."""
        return restored_probabilities(MultilabelOutcomes, predictions)

    def curves(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
        """ROC, precision and calibration of each label."""
        from engine.evaluation import calibration_curve, roc_and_pr

        assert outcomes.probabilities is not None
        curves: dict[str, Any] = {"roc": {}, "pr": {}, "calibration": {}}
        for j, name in enumerate(fitted.classes_.tolist()):
            rows = np.flatnonzero(outcomes.truth[:, j] != UNKNOWN)
            hit, p = outcomes.truth[rows, j] == 1, outcomes.probabilities[rows, j]
            if hit.any() and not hit.all():
                curves["roc"][name], curves["pr"][name] = roc_and_pr(hit, p)
                both, codes = np.column_stack([1 - p, p]), hit.astype(np.int64)
                curves["calibration"][name] = calibration_curve(Outcomes(codes, codes, both, 1))
        return curves

    def per_class(self, fitted: Fitted, outcomes: Outcomes) -> list[dict[str, Any]]:
        """A row per label: how many records are known and have it, its areas, and its decisions at its threshold."""
        assert outcomes.probabilities is not None
        table = []
        for j, name in enumerate(fitted.classes_.tolist()):
            rows = np.flatnonzero(outcomes.truth[:, j] != UNKNOWN)
            hit, called = outcomes.truth[rows, j] == 1, outcomes.decided[rows, j] == 1
            area, average = (np.nan, np.nan)
            if len(rows):
                scores = rank_scores(hit, outcomes.probabilities[rows, j], np.ones((1, len(rows))))
                area, average = float(scores[0][0]), float(scores[1][0])
            both, actual, named = int((hit & called).sum()), int(hit.sum()), int(called.sum())
            absent = len(rows) - actual
            table.append({
                "class": name, "n": actual, "known": len(rows), "threshold": fitted.details["thresholds"][j],
                "roc_auc": area if np.isfinite(area) else None, "pr_auc": average if np.isfinite(average) else None,
                "sensitivity": both / actual if actual else None, "precision": both / named if named else None,
                "specificity": (absent - named + both) / absent if absent else None,
                "f1": 2 * both / (actual + named) if actual else None,
            })  # fmt: skip
        return table

    def unsure(self, fitted: Fitted, probabilities: Floats | None, ood_score: Floats) -> Floats:
        """Less the distance of the nearest label's log odds from its threshold."""
        assert probabilities is not None
        distance = np.abs(logit(probabilities) - logit(np.array(fitted.details["thresholds"])))
        return -distance.min(axis=1)

    def coverage(self, fitted: Fitted, outcomes: Outcomes, prediction: Prediction) -> dict[str, Floats]:
        """For each label whether the sets of those who have it hold it."""
        assert prediction.sets is not None
        return {
            name: np.where(outcomes.truth[:, j] == 1, [name in members for members in prediction.sets], np.nan)
            for j, name in enumerate(fitted.classes_.tolist())
        }

    def explained(self, fitted: Fitted, raw: Floats) -> int:
        """The label with the largest calibrated probability."""
        return int(fitted.calibrator.apply(raw)[0].argmax())

    def score(self, fitted: Fitted, raw: Floats) -> Floats:
        """(n, labels) log odds before calibration."""
        return logit(raw)

    def scored(self, fitted: Fitted) -> list[str] | None:
        """The labels."""
        names: list[str] = fitted.classes_.tolist()
        return names


def yes_or_no(cells: list[Any], name: str) -> Floats:
    """(n,) 1, 0, or NaN where missing, from yes and no, 1 and 0, present and absent, 是 and 否, in any of the words that
    `engine.positive` knows ("none" stands for no finding, unlike in other columns). Raises EngineError
    ("label_not_binary") for anything else."""
    values = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        text = cell.strip() if isinstance(cell, str) else to_category(cell)
        if text is None or (is_missing(text) and plain(text) not in ABSENCE):
            continue
        word = plain(text)
        if word not in FINDING and word not in ABSENCE:
            raise EngineError(
                "label_not_binary",
                f"“{name}” holds “{text}”; a label is yes or no (1 or 0), or missing where it is not known.",
                {"column": name, "value": text},
            )
        values[i] = 1.0 if word in FINDING else 0.0
    return values


def labels_in(cell: Any, recipe: Recipe) -> list[str] | None:
    """The labels of a cell: a list, or a text with separators; None when the cell is missing. An empty list is known
    to have no label, an empty text is missing."""
    if isinstance(cell, (list, tuple, set, frozenset, np.ndarray)):
        parts: list[Any] = list(cell)
    elif is_missing(cell, recipe.keep_words):
        return None
    else:
        pattern = SEPARATORS if recipe.separator is None else re.escape(recipe.separator)
        parts = re.split(pattern, str(cell))
    labels = [to_category(part, recipe.keep_words) for part in parts]
    return list(dict.fromkeys(label for label in labels if label is not None))


def _common_labels(
    frame: pd.DataFrame, recipe: Recipe, cells: list[list[str] | None], rows: Ints
) -> tuple[list[str], int]:
    """Labels that enough patients have, in the order of the alphabet, and how many others there are."""
    from engine.training_data import patients_of

    patients = patients_of(frame, recipe.patient)
    seen: dict[str, set[int]] = {}
    for i in rows.tolist():
        for label in cells[i] or ():
            seen.setdefault(label, set()).add(int(patients[i]))
    names = sorted(label for label, who in seen.items() if len(who) >= FEWEST_PATIENTS)
    return names, len(seen) - len(names)


def _as_matrix(cells: list[list[str] | None], rows: Ints, names: list[str]) -> Floats:
    place = {name: j for j, name in enumerate(names)}
    matrix = np.zeros((len(rows), len(names)))
    for i, row in enumerate(rows.tolist()):
        for label in cells[row] or ():
            if label in place:
                matrix[i, place[label]] = 1.0
    return matrix


def _coded(truth: Floats) -> Ints:
    """NaN becomes UNKNOWN."""
    result: Ints = np.where(np.isfinite(truth), truth, UNKNOWN).astype(np.int64)
    return result


def _limit(p: Floats, truth: Floats, patients: Ints, coverage: float) -> float:
    """The conformal limit on 1 - p that takes in so many of the patients who have the label."""
    rows = np.flatnonzero(truth == 1)
    if not len(rows):
        return UNLIMITED
    own = np.unique(patients[rows], return_inverse=True)[1]
    return min(conformal_quantile(1.0 - p[rows], own, coverage), UNLIMITED)


def _label_problems(recipe: Recipe, data: TrainingData, j: int, name: str) -> Iterator[Problem]:
    where = recipe.target if data.details["lists"] else name
    answers = data.answers[:, j]
    counts = [len(set(data.patients[answers == value].tolist())) for value in (1.0, 0.0)]
    unknown = int(np.isnan(answers).sum())
    if unknown:
        yield make_problem(
            "label_unknown", "warning", where,
            "The label “{value}” is not known in {count} of {total} rows, which it is not learned from.",
            value=name, count=unknown, total=len(answers),
        )  # fmt: skip
    if min(counts) < 2:
        yield make_problem(
            "label_too_small", "error", where,
            "The label “{value}” has {count} patients with it and {others} without; at least 2 of each are needed.",
            value=name, count=counts[0], others=counts[1],
        )  # fmt: skip
    elif min(counts) < 10:
        yield make_problem(
            "label_small", "warning", where,
            "The label “{value}” has {count} patients with it and {others} without; its figures will be uncertain.",
            value=name, count=counts[0], others=counts[1],
        )  # fmt: skip


TASK = Multilabel()
