"""Recipe and registry: defaults, JSON, and refusals that name what is wrong."""

import json

import pytest

from engine import EngineError, Recipe, registry


def test_a_target_alone_is_a_recipe() -> None:
    assert Recipe(target="y").time_budget == 60.0


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(target="y", patient="p", columns={"a": "text"}, ignore=("b",), candidates=("linear",),
                    hyperparameters={"linear": {"C": 2.0}}, positive="1", metric="f1")  # fmt: skip
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(EngineError, match="colour") as caught:
        Recipe.from_dict({"target": "y", "colour": "blue"})
    assert caught.value.params == {"key": "colour"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scaling": "huge"}, "scaling"), ({"imputation": "native"}, "imputation"), ({"task": "poetry"}, "task"),
        ({"time_budget": 0}, "time_budget"), ({"time_budget": "9"}, "time_budget"), ({"seed": -1}, "seed"),
        ({"metric": "beauty"}, "metric"), ({"columns": {"a": "colour"}}, "colour"), ({"candidates": ("magic",)}, "magic"),
        ({"target": ""}, "target"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(change, named: str) -> None:
    with pytest.raises(EngineError, match=named):
        Recipe(**{"target": "y", **change})


def test_describe_gives_every_hyperparameter_with_default_meaning_and_limits() -> None:
    described = {entry["name"]: entry for entry in json.loads(json.dumps(registry.describe()))}
    assert set(described) == {"additive", "baseline", "boosting", "ensemble", "forest", "fusion", "linear", "network"}
    network = {h["name"] for h in described["network"]["hyperparameters"]}
    assert network == {"hidden_layers", "nodes", "activation", "learning_rate", "dropout", "weight_decay", "batch_size",
                       "epochs", "patience", "networks"}  # fmt: skip
    for entry in described.values():
        for h in entry["hyperparameters"]:
            assert h["meaning"]
            assert registry.validate(entry["name"], {h["name"]: h["default"]}) == {h["name"]: h["default"]}
            assert h["choices"] or h["low"] < h["high"]


@pytest.mark.parametrize("name", ["additive", "baseline", "boosting", "ensemble", "forest", "linear", "network"])
def test_described_defaults_are_those_of_the_model(name: str) -> None:
    assert registry.get(name).defaults().items() <= registry.get(name).model().get_params().items()


@pytest.mark.parametrize(
    ("candidate", "values", "named"),
    [
        ("network", {"nodes": 0}, "a whole number from 1 to 2048"), ("network", {"nodes": 1.5}, "nodes"),
        ("network", {"activation": "maxout"}, "one of relu"), ("linear", {"C": float("nan")}, "C"),
        ("boosting", {"max_iter": True}, "max_iter"), ("boosting", {"eta": 0.1}, "eta"),
    ],
)  # fmt: skip
def test_a_hyperparameter_outside_its_limits_is_named(candidate: str, values, named: str) -> None:
    with pytest.raises(EngineError, match=named) as caught:
        Recipe(target="y", hyperparameters={candidate: values})
    assert caught.value.params["candidate"] == candidate
