"""Exact Shapley values of boosted trees: what each column of a record changed, against background records.

The game is the interventional one (Janzing et al. 2020, arXiv:1910.13413; Lundberg et al. 2020,
doi:10.1038/s42256-019-0138-9): a column that is "out" takes its value from a background record. With one background
record a leaf is reached just when the columns that only the record allows are all in, and those that only the background
allows are all out; its Shapley values are then a fraction of two factorials. Columns, not features, are the players: a
category's zeros and ones and a number's missing marker switch together.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from engine.candidates.trees import FlatTrees
from engine.metrics import Floats, Ints

CELLS = 4_000_000  # conditions times background records that are held at once


@dataclass(frozen=True)
class Paths:
    """The leaves of all trees as conditions on columns.

    Steps (one for each node on the way to a leaf) are sorted by leaf and column; an entry is a leaf's condition on one
    column, which its steps `step_starts` must all meet. Leaves without any step are constants and not listed.
    """

    step_nodes: Ints
    step_left: NDArray[np.bool_]
    step_starts: Ints
    entry_column: Ints
    entry_leaf: Ints
    leaf_starts: Ints
    leaf_value: Floats
    leaf_output: Ints
    constant: Floats
    weights: Floats


def paths_of(trees: FlatTrees, origins: Ints) -> Paths:
    """`origins[f]` is the column (player) that feature f belongs to."""
    here = np.arange(len(trees.left))
    leaf = trees.left == here
    inner = np.flatnonzero(~leaf)
    parent = np.full(len(here), -1, dtype=np.int64)
    from_left = np.zeros(len(here), dtype=bool)
    parent[trees.left[inner]], parent[trees.right[inner]] = inner, inner
    from_left[trees.left[inner]] = True
    output = (np.searchsorted(trees.roots, here, side="right") - 1) % trees.outputs
    alone = leaf & (parent < 0)
    constant = trees.baseline[0] + np.bincount(output[alone], trees.value[alone], minlength=trees.outputs)
    leaves = np.flatnonzero(leaf & (parent >= 0))
    nodes, left, owner = _steps(leaves, parent, from_left)
    column = origins[trees.feature[nodes]] if len(nodes) else np.zeros(0, dtype=np.int64)
    order = np.lexsort((column, owner))
    nodes, left, owner, column = nodes[order], left[order], owner[order], column[order]
    new = np.ones(len(nodes), dtype=bool)
    new[1:] = (np.diff(owner) != 0) | (np.diff(column) != 0)
    starts = np.flatnonzero(new)
    entry_leaf = owner[starts]
    leaf_starts = np.searchsorted(entry_leaf, np.arange(len(leaves)))
    most = int(np.bincount(entry_leaf).max()) if len(entry_leaf) else 0
    return Paths(nodes, left, starts, column[starts], entry_leaf, leaf_starts, trees.value[leaves], output[leaves],
                 constant, _weights(most))  # fmt: skip


def _steps(leaves: Ints, parent: Ints, from_left: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.bool_], Ints]:
    """From each leaf up to its root: the node decided at, whether the way goes left there, and the leaf's position."""
    nodes, left, owner = [], [], []
    at, who = leaves, np.arange(len(leaves))
    while len(at):
        nodes.append(parent[at])
        left.append(from_left[at])
        owner.append(who)
        at = parent[at]
        going = parent[at] >= 0
        at, who = at[going], who[going]
    if not nodes:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing.astype(bool), nothing
    return np.concatenate(nodes), np.concatenate(left), np.concatenate(owner)


def _weights(most: int) -> Floats:
    """[a, b]: (a - 1)! b! / (a + b)!, what a leaf with a columns for and b against gives to each of the a; 0 for a = 0."""
    table = np.zeros((most + 1, most + 1))
    for a in range(1, most + 1):
        for b in range(most + 1 - a):
            table[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b)
    return table


def tree_shapley(
    trees: FlatTrees, paths: Paths, x: Floats, background: Floats, columns: int
) -> tuple[Floats, Floats]:
    """(base (outputs,), values (columns, outputs)) of one record `x` (features,) against `background` (n, features).

    base + the sum over columns = the trees' raw scores of x; base = their mean over the background records. Exact but
    for rounding.
    """
    values = np.zeros((columns, trees.outputs))
    base = paths.constant.copy()
    if not len(paths.leaf_value):
        return base, values
    x_ok = _met(trees, paths, x[None, :])[0]
    block = max(1, CELLS // len(paths.step_nodes))
    for start in range(0, len(background), block):
        part = background[start : start + block]
        _add(paths, x_ok, _met(trees, paths, part), 1.0 / len(background), base, values)
    return base, values


def _met(trees: FlatTrees, paths: Paths, X: Floats) -> NDArray[np.bool_]:
    """(n, entries): whether the record meets all the leaf's conditions on that column."""
    nodes = paths.step_nodes
    x = X[:, trees.feature[nodes]]
    left = (x <= trees.threshold[nodes]) | (np.isnan(x) & trees.missing_left[nodes])
    met: NDArray[np.bool_] = np.logical_and.reduceat(left == paths.step_left, paths.step_starts, axis=1)
    return met


def _add(
    paths: Paths, x_ok: NDArray[np.bool_], z_ok: NDArray[np.bool_], share: float, base: Floats, values: Floats
) -> None:
    """Adds what the leaves give, for background records of which `z_ok` (n, entries) tells the conditions met."""
    for_it, against = x_ok & ~z_ok, ~x_ok & z_ok
    a = np.add.reduceat(for_it, paths.leaf_starts, axis=1, dtype=np.int64)
    b = np.add.reduceat(against, paths.leaf_starts, axis=1, dtype=np.int64)
    alive = ~np.logical_or.reduceat(~x_ok & ~z_ok, paths.leaf_starts, axis=1)
    worth = alive * paths.leaf_value * share
    np.add.at(base, paths.leaf_output, (worth * (a == 0)).sum(axis=0))
    gives = (worth * paths.weights[a, b])[:, paths.entry_leaf] * for_it
    takes = (worth * paths.weights[b, a])[:, paths.entry_leaf] * against
    total = (gives - takes).sum(axis=0)
    np.add.at(values, (paths.entry_column, paths.leaf_output[paths.entry_leaf]), total)
