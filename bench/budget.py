"""Does a fit keep its budget in seconds? Tables of 500 to 300,000 rows, resampled from a real study, each in its own process.

Heart disease patients are drawn with replacement and their numbers jittered by a tenth of a deviation, so that rows differ but
look like patients. Never above the budget by more than a tenth is the target; what is left of it is not a fault, as a small
table has nothing more to gain.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.memory import peak_megabytes
from bench.peers.sets import heart
from bench.table import table

ROWS = (500, 5_000, 50_000, 300_000)
BUDGETS = (5.0, 20.0, 60.0)
ALLOWED = 1.1


def made_up(rows: int, seed: int = 0) -> pd.DataFrame:
    """`rows` patients like those of the heart disease study."""
    real = heart(Path()).frame
    rng = np.random.default_rng(seed)
    frame = real.iloc[rng.integers(0, len(real), rows)].reset_index(drop=True)
    for name in frame.select_dtypes("number"):
        frame[name] = frame[name] + rng.normal(0.0, 0.1 * float(frame[name].std()), rows)
    return frame


def one(rows: int, budget: float, seed: int) -> dict[str, Any]:
    """One fit in this process."""
    import engine

    frame = made_up(rows, seed)
    fit_candidates = engine.fit_candidates  # what it imports is not a part of any fit
    before = peak_megabytes()
    began = time.monotonic()
    found = fit_candidates(frame, engine.Recipe(target="target", time_budget=budget, seed=seed))
    took = time.monotonic() - began
    return {
        "rows": rows, "budget": budget, "seconds": took, "chosen": found.best.candidate,
        "score": found.best.validation["metrics"]["roc_auc"]["value"],
        "trials": len(found.best.training.get("trials", [])),
        "repeatable": found.best.training.get("repeatable", True),
        "peak": peak_megabytes(), "before": before,
    }  # fmt: skip


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--budgets", type=float, nargs="*", default=BUDGETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--one", action="store_true", help="one fit, as JSON (what the others are started with)"
    )
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.rows[0], options.budgets[0], options.seed)))
        return
    lines = []
    for rows in options.rows:
        for budget in options.budgets:
            command = [sys.executable, "-m", "bench.budget", "--one", "--seed", str(options.seed),
                       "--rows", str(rows), "--budgets", str(budget)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr[-2000:], flush=True)
                continue
            found = json.loads(done.stdout.strip().splitlines()[-1])
            kept = "yes" if found["seconds"] <= ALLOWED * budget else "NO"
            lines.append([f"{rows:,}", f"{budget:g}", f"{found['seconds']:.1f}", kept, found["trials"], found["chosen"],
                          f"{found['score']:.4f}", "yes" if found["repeatable"] else "cut", f"{found['peak']:.0f}"])  # fmt: skip
            print(lines[-1], flush=True)
    header = [
        "rows",
        "budget s",
        "took s",
        "kept",
        "trials",
        "chosen",
        "own ROC AUC",
        "repeatable",
        "peak MB",
    ]
    print(table("A fit's budget", header, lines))


if __name__ == "__main__":
    main()
