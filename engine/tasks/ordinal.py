"""Grades in an order: none, mild, severe. Decided by expected cost, judged by how far off a decision is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.calibration import conformal_quantile
from engine.candidates.base import Model
from engine.cells import sort_classes, to_category
from engine.errors import EngineError
from engine.fitted import Fitted, Prediction
from engine.metrics import ORDINAL, Floats, Ints, Outcomes, _mean, divide, rank_scores
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
    restored_probabilities,
    stored_probabilities,
)
from engine.tasks.calibration import ManyCalibrators
from engine.tasks.proportional_odds import ProportionalOdds
from engine.tasks.reductions import Reduced, many_questions

if TYPE_CHECKING:
    from engine.assembly import Contender
    from engine.training_data import TrainingData
    from engine.validation import Validator


@dataclass(frozen=True)
class OrdinalPrediction(Prediction):
    """`value` is the decided grade, `sets` are neighbouring grades, `interval` their lowest and highest as numbers
    (0, 1, ...), `expected` (n,) the expected grade as a number."""

    expected: Floats | None = None


class OrdinalOutcomes(Outcomes):
    """Codes 0..k-1 in the order of the grades."""

    @property
    def task(self) -> str:
        """Its metrics."""
        return ORDINAL

    def scores(self, weights: Floats, wanted: frozenset[str]) -> dict[str, Floats]:
        """All metrics of grades for each row of `weights` (B, n)."""
        assert self.probabilities is not None
        k, truth, decided = self.probabilities.shape[1], self.truth.astype(int), self.decided.astype(int)
        total, off = weights.sum(axis=1), np.abs(truth - decided).astype(float)
        steps = np.cumsum(self.probabilities, axis=1)[:, :-1] - (truth[:, None] <= np.arange(k - 1))
        grades = np.eye(k)
        of_truth, of_decided = weights @ grades[truth], weights @ grades[decided]
        apart = (np.arange(k)[:, None] - np.arange(k)) ** 2.0
        chance = divide(((of_truth @ apart) * of_decided).sum(axis=1), total)
        error = weights @ off
        return {
            "ranked_probability": divide(weights @ (steps**2).sum(axis=1) / max(k - 1, 1), total),
            "quadratic_kappa": 1.0 - divide(weights @ off**2, chance),
            "grade_error": divide(error, total),
            "balanced_grade_error": _mean(divide(weights @ (grades[truth] * off[:, None]), of_truth)),
            "within_one": divide(weights @ (off <= 1).astype(float), total),
            "exact_grade": divide(weights @ (off == 0).astype(float), total),
        }


def cheapest(p: Floats, cost: str) -> Ints:
    """(n,) the grade of least expected cost: `absolute` gives the median, `squared` the rounded mean, `exact` the mode.

    Of two equally cheap grades the lower one.
    """
    grades = np.arange(p.shape[1])
    apart = np.abs(grades[:, None] - grades).astype(float)
    costs = {"absolute": apart, "squared": apart**2, "exact": (apart > 0).astype(float)}[cost]
    result: Ints = np.round(p @ costs, 12).argmin(axis=1)
    return result


def more_than(y: Ints, grades: int) -> Floats:
    """(n, grades - 1) whether each record has more than grade 0, 1, ..."""
    return (y[:, None] > np.arange(grades - 1)).astype(float)


def above(p: Floats) -> Floats:
    """(n, k - 1) probabilities of more than grade 0, 1, ..."""
    result: Floats = np.cumsum(p[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return result


def graded(above: Floats) -> Floats:
    """(n, k) probabilities from those of more than each grade, made to fall: the mean of the falling sequences
    just above and just below them (any such repair keeps what falls already; Frank & Hall 2001 leave it open)."""
    upper = np.maximum.accumulate(above[:, ::-1], axis=1)[:, ::-1]
    lower = np.minimum.accumulate(above, axis=1)
    falling = np.clip((upper + lower) / 2.0, 0.0, 1.0)
    ends = np.ones((len(above), 1))
    result: Floats = -np.diff(np.concatenate([ends, falling, 0.0 * ends], axis=1), axis=1)
    return result


def mass_before(p: Floats, start: Ints) -> Floats:
    """(n, k) the probability of the grades that a set holds before it takes each one in.

    The set begins at the decided grade and always takes the likelier neighbour: adaptive prediction sets for grades
    (Lu et al. 2022, arXiv:2207.02238; Romano et al. 2020). Sets {mass <= limit} are contiguous and hold the decision.
    """
    n, k = p.shape
    rows = np.arange(n)
    padded = np.concatenate([np.full((n, 1), -1.0), p, np.full((n, 1), -1.0)], axis=1)
    mass, low, high = np.zeros((n, k)), start.copy(), start.copy()
    held = p[rows, start].astype(float)
    for _ in range(k - 1):
        down = padded[rows, low] >= padded[rows, high + 2]
        taken = np.where(down, low - 1, high + 1)
        mass[rows, taken] = held
        held = held + p[rows, taken]
        low, high = np.where(down, taken, low), np.where(down, high, taken)
    return mass


class Ordinal(Task):
    """Probabilities (n, k) in the order of the grades; calibrated one threshold at a time."""

    name = ORDINAL
    unit = "grades"

    def read(self, frame: pd.DataFrame, recipe: Recipe) -> tuple[Ints, Truth, list[str], Details]:
        """Grades in the recipe's order; without one they must be numbers. Raises EngineError."""
        labels = [to_grade(cell, recipe.order, recipe.keep_words) for cell in column(frame, recipe.target)]
        present = {label for label in labels if label is not None}
        grades = list(recipe.order) if recipe.order else sort_classes(present)
        if not recipe.order and not all(_is_number(grade) for grade in grades):
            raise EngineError(
                "order_missing",
                f"The grades of “{recipe.target}” are no numbers; say their order, the least first.",
                {"column": recipe.target},
            )
        strange = sorted(present - set(grades))
        if strange:
            raise EngineError(
                "grade_unknown",
                f"“{strange[0]}” is in “{recipe.target}” but not in the order of its grades.",
                {"column": recipe.target, "value": strange[0]},
            )
        code = {grade: i for i, grade in enumerate(grades)}
        rows = [i for i, label in enumerate(labels) if label is not None]
        truth = np.array([code[labels[i] or ""] for i in rows], dtype=np.int64)
        return np.array(rows, dtype=np.int64), truth, grades, {"grades": len(grades), "cost": recipe.grade_cost}

    def reread(self, fitted: Fitted, frame: pd.DataFrame) -> tuple[Ints, Truth, dict[str, int]]:
        """Grades that training knew."""
        recipe, known = fitted.recipe, tuple(fitted.classes_.tolist())
        labels = [to_grade(cell, known, recipe.keep_words) for cell in column(frame, recipe.target)]
        code = {grade: i for i, grade in enumerate(fitted.classes_.tolist())}
        rows = [i for i, label in enumerate(labels) if label in code]
        missing = sum(label is None for label in labels)
        truth = np.array([code[labels[i] or ""] for i in rows], dtype=np.int64)
        left = {"unlabelled": missing, "unknown_class": len(labels) - missing - len(rows)}
        return np.array(rows, dtype=np.int64), truth, left

    def guide(self, truth: Truth, patients: Ints, details: Details) -> Floats:
        """The grade as a number."""
        return np.asarray(truth, dtype=float)

    def strata(self, guide: Floats) -> Ints | None:
        """The grades."""
        return guide.astype(np.int64)

    def problems(self, frame: pd.DataFrame, data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
        """As for classes; a grade of the order that no record has is said."""
        if len(set(data.y.tolist())) < 2:
            yield make_problem(
                "one_class", "error", recipe.target,
                "“{column}” has only one grade; there is nothing to tell apart.", value=str(data.classes[int(data.y[0])]),
            )  # fmt: skip
            return
        if len(data.classes) > max(2, len(data.y) // 4):
            yield make_problem(
                "too_many_classes", "error", recipe.target,
                "“{column}” has {count} classes in {total} rows; is it an amount, or a text?",
                count=len(data.classes), total=len(data.y),
            )  # fmt: skip
            return
        for code, name in enumerate(data.classes.tolist()):
            patients = len(set(data.patients[data.y == code].tolist()))
            if patients == 0:
                yield make_problem(
                    "grade_empty", "warning", recipe.target,
                    "No record of “{column}” has the grade “{value}”; it can't be learned.", value=name,
                )  # fmt: skip
            elif patients < 10:
                yield make_problem(
                    "class_small", "warning", recipe.target,
                    "The class “{value}” of “{column}” has only {count} patients; its figures will be uncertain.",
                    value=name, count=patients,
                )  # fmt: skip

    def plain(self, data: TrainingData) -> list[TrainingData]:
        """Classes."""
        return [as_plain(data, "classification", data.y)]

    def build(self, candidate: Candidate, seed: int, hyperparameters: Mapping[str, Any], details: Details) -> Model:
        """Proportional odds for the linear candidate, else the questions "more than grade k?"."""
        grades = int(details["grades"])
        if candidate.name == "linear":
            return ProportionalOdds(grades=grades, seed=seed, **hyperparameters)
        inner = many_questions(candidate.model, candidate.name, hyperparameters, seed)
        return Reduced(inner=inner, ask=partial(more_than, grades=grades), answer=graded)

    def baseline(self, data: TrainingData, n: int) -> Floats:
        """The share of each grade."""
        shares = np.bincount(data.answers, minlength=len(data.classes)) / len(data.y)
        return np.tile(shares, (n, 1))

    def outcomes(self, data: TrainingData, rows: Ints, raw: Floats, metric: str) -> Outcomes:
        """Decided by expected cost."""
        return OrdinalOutcomes(data.answers[rows], cheapest(raw, data.details["cost"]), raw)

    def finish(self, fitted: Fitted, validator: Validator, contender: Contender) -> Outcomes:
        """A calibrator for each threshold between grades, and the limit of the contiguous prediction sets."""
        data, rows = validator.data, contender.rows
        truth, patients = data.answers[rows], np.unique(data.patients[rows], return_inverse=True)[1]
        questions = more_than(truth, len(data.classes))
        calibrator = ManyCalibrators().fit(above(contender.raw), questions, patients, validator.seed)
        fitted.calibrator = calibrator  # type: ignore[assignment]  # only this task asks it
        outcomes = self.judged(fitted, truth, contender.raw)
        assert outcomes.probabilities is not None
        mass = mass_before(outcomes.probabilities, outcomes.decided.astype(np.int64))
        fitted.reach = conformal_quantile(mass[np.arange(len(mass)), truth], patients, coverage_of(fitted))
        return outcomes

    def calibrator(self, method: str, state: dict[str, Any]) -> Any:
        """One for each threshold."""
        return ManyCalibrators(method, state)

    def probabilities(self, fitted: Fitted, raw: Floats) -> Floats:
        """(n, k) calibrated."""
        return graded(fitted.calibrator.apply(above(raw)))

    def predict(self, fitted: Fitted, raw: Floats, about: Mapping[str, Any]) -> Prediction:
        """Decided by expected cost, with a contiguous 95% prediction set."""
        p = self.probabilities(fitted, raw)
        decided = cheapest(p, fitted.details["cost"])
        inside = mass_before(p, decided) <= fitted.reach + 1e-12
        low, high = inside.argmax(axis=1), p.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
        names = fitted.classes_.tolist()
        sets = [names[a : b + 1] for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        interval = np.column_stack([low, high]).astype(float)
        expected = p @ np.arange(p.shape[1])
        return OrdinalPrediction(fitted.classes_[decided], p, interval, sets, expected=expected, **about)

    def judged(self, fitted: Fitted, truth: Truth, raw: Floats) -> Outcomes:
        """Calibrated."""
        p = self.probabilities(fitted, raw)
        return OrdinalOutcomes(truth, cheapest(p, fitted.details["cost"]), p)

    def reference(self, fitted: Fitted, truth: Truth, raw: Floats) -> Outcomes:
        """Not calibrated again."""
        return OrdinalOutcomes(truth, cheapest(raw, fitted.details["cost"]), raw)

    def stored(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
        """Codes and probabilities."""
        return stored_probabilities(fitted, outcomes)

    def restored(self, predictions: Mapping[str, Any]) -> Outcomes:
        """From codes and probabilities."""
        return restored_probabilities(OrdinalOutcomes, predictions)

    def curves(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
        """For each threshold between grades how the predicted probability of more compares with the observed share."""
        from engine.evaluation import calibration_curve

        assert outcomes.probabilities is not None
        beyond, names = above(outcomes.probabilities), fitted.classes_.tolist()
        curves = {}
        for k in range(beyond.shape[1]):
            p, truth = np.column_stack([1 - beyond[:, k], beyond[:, k]]), (outcomes.truth > k).astype(np.int64)
            curves[names[k]] = calibration_curve(Outcomes(truth, truth, p, 1))
        return {"calibration_above": curves}

    def confusion(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any] | None:
        """Counts of (true, decided)."""
        k = len(fitted.classes_)
        counts = np.bincount(outcomes.truth.astype(int) * k + outcomes.decided.astype(int), minlength=k * k)
        return {"classes": fitted.classes_.tolist(), "counts": counts.reshape(k, k).tolist()}

    def per_class(self, fitted: Fitted, outcomes: Outcomes) -> list[dict[str, Any]]:
        """For each grade: how often it is found, how far off its records are, and how well it and more are ranked."""
        assert outcomes.probabilities is not None
        beyond, table = above(outcomes.probabilities), []
        for code, name in enumerate(fitted.classes_.tolist()):
            own, called = outcomes.truth == code, outcomes.decided == code
            n, both = int(own.sum()), int((own & called).sum())
            row = {"class": name, "n": n, "sensitivity": both / n if n else None,
                   "precision": both / int(called.sum()) if called.any() else None,
                   "grade_error": float(np.abs(outcomes.decided - outcomes.truth)[own].mean()) if n else None,
                   "roc_auc_above": None}  # fmt: skip
            if code < beyond.shape[1]:
                area = rank_scores(outcomes.truth > code, beyond[:, code], np.ones((1, outcomes.n)), False)[0][0]
                row["roc_auc_above"] = float(area) if np.isfinite(area) else None
            table.append(row)
        return table

    def unsure(self, fitted: Fitted, probabilities: Floats | None, ood_score: Floats) -> Floats:
        """What the decision costs, as is to be expected."""
        assert probabilities is not None
        decided, grades = cheapest(probabilities, fitted.details["cost"]), np.arange(probabilities.shape[1])
        result: Floats = (probabilities * np.abs(grades - decided[:, None])).sum(axis=1)
        return result

    def coverage(self, fitted: Fitted, outcomes: Outcomes, prediction: Prediction) -> dict[str, Floats]:
        """Whether the true grade lies between the ends of the set."""
        inside = (prediction.interval[:, 0] <= outcomes.truth) & (outcomes.truth <= prediction.interval[:, 1])
        by_grade = {
            name: np.where(outcomes.truth == code, inside, np.nan) for code, name in enumerate(fitted.classes_.tolist())
        }
        return {"": inside.astype(float), **by_grade}

    def score(self, fitted: Fitted, raw: Floats) -> Floats:
        """(n, 1) the expected grade, calibrated."""
        p = self.probabilities(fitted, raw)
        return (p @ np.arange(p.shape[1]))[:, None]


def to_grade(cell: Any, order: tuple[str, ...], keep_words: bool) -> str | None:
    """A cell as a grade. A word of the order is one even where it usually means that a value is missing ("none")."""
    if isinstance(cell, str) and cell.strip() in order:
        return cell.strip()
    return to_category(cell, keep_words)


def _is_number(grade: str) -> bool:
    try:
        return bool(np.isfinite(float(grade)))
    except ValueError:
        return False


TASK = Ordinal()
