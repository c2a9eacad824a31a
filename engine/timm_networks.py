"""Networks of timm, built without its hub and beside a torch of another build than torchvision's.

timm imports torchvision. From PyPI, torchvision is compiled for CUDA: beside torch's CPU build its extension can't be
loaded, and `import torchvision` fails at two operators (of object detection) that it wants to describe and that no network
of timm calls. Declared by their signatures alone they let it be imported; called, they are refused by torchvision itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import EngineError, invalid_weights

NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")  # "hf-hub:…" and "local-dir:…" would open an address or a folder
OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DECLARED: list[Any] = []  # torch forgets a declaration whose library is let go


def installed() -> bool:
    """Whether timm and torchvision, which it needs, are there; nothing is imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("timm", "torchvision"))


def declare_operators() -> bool:
    """Declare the operators that torchvision lacks where its extension can't be loaded. False: it could be, nothing was done."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    for extension in [file for place in places for file in Path(place).glob("_C.*")]:
        try:
            torch.ops.load_library(str(extension))
            return False
        except OSError:
            continue
    if not _DECLARED:
        _DECLARED.append(torch.library.Library("torchvision", "DEF"))
        for name in OPERATORS:
            _DECLARED[0].define(name + SIGNATURE)
    return True


def _timm() -> Any:
    try:
        declare_operators()
        return importlib.import_module("timm")
    except Exception as error:  # torchvision of another torch fails in many ways
        first = str(error).partition("\n")[0][:200]
        raise invalid_weights(
            f"timm can't be used here ({type(error).__name__}: {first}): it needs a torchvision that fits torch, "
            "see requirements/weights.txt"
        ) from error


def build(name: str, state: Mapping[str, Any]) -> Any:
    """The network `name` of timm with these weights and without its classifier: (n, 3, h, w) to (n, width), not training.

    Raises EngineError ("weights_invalid"): timm does not know it or can't be used; weights of another network, also of a
    larger one that has all of this one's.
    """
    if not NAME.fullmatch(name):
        raise invalid_weights(f"“{name}” is no name of a network of timm")
    timm = _timm()
    if not timm.is_model(name):
        raise invalid_weights(f"timm {timm.__version__} knows no network “{name}”")
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0)
        classifier = model.default_cfg.get("classifier") or ()
        heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        found = model.load_state_dict(dict(state), strict=False)
        strangers = [
            key for key in found.unexpected_keys if not key.startswith(tuple(f"{head}." for head in heads))
        ]
        if found.missing_keys or strangers:
            raise invalid_weights(f"the file does not hold the weights of “{name}”, but of another network")
        return model.eval()
    except EngineError:
        raise
    except Exception as error:  # torch tells of wrong shapes by RuntimeError, timm's networks by many kinds
        raise invalid_weights(f"“{name}” can't be built with this file ({type(error).__name__})") from error
