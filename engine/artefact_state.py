"""What of a fitted model goes into the manifest and into arrays, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import pipelines, registry
from engine.artefact_guard import MOST_BACKGROUND
from engine.calibration import Calibrator
from engine.combining import Stack
from engine.encoding import Encoded, Encoder
from engine.errors import ArtefactError
from engine.fitted import Fitted, Member
from engine.novelty import Novelty
from engine.preprocessing.pipeline import Preprocessor
from engine.preprocessing.steps import Arrays
from engine.recipe import Recipe
from engine.schema import FILE_KINDS, Kind, Schema
from engine.tasks import special
from engine.tasks.models import build

NOT_KEPT = (Kind.TEXT, *FILE_KINDS)  # of these the background is empty cells
PLAIN = (
    "task",
    "metric",
    "candidate",
    "hyperparameters",
    "preprocessing",
    "operating_point",
    "validation",
    "training",
)
LATER = ("decision", "referral")  # as PLAIN, but models stored before they existed have none


def describe_fitted(fitted: Fitted) -> dict[str, Any]:
    """JSON: everything but numbers in bulk."""
    return {
        **{name: getattr(fitted, name) for name in (*PLAIN, *LATER)},
        "recipe": fitted.recipe.to_dict(), "schema": fitted.encoder.schema.to_dict(), "classes": fitted.classes_.tolist(),
        "settings": fitted.encoder.settings, "calibration": fitted.calibrator.method,
        "details": fitted.details,
        "members": [
            {"candidate": member.candidate, "hyperparameters": member.hyperparameters, "weight": member.weight,
             "choices": member.preprocessor.choices, "estimators": sorted(member.model.estimators())}
            for member in fitted.members
        ],
        **_own_state(fitted),
    }  # fmt: skip


def _own_state(fitted: Fitted) -> dict[str, Any]:
    from engine.pipelines.base import PipelineFitted

    return {"pipeline": fitted.state()} if isinstance(fitted, PipelineFitted) else {}


def state_arrays(fitted: Fitted) -> Arrays:
    """Calibration, novelty, prediction sets, and the background records that explanations start from.

    Background records are made up column by column and hold no free text (see Encoder.background).
    """
    arrays: Arrays = {"uncertainty": np.array([fitted.reach, fitted.spread])}
    arrays |= {f"calibration/{name}": array for name, array in fitted.calibrator.state.items()}
    arrays |= {f"novelty/{name}": array for name, array in fitted.novelty.arrays().items()}
    if fitted.stack is not None:
        arrays |= {f"stack/{name}": array for name, array in fitted.stack.arrays().items()}
    if fitted.reaches is not None:
        arrays["reaches"] = fitted.reaches
    if fitted.background is not None:
        arrays["background/n"] = np.array([fitted.background.n])
        for kind, block in fitted.background.blocks.items():
            if kind not in NOT_KEPT:
                arrays[f"background/{kind.value}"] = block
    own = getattr(fitted, "own_arrays", None)  # of a pipeline's model
    return arrays if own is None else arrays | {f"pipeline/{name}": array for name, array in own().items()}


def rebuild_fitted(
    model: Mapping[str, Any], files: Mapping[str, Arrays], estimators: Mapping[str, Any]
) -> Fitted:
    """The inverse of both; file names are those that `engine.artefact` gives."""
    recipe, schema = Recipe.from_dict(model["recipe"]), Schema.from_dict(model["schema"])
    encoder = Encoder(schema, model["settings"])
    state = files["state.safetensors"]
    pipeline = pipelines.of(model["task"])
    members = [
        _member(i, entry, model, encoder, recipe, files, estimators)
        for i, entry in enumerate(model["members"])
    ]
    own, details = special(model["task"]), dict(model.get("details", {}))
    make = Calibrator if own is None else own.calibrator
    reach, spread = (float(value) for value in state["uncertainty"])
    fitted = Fitted(
        recipe=recipe, schema=schema, classes_=np.array(model["classes"]), encoder=encoder, members=members,
        calibrator=make(model["calibration"], _under(state, "calibration/")), details=details,
        novelty=Novelty(encoder).restore(_under(state, "novelty/")), reach=reach, spread=spread,
        background=_background(encoder, _under(state, "background/")), reaches=state.get("reaches"),
        stack=_stack(_under(state, "stack/")),
        **{name: model[name] for name in PLAIN}, decision=model.get("decision"), referral=model.get("referral"),
    )  # fmt: skip
    return fitted if pipeline is None else pipeline.restore(fitted, model["pipeline"], _under(state, "pipeline/"))


def _stack(arrays: Arrays) -> Stack | None:
    return Stack(arrays["weights"], arrays["bias"]) if arrays else None


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _member(
    position: int,
    entry: Mapping[str, Any],
    whole: Mapping[str, Any],
    encoder: Encoder,
    recipe: Recipe,
    files: Mapping[str, Arrays],
    estimators: Mapping[str, Any],
) -> Member:
    arrays = files[f"member_{position}.safetensors"]
    candidate = registry.get(entry["candidate"])
    hyperparameters = registry.validate(candidate.name, entry["hyperparameters"])
    preprocessor = Preprocessor(encoder, entry["choices"], recipe.seed).restore(
        _under(arrays, "preprocessing/")
    )
    task = "regression" if pipelines.of(whole["task"]) else whole["task"]  # what the members of a forecast do
    model = build(candidate, task, recipe.seed, hyperparameters, whole.get("details", {}))
    own = {name: estimators[f"member_{position}_{name}.skops"] for name in entry["estimators"]}
    for name, estimator in own.items():
        if not type(estimator).__module__.startswith("sklearn."):
            raise ArtefactError("artefact_untrusted", f"The part “{name}” is no estimator.", {"part": name})
    model.restore(own, _under(arrays, "model/"))
    return Member(candidate.name, hyperparameters, preprocessor, model, float(entry["weight"]))


def _background(encoder: Encoder, arrays: Arrays) -> Encoded | None:
    if "n" not in arrays:
        return None
    n = int(arrays["n"][0])
    if not 0 < n <= MOST_BACKGROUND:
        raise ArtefactError("artefact_background", "The model's background records are none.", {"n": n})
    blocks: dict[Kind, Any] = {}
    for kind, specs in encoder.specs.items():
        if kind in NOT_KEPT:
            blocks[kind] = encoder.transformers[kind].background(
                None, np.zeros((n, len(specs)), dtype=np.int64)
            )
        else:
            blocks[kind] = arrays[kind.value]
            if blocks[kind].shape != (n, len(specs)):
                raise ArtefactError("artefact_background", "The model's background records are none.", {"n": n})
    return Encoded(n, blocks)
