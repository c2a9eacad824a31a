"""The tables: each peer on each set, and who is first."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bench.peers.scores import paired
from bench.peers.sets import SETS
from bench.table import table

LABELS = {"engine": "AI Mass engine", "linear": "scikit-learn linear", "boosted": "scikit-learn HistGB",
          "autogluon_medium": "AutoGluon medium", "autogluon_best": "AutoGluon best", "flaml": "FLAML"}  # fmt: skip
HEADER = ["peer", "splits", "score", "engine − peer", "loss", "engine − peer", "fit s", "peak MB", "one row ms",
          "rows/s", "own − test", "chosen"]  # fmt: skip
Run = Mapping[str, Any]


def latest(runs: Iterable[Run]) -> dict[str, dict[str, dict[int, Run]]]:
    """set → peer → seed → the last run of it."""
    found: dict[str, dict[str, dict[int, Run]]] = {}
    for run in runs:
        found.setdefault(run["set"], {}).setdefault(run["peer"], {})[run["seed"]] = run
    return found


def report(runs: Iterable[Run]) -> str:
    """All tables as Markdown."""
    found = {name: _common(peers) for name, peers in latest(runs).items()}
    parts = [_one_set(name, found[name]) for name in SETS if name in found]
    parts.append(table("Who is first", ["data", "first by score", "engine − best other", "first by loss",
                                         "engine − best other"], _places(found)))  # fmt: skip
    return "\n".join(parts)


def _common(peers: Mapping[str, Mapping[int, Run]]) -> dict[str, dict[int, Run]]:
    """Only the splits that every peer was tried on, where there are some: means over other splits compare nothing."""
    tried = [set(runs) for runs in peers.values()]
    seeds = set.intersection(*tried) or set.union(*tried)
    return {peer: {seed: run for seed, run in runs.items() if seed in seeds} for peer, runs in peers.items()}


def _one_set(name: str, peers: Mapping[str, Mapping[int, Run]]) -> str:
    some = next(run for runs in peers.values() for run in runs.values())
    rows = [_row(peer, peers[peer], _good(peers.get("engine", {}))) for peer in LABELS if peer in peers]
    what = "R², RMSE" if some["task"] == "regression" else "ROC AUC, log loss"
    loads = [run["load"] for runs in peers.values() for run in runs.values()]
    return table(f"{SETS[name][0]}: {what}; load {min(loads):.1f} to {max(loads):.1f}", HEADER, rows)


def _good(runs: Mapping[int, Run]) -> dict[int, Run]:
    return {seed: run for seed, run in runs.items() if run["status"] == "done"}


def _row(peer: str, runs: Mapping[int, Run], engine: Mapping[int, Run]) -> list[str]:
    good, broken = _good(runs), [run for run in runs.values() if run["status"] != "done"]
    note = f"broke {len(broken)} of {len(runs)}: {broken[0]['error']}" if broken else ""
    if not good:
        return [LABELS[peer], f"0 of {len(runs)}", *["–"] * 9, note]
    mean = {key: _mean(run[key] for run in good.values()) for key in
            ("score", "loss", "fit_seconds", "peak_mb", "one_row_ms", "rows_per_second")}  # fmt: skip
    own = [run["own"] - run["score"] for run in good.values() if run["own"] is not None]
    chosen = ", ".join(sorted({run["chosen"] for run in good.values()}))
    return [
        LABELS[peer], str(len(good)), f"{mean['score']:.3f}", _difference(engine, good, "score", peer), f"{mean['loss']:.3f}",
        _difference(engine, good, "loss", peer), f"{mean['fit_seconds']:.1f}", f"{mean['peak_mb']:.0f}",
        f"{mean['one_row_ms']:.1f}", f"{mean['rows_per_second']:,.0f}", f"{np.mean(own):+.3f}" if own else "–",
        "; ".join(part for part in (chosen, note) if part),
    ]  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _difference(engine: Mapping[int, Run], other: Mapping[int, Run], key: str, peer: str) -> str:
    if peer == "engine":
        return ""
    mean, half, n = paired({s: r[key] for s, r in engine.items()}, {s: r[key] for s, r in other.items()})
    return f"{mean:+.3f} ± {half:.3f}" if n > 1 else f"{mean:+.3f}" if n else "–"


def _places(found: Mapping[str, Mapping[str, Mapping[int, Run]]]) -> list[list[str]]:
    rows = []
    for name in SETS:
        good = {peer: _good(runs) for peer, runs in found.get(name, {}).items()}
        good = {peer: runs for peer, runs in good.items() if runs}
        if "engine" not in good or len(good) < 2:
            continue
        cells = [SETS[name][0]]
        for key, sign in (("score", 1.0), ("loss", -1.0)):
            means = {peer: sign * _mean(r[key] for r in runs.values()) for peer, runs in good.items()}
            first = max(means, key=lambda peer: means[peer])
            other = max((peer for peer in means if peer != "engine"), key=lambda peer: means[peer])
            inside = _inside(good["engine"], good[other], key, sign)
            cells += [LABELS[first], f"{_difference(good['engine'], good[other], key, other)} ({inside})"]
        rows.append(cells)
    return rows


def _inside(engine: Mapping[int, Run], other: Mapping[int, Run], key: str, sign: float) -> str:
    mean, half, n = paired({s: r[key] for s, r in engine.items()}, {s: r[key] for s, r in other.items()})
    if n < 2:
        return "one split"
    low, high = sign * mean - half, sign * mean + half
    return "ahead" if low > 0 else "behind" if high < 0 else "within the interval"
