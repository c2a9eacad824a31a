"""Reasons inside files: where the true cause was planted, the reason must find it."""

import time
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

import engine
from engine.fitted import Member
from engine.preprocessing.pipeline import Preprocessor
from engine.regions import Region, Regions

N = 60
SICK = np.arange(N) % 2 == 1


def frame(kind: str, cells: list[np.ndarray]) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    column = pd.Series([None if k in (4, 5) else cell for k, cell in enumerate(cells)], dtype=object)
    return pd.DataFrame({"age": rng.normal(60, 9, len(cells)), kind: column, "y": np.where(SICK, "sick", "well")})


def images(rng: np.random.Generator) -> list[np.ndarray]:
    """The sick have a bright square below on the left: rows 44 to 56, columns 8 to 20 of 64."""
    made = []
    for sick in SICK:
        picture = rng.normal(90, 15, (64, 64))
        if sick:
            picture[44:56, 8:20] += 90
        made.append(picture.clip(0, 255).astype(np.uint8))
    return made


def volumes(rng: np.random.Generator) -> list[np.ndarray]:
    """Bodies of different sizes and brightness; the sick have a bright block in slices 18 to 24, rows and columns 6 to 12
    of 30. An array is (slices, rows, columns) as they lie on a screen; regions run to the right, the front and the top.
    """
    made = []
    grid = np.stack(np.meshgrid(*[np.arange(30)] * 3, indexing="ij"))
    for sick in SICK:
        centre, radius = rng.uniform(13, 16, (3, 1, 1, 1)), rng.uniform(10, 14, (3, 1, 1, 1))
        body = (((grid - centre) / radius) ** 2).sum(axis=0) < 1.3
        scan = rng.normal(100, 15, (30, 30, 30)) + body * rng.uniform(40, 90)
        scan += rng.uniform(0, 30) * np.sin(grid[int(rng.integers(3))] / rng.uniform(2, 5))
        if sick:
            scan[18:24, 6:12, 6:12] += 200
        made.append(scan.astype(np.float32))
    return made


def signals(rng: np.random.Generator) -> list[np.ndarray]:
    """The sick have a burst of 12 Hz from second 6.0 to 7.0 of 10."""
    t = np.arange(1000) / 100.0
    made = []
    for sick in SICK:
        wave = np.sin(2 * np.pi * 1.1 * t + rng.uniform(0, 6)) + rng.normal(0, 0.3, 1000)
        if sick:
            wave[600:700] += 3 * np.sin(2 * np.pi * 12 * t[600:700])
        made.append(wave)
    return made


def clips(rng: np.random.Generator) -> list[np.ndarray]:
    """The sick have a bright object above on the right (rows 4 to 20, columns 44 to 60 of 64) in frames 20 to 27 of 40,
    25 frames a second: from second 0.8 to 1.12 of 1.6."""
    made = []
    for sick in SICK:
        frames = np.full((40, 64, 64), 80.0) + rng.normal(0, 4, (40, 64, 64))
        if sick:
            frames[20:28, 4:20, 44:60] += 130
        made.append(frames.clip(0, 255).astype(np.uint8))
    return made


MAKERS = {"image": images, "volume": volumes, "signal": signals, "video": clips}


@cache
def fitted_on(kind: str, candidate: str) -> tuple[engine.Fitted, pd.DataFrame]:
    data = frame(kind, MAKERS[kind](np.random.default_rng(0)))
    recipe = engine.Recipe(
        target="y", columns={kind: kind}, rates={kind: 100.0} if kind == "signal" else {}, candidates=(candidate,),
        time_budget=3.0,
    )  # fmt: skip
    return engine.fit(data, recipe), data


def with_network(kind: str, **hyperparameters: object) -> tuple[engine.Fitted, pd.DataFrame]:
    """The linear model with a fusion network in its place, trained once instead of on every fold.

    The file's cheap features are taken from it: it has to look itself.
    """
    model, data = fitted_on(kind, "linear")
    encoded = model.encoder.from_frame(data)
    choices = {**model.members[0].preprocessor.choices, "text": "dense", "tensors": "yes"}
    y, nobody = SICK.astype(np.int64), np.arange(len(data))
    preprocessor = Preprocessor(model.encoder, choices).fit(encoded, y.astype(float), nobody, True)
    for learned in preprocessor.transformers[engine.Kind(kind)].columns:
        learned["span"][:] = np.inf
    spec = engine.registry.get("fusion")
    network = spec.model(task="classification", seed=0, **hyperparameters)
    network.fit(preprocessor.transform(encoded), y, patients=nobody)
    member = Member("fusion", {**spec.defaults(), **hyperparameters}, preprocessor, network)
    return replace(model, members=[member]), data


def check(reasons: engine.Reasons, kind: str, method: str) -> Region:
    """What holds for every kind; gives the most telling region."""
    found = reasons.regions[kind]
    assert isinstance(found, Regions) and (found.kind, found.method) == (kind, method)
    assert reasons.contributions[0]["column"] == kind and reasons.explained == "sick"
    assert all(len(region.ranges) == len(found.axes) for region in found.regions)
    return found.regions[0]


