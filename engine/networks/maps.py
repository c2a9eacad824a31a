"""Where a fusion network looked: how its last maps of each file, times their gradients, speak for the score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch

from engine.bundle import Bundle
from engine.metrics import Floats
from engine.networks.fusion import FusionNetwork, Shapes, files_of
from engine.schema import Kind
from engine.transformers.files import one_thread

Maps = dict[tuple[Kind, int], Floats]


def heat(network: FusionNetwork, X: Bundle, shapes: Shapes, code: int | None) -> Maps:
    """For each file of the one record in X a map from 0 to 1, 1 the hottest place of that file.

    Grad-CAM (Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74) in the form that does not average the gradients first
    (HiResCAM, Draelos & Carin 2020, arXiv:2011.08891): only places that the score was computed from are hot. `code`: the
    class whose log odds are explained; None: the number.
    """
    network.eval()
    table = torch.from_numpy(np.asarray(X.dense(), dtype=np.float32))
    files = files_of(X, np.arange(1), shapes)
    captured: dict[Kind, torch.Tensor] = {}

    def keep(kind: Kind) -> Any:
        def hook(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            captured[kind] = output
            return output

        return hook

    stages = {kind: cast(torch.nn.Module, network.encoders[kind.value].stages) for kind in network.kinds}
    hooks = [module.register_forward_hook(keep(kind)) for kind, module in stages.items()]
    try:
        with one_thread(), torch.enable_grad():
            scores = network(table, files)[0]
            target = scores[0] if code is None else _log_odds(scores, code)
            kinds = list(captured)
            gradients = torch.autograd.grad(target, [captured[kind] for kind in kinds])
    finally:
        for hook in hooks:
            hook.remove()
    found: Maps = {}
    for kind, gradient in zip(kinds, gradients, strict=True):
        found |= dict(_maps(kind, (gradient * captured[kind]).sum(dim=1), files[kind][1][0]))
    return found


def _log_odds(scores: torch.Tensor, code: int) -> torch.Tensor:
    others = torch.cat([scores[:code], scores[code + 1 :]])
    return scores[code] - torch.logsumexp(others, dim=0)


def _maps(kind: Kind, spoken: torch.Tensor, present: torch.Tensor) -> Iterator[tuple[tuple[Kind, int], Floats]]:
    """Clips have a map for each frame, the other kinds one for each file; only files that are there have one."""
    columns = torch.nonzero(present)[:, 0].tolist()
    each = spoken.detach().numpy().astype(np.float64)
    each = each.reshape(len(columns), len(each) // len(columns), *each.shape[1:])
    for column, maps in zip(columns, each, strict=True):
        hot = np.maximum(maps if kind is Kind.VIDEO else maps[0], 0.0)
        most = float(hot.max())
        yield (kind, column), hot / most if most > 0 else hot
