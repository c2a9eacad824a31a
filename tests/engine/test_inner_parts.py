"""Parts that the whole relies on, each asked by itself: the guard's one exception, shares, ratios, questions of yes or no."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from engine import artefact_guard, suspicion
from engine.candidates.linear import LinearModel
from engine.errors import EngineError
from engine.pipelines import measuring
from engine.promises import share_of
from engine.tasks.reductions import Several


@pytest.mark.parametrize(
    ("code", "passed_over"), [("weights_missing", True), ("weights_invalid", False), ("schema_invalid", False)]
)
def test_only_missing_weights_excuse_a_model_from_being_tried_out(
    code: str, passed_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fitted: object) -> None:
        raise EngineError(code, "no")

    monkeypatch.setattr(artefact_guard, "_try_out", refuse)
    if passed_over:
        artefact_guard.try_out(object())
        return
    with pytest.raises(EngineError) as found:
        artefact_guard.try_out(object())
    assert found.value.code == code


def test_the_interval_of_a_share_resamples_patients_and_not_their_records() -> None:
    hits = np.repeat([1.0, 0.0], 200)
    alone = share_of(hits, np.arange(400), 500, 0)
    two = share_of(hits, np.repeat([0, 1], 200), 500, 0)
    assert alone["value"] == two["value"] == 0.5 and alone["n"] == 400
    assert alone["low"] == pytest.approx(0.45, abs=0.02) and alone["high"] == pytest.approx(0.55, abs=0.02)
    assert (two["low"], two["high"]) == (0.0, 1.0)  # two patients, alike in all that they have
    assert share_of(hits, np.arange(400), 0, 0)["low"] is None


def test_ratios_are_not_defined_where_there_is_nothing_to_divide_by() -> None:
    found = measuring.ratio(np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 0.0]))
    assert found[0] == 0.5 and np.isnan(found[1:]).all()


def test_groups_cover_every_row_once_and_name_the_column_that_is_missing() -> None:
    frame = pd.DataFrame({"site": ["a", "b", None, "a"]})
    found = measuring.grouped(frame, ["site"], lambda rows: {"rows": rows.tolist()})
    assert found == {"site": {"": {"rows": [2]}, "a": {"rows": [0, 3]}, "b": {"rows": [1]}}}
    with pytest.raises(EngineError) as refused:
        measuring.grouped(frame, ["ward"], lambda rows: {})
    assert refused.value.params == {"column": "ward"}


def test_a_question_learns_from_the_records_that_were_asked_and_one_answer_is_smoothed() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = np.column_stack([X[:, 0] > 0, np.ones(60)]).astype(float)
    y[40:, 0] = np.nan
    many = Several(base=LinearModel, hyperparameters={"C": 0.5}).fit(X, y)
    alone = LinearModel(C=0.5).fit(X[:40], y[:40, 0].astype(np.int64))
    assert np.array_equal(many.raw(X)[:, 0], alone.raw(X)[:, 1])
    assert np.allclose(many.raw(X)[:, 1], 61 / 62)  # Laplace: 60 of 60, and one more on either side


def test_suspicions_of_a_harmless_table_are_none() -> None:
    from engine.recipe import Recipe
    from engine.training_data import prepare

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200), "y": rng.choice(["s", "w"], 200)})
    recipe = Recipe(target="y")
    assert list(suspicion.suspicions(prepare(frame, recipe), recipe)) == []
    frame["copy"] = frame["y"]
    assert [s.column for s in suspicion.suspicions(prepare(frame, recipe), recipe)] == ["copy"]


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps, and gives back")
def test_the_heap_gives_back_what_came_and_went() -> None:
    """Blocks below the size that glibc maps by itself, with one that stays on top: the holes are given back, no more."""
    code = (
        "import psutil\n"
        "from engine.heap import give_back\n"
        "size = lambda: psutil.Process().memory_info().rss\n"
        "kept = [bytes(100_000) for _ in range(2_000)]\n"
        "top, kept = kept[-1], kept[:0]\n"
        "before = size(); give_back(); print((before - size()) // 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100


def test_twelve_bit_jpeg_has_our_decoder_once_however_often_it_is_registered() -> None:
    pytest.importorskip("gdcm")
    from pydicom import dcmread
    from pydicom.data import get_testdata_file
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    from engine import jpeg12

    jpeg12.register()
    jpeg12.register()
    decoder = get_decoder(UID(jpeg12.JPEG_EXTENDED))
    assert decoder.available_plugins.count(jpeg12.LABEL) == 1
    data = dcmread(str(get_testdata_file("JPEG-lossy.dcm")))
    pixels, _facts = decoder.as_array(data, decoding_plugin=jpeg12.LABEL)
    assert pixels.shape == (1024, 256) and 0 <= pixels.min() < pixels.max() < 4096
    assert not jpeg12.is_available("1.2.840.10008.1.2")
