"""Run the comparison, or a part of it, and print its tables.

`python -m bench.peers [--sets NAME ...] [--peers NAME ...] [--seeds N ...] [--budget S] [--report]`. Each run is one line of
the results file; what is already there (same set, seed, peer, budget and versions; for the engine the same commit too) is not
run again, so that a comparison that was cut off goes on where it stopped.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from bench.peers.environments import BUDGETS, HOME, NoEnvironment, python_of, versions
from bench.peers.report import report
from bench.peers.scores import scores
from bench.peers.sets import SETS, Absent, split_folder

RUNNER = Path(__file__).with_name("runner.py")
PLACE = HOME / ".bench"


def commit() -> str:
    """The short commit that last touched the engine, with a + when its files differ from it."""
    command = ["git", "log", "-1", "--format=%h", "--", "engine"]
    name = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "engine"], cwd=HOME, check=False)
    return name.stdout.strip() + ("+" if changed.returncode else "")


def watched(
    command: list[str], folder: Path, environment: dict[str, str], limit: float
) -> tuple[int, str, float]:
    """Run it; its return code, the last lines it wrote, and the peak of its whole tree of processes in MB."""
    log = folder / "log.txt"
    peak, began = 0.0, time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            peak = max(peak, _tree_mb(process.pid))
            if time.monotonic() - began > limit:
                _end(process)
                return -1, f"Stopped after {limit:.0f} s, which is far above its budget", peak
            time.sleep(0.1)
    return process.returncode, log.read_text(errors="replace"), peak


def _tree_mb(pid: int) -> float:
    try:
        root = psutil.Process(pid)
        return float(sum(p.memory_info().rss for p in [root, *root.children(recursive=True)])) / 2**20
    except psutil.Error:
        return 0.0


def _end(process: subprocess.Popen[bytes]) -> None:
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.wait(30)


def error_of(output: str) -> str:
    """The first line of the exception that ended a run."""
    lines = output.splitlines()
    start = max((i for i, line in enumerate(lines) if line.startswith("Traceback")), default=-1)
    for line in lines[start + 1 :]:
        if line and not line.startswith((" ", "Traceback")) and start >= 0:
            return line[:200]
    return (lines[-1] if lines else "no message")[:200]


def run(key: dict[str, Any], folder: Path, threads: int, niceness: int) -> dict[str, Any]:
    """One peer on one split."""
    task = json.loads((folder / "task.json").read_text())
    python = key["python"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0"}
    environment |= {
        name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    }
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-peer-", ignore_cleanup_errors=True) as place:
        command = ["nice", "-n", str(niceness), python, str(RUNNER), key["peer"], str(folder.resolve()), place,
                   str(key["budget"]), str(key["seed"]), str(threads)]  # fmt: skip
        code, output, tree = watched(command, Path(place), environment, 3 * key["budget"] + 300)
        facts = {**{k: v for k, v in key.items() if k != "python"}, "task": task["task"], "split": task["sha256"][:12],
                 "threads": threads, "load": round(max(load, os.getloadavg()[0]), 2),
                 "when": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
        if code:
            return {**facts, "status": "broken", "error": error_of(output)}
        result = json.loads((Path(place) / "result.json").read_text())
        stored = np.load(Path(place) / "predictions.npz")
        truth = pd.read_csv(folder / "test.csv")["target"].tolist()
        try:
            found = scores(task["task"], truth, stored["predicted"], stored["classes"].tolist())
        except ValueError as error:
            return {**facts, "status": "broken", "error": f"its predictions can't be scored: {error}"[:200]}
    return {**facts, "status": "done", **result, **found, "peak_mb": max(tree, result["peak_mb"])}


def load_runs(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


SAME = ("set", "seed", "peer", "budget", "versions", "commit")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--peers", nargs="*", choices=list(BUDGETS), default=list(BUDGETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--budget", type=float, help="seconds of each fit, instead of each peer's own limit")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--results", type=Path, default=PLACE / "engine.jsonl")
    parser.add_argument("--report", action="store_true", help="only print the tables of the results file")
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    if not options.report:
        measure(options)
    chosen = [
        r for r in load_runs(options.results) if r["set"] in options.sets and r["peer"] in options.peers
    ]
    print(report(chosen))


def measure(options: argparse.Namespace) -> None:
    """What is not in the results file yet, one fit after the other."""
    pythons: dict[str, tuple[str, dict[str, str]]] = {}
    for peer in options.peers:
        try:
            python = python_of(peer)
            pythons[peer] = (python, versions(python))
        except NoEnvironment as error:
            print(f"{peer} can't be installed: {error}", file=sys.stderr)
    for name in options.sets:
        for seed in options.seeds:
            try:
                folder = split_folder(name, seed, PLACE)
            except Absent as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                break
            for peer, (python, found) in pythons.items():
                key = {"set": name, "seed": seed, "peer": peer, "budget": options.budget or BUDGETS[peer], "versions": found,
                       "commit": commit() if peer == "engine" else None, "python": python}  # fmt: skip
                if any(all(r.get(k) == key[k] for k in SAME) for r in load_runs(options.results)):
                    continue
                line = run(key, folder, options.threads, options.nice)
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                told = (
                    line["error"]
                    if line["status"] == "broken"
                    else f"{line['score']:.4f} in {line['fit_seconds']:.1f} s"
                )
                print(f"{name} {seed} {peer}: {told} (load {line['load']})", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
