"""What of a fitted model goes into the manifest and into arrays, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import pipelines, registry
from engine.calibration import Calibrator
from engine.encoding import Encoded, Encoder
from engine.errors import ArtefactError
from engine.fitted import Fitted, Member
from engine.novelty import Novelty
from engine.preprocessing.pipeline import Preprocessor
from engine.preprocessing.steps import Arrays
from engine.recipe import Recipe
from engine.schema import Kind, Schema

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


def describe_fitted(fitted: Fitted) -> dict[str, Any]:
    """JSON: everything but numbers in bulk."""
    return {
        **{name: getattr(fitted, name) for name in PLAIN},
        "recipe": fitted.recipe.to_dict(), "schema": fitted.encoder.schema.to_dict(), "classes": fitted.classes_.tolist(),
        "settings": fitted.encoder.settings, "calibration": fitted.calibrator.method,
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
    if fitted.background is not None:
        arrays["background/n"] = np.array([fitted.background.n])
        for kind, block in fitted.background.blocks.items():
            if kind is not Kind.TEXT:
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
    own = pipelines.of(model["task"])
    task = model["task"] if own is None else "regression"  # what the members of a forecast do
    members = [
        _member(i, entry, task, encoder, recipe, files, estimators)
        for i, entry in enumerate(model["members"])
    ]
    reach, spread = (float(value) for value in state["uncertainty"])
    fitted = Fitted(
        recipe=recipe, schema=schema, classes_=np.array(model["classes"]), encoder=encoder, members=members,
        calibrator=Calibrator(model["calibration"], _under(state, "calibration/")),
        novelty=Novelty(encoder).restore(_under(state, "novelty/")), reach=reach, spread=spread,
        background=_background(encoder, _under(state, "background/")), **{name: model[name] for name in PLAIN},
    )  # fmt: skip
    return fitted if own is None else own.restore(fitted, model["pipeline"], _under(state, "pipeline/"))


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _member(
    position: int,
    entry: Mapping[str, Any],
    task: str,
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
    model = candidate.model(task=task, seed=recipe.seed, **hyperparameters)
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
    blocks: dict[Kind, Any] = {}
    for kind, specs in encoder.specs.items():
        if kind is Kind.TEXT:
            blocks[kind] = encoder.transformers[kind].background(
                None, np.zeros((n, len(specs)), dtype=np.int64)
            )
        else:
            blocks[kind] = arrays[kind.value]
    return Encoded(n, blocks)