def test_a_pictures_reason_is_where_the_square_is() -> None:
    model, data = fitted_on("image", "linear")
    (reasons,) = engine.explain(model, data.iloc[[1]])
    best = check(reasons, "image", "occlusion")
    assert best.contribution > 0
    inside = [r for r in reasons.regions["image"].regions if _in_square(r)]
    assert _in_square(best) and sum(r.contribution for r in inside) > 0.5 * sum(
        abs(r.contribution) for r in reasons.regions["image"].regions
    )
    assert engine.explain(model, data.iloc[[1]]) == [reasons]
    (missing,) = engine.explain(model, data.iloc[[4]])
    assert missing.regions == {}


def _in_square(region: Region, slack: float = 0.0) -> bool:
    (top, bottom), (left, right) = region.ranges
    return bottom > 44 / 64 - slack and top < 56 / 64 + slack and right > 8 / 64 - slack and left < 20 / 64 + slack


def test_a_volumes_reason_is_where_the_block_is() -> None:
    model, data = fitted_on("volume", "linear")
    (reasons,) = engine.explain(model, data.iloc[[1]])
    best = check(reasons, "volume", "occlusion")
    spans = ((18, 24), (18, 24), (18, 24))
    assert all(b > low / 30 and a < high / 30 for (a, b), (low, high) in zip(best.ranges, spans, strict=True))


def test_a_signals_reason_is_the_stretch_of_the_burst() -> None:
    model, data = fitted_on("signal", "linear")
    (reasons,) = engine.explain(model, data.iloc[[1]])
    best = check(reasons, "signal", "occlusion")
    found = reasons.regions["signal"]
    assert found.axes == ("seconds",) and len(found.regions) == 20
    assert {r.ranges[0] for r in found.regions[:2]} == {(6.0, 6.5), (6.5, 7.0)}
    assert best.contribution > 0
    assert sum(r.ranges[0][1] - r.ranges[0][0] for r in found.regions) == pytest.approx(10.0)


def test_a_clips_reason_is_the_moment_and_the_place_of_the_object() -> None:
    model, data = fitted_on("video", "linear")
    (reasons,) = engine.explain(model, data.iloc[[1]])
    check(reasons, "video", "occlusion")
    regions = reasons.regions["video"].regions
    moments = [r for r in regions if r.ranges[1] == r.ranges[2] == (0.0, 1.0)]
    parts = [r for r in regions if r not in moments]
    start, end = moments[0].ranges[0]
    assert start < 1.12 and end > 0.8 and moments[0].contribution > 0
    (start, end), (top, _), (left, right) = parts[0].ranges
    assert start < 1.12 and end > 0.8 and top < 20 / 64 and left < 60 / 64 and right > 44 / 64


def test_any_model_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    model, data = fitted_on("signal", "boosting")
    began = time.perf_counter()
    (reasons,) = engine.explain(model, data.iloc[[1]])
    assert reasons.regions["signal"].method == "occlusion"
    best = reasons.regions["signal"].regions[0]
    assert best.ranges[0] in {(6.0, 6.5), (6.5, 7.0)}
    assert time.perf_counter() - began < 10


@pytest.mark.slow  # trains networks, each for some seconds
@pytest.mark.parametrize("kind", MAKERS)
def test_the_network_looked_where_the_cause_was_planted(kind: str, tmp_path) -> None:
    model, data = with_network(kind, epochs=10, patience=10, learning_rate=0.004, batch_size=8, augmentation=0.2)
    record = data.iloc[[1]]
    (reasons,) = engine.explain(model, record)
    best = check(reasons, kind, "grad-cam")
    assert best.contribution == pytest.approx(1.0)
    assert _on_cause(kind, best), best
    again = engine.load(engine.save(model, tmp_path / "m"))
    assert engine.explain(again, record) == [reasons]


def _on_cause(kind: str, region: Region) -> bool:
    """Within one cell of the map: its cells see more than themselves."""
    if kind == "image":
        return _in_square(region, 1 / 8)
    if kind == "signal":
        return region.ranges[0][1] > 5.7 and region.ranges[0][0] < 7.3
    if kind == "volume":
        spans = ((18, 24), (18, 24), (18, 24))
        return all(
            b > lo / 30 - 0.25 and a < hi / 30 + 0.25 for (a, b), (lo, hi) in zip(region.ranges, spans, strict=True)
        )
    (start, end), (top, _), (_, right) = region.ranges
    return start < 1.12 and end > 0.8 and top < 0.5 and right > 0.5


def test_regions_are_plain_data() -> None:
    import json

    found = Regions("signal", "occlusion", ("seconds",), [Region(((0.0, 1.0),), 0.5)])
    assert json.loads(json.dumps(found.to_dict())) == {
        "kind": "signal", "method": "occlusion", "axes": ["seconds"],
        "regions": [{"ranges": [[0.0, 1.0]], "contribution": 0.5}],
    }  # fmt: skip
