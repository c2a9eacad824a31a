"""Reasons: they add up, find the planted cause, and are the same each time."""

import time

import numpy as np
import pytest

import engine
from engine.calibration import logit
from engine.combining import Stack


def total(reasons: engine.Reasons) -> float:
    return reasons.base + sum(item["contribution"] for item in reasons.contributions)


@pytest.mark.parametrize("name", ["linear", "boosting", "network", "ensemble"])
def test_reasons_add_up_to_the_score_of_the_model(name: str, fitted, patients) -> None:
    if name not in fitted:
        pytest.skip("one candidate had all the weight")
    model, records = fitted[name], patients.head(4).to_dict("records")
    scores = logit(model.raw(model.encoder.from_records(records))[:, 1])
    found = engine.explain(model, records)
    assert [total(reasons) for reasons in found] == pytest.approx(scores.tolist(), abs=1e-9)
    assert len({reasons.base for reasons in found}) == 1
    assert found == engine.explain(model, patients.head(4))


@pytest.mark.parametrize("name", ["linear", "boosting", "network"])
def test_the_planted_cause_is_found(name: str, fitted) -> None:
    records = [
        {"age": 55, "pressure": pressure, "smoker": "never", "seen": "2024-06-01"} for pressure in (165, 95)
    ]
    high, low = engine.explain(fitted[name], records)
    assert high.contributions[0]["column"] == low.contributions[0]["column"] == "pressure"
    assert (high.contributions[0]["direction"], low.contributions[0]["direction"]) == ("for", "against")
    assert (high.explained, high.unit, high.contributions[0]["value"]) == ("yes", "log odds", 165)


def test_linear_reasons_are_coefficient_times_difference_from_the_mean(amounts) -> None:
    frame, models = amounts
    model = models["linear"]
    member = model.members[0]
    x = member.preprocessor.transform(model.encoder.from_frame(frame.head(1)))[0]
    mean = member.preprocessor.transform(model.background).mean(axis=0)
    expected: dict[str, float] = dict.fromkeys(model.encoder.names, 0.0)
    for feature, origin in enumerate(member.preprocessor.origins):
        expected[model.encoder.names[origin]] += member.model._coef[0, feature] * (x[feature] - mean[feature])
    (reasons,) = engine.explain(model, frame.head(1))
    assert {i["column"]: i["contribution"] for i in reasons.contributions} == pytest.approx(
        expected, abs=1e-9
    )
    assert total(reasons) == pytest.approx(model.predict(frame.head(1)).value[0], abs=1e-9)


def stacked(parts: list[engine.Fitted], weights: list[float], bias: list[float]) -> engine.Fitted:
    members = [part.members[0] for part in parts]
    return engine.Fitted(**{**vars(parts[0]), "members": members, "stack": Stack(np.array(weights), np.array(bias))})


def test_a_stack_of_numbers_adds_up_with_its_constant(amounts) -> None:
    frame, models = amounts
    model = stacked([models["linear"], models["boosting"]], [0.7, 0.4], [-12.5])
    found = engine.explain(model, frame.head(3))
    assert [total(reasons) for reasons in found] == pytest.approx(model.predict(frame.head(3)).value.tolist(), abs=1e-6)
    alone = [engine.explain(part, frame.head(1))[0] for part in (models["linear"], models["boosting"])]
    linear, boosting = ({c["column"]: c["contribution"] for c in reasons.contributions} for reasons in alone)
    expected = {column: 0.7 * linear[column] + 0.4 * boosting[column] for column in linear}
    assert {c["column"]: c["contribution"] for c in found[0].contributions} == pytest.approx(expected, abs=1e-9)


def test_several_classes_explain_the_decided_one(three) -> None:
    frame, models = three
    for model in models.values():
        (reasons,) = engine.explain(model, frame.tail(1))
        assert reasons.explained == model.predict(frame.tail(1)).value[0] == "virginica"
        assert total(reasons) == pytest.approx(reasons.score)
        assert reasons.contributions[0]["column"].startswith("petal")


def test_one_row_is_explained_quickly(fitted, patients) -> None:
    record = patients.head(1).to_dict("records")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        engine.explain(fitted["boosting"], record)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.05


def test_background_records_are_nobodys(fitted, patients) -> None:
    from engine import Kind

    made_up = fitted["linear"].background.blocks[Kind.NUMBER]
    real = fitted["linear"].encoder.from_frame(patients).blocks[Kind.NUMBER]
    pairs = {tuple(row) for row in real[~np.isnan(real).any(axis=1)].tolist()}
    assert not pairs & {tuple(row) for row in made_up.tolist()}
