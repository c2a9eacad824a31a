"""Which of two classes is the finding: sensitivity must never speak of the healthy without being told to."""

import numpy as np
import pandas as pd
import pytest

import engine
from engine.positive import default_positive


@pytest.mark.parametrize(
    ("classes", "counts", "finding"),
    [
        (("sick", "well"), (5, 5), "sick"),
        (("absent", "present"), (3, 9), "present"),
        (("benign", "malignant"), (3, 9), "malignant"),
        (("0", "1"), (1, 9), "1"),
        (("False", "True"), (1, 9), "True"),
        (("健康", "糖尿病"), (1, 9), "糖尿病"),
        (("阳性", "阴性"), (9, 1), "阳性"),
        (("alive", "gone"), (1, 9), "gone"),
        (("A", "B"), (1, 9), "A"),
        (("A", "B"), (9, 1), "B"),
        (("A", "B"), (5, 5), "B"),
    ],
)
def test_names_then_rarity_tell(classes: tuple[str, str], counts: tuple[int, int], finding: str) -> None:
    code = default_positive(np.array(classes, dtype=object), np.array(counts))
    assert classes[code] == finding


def frame_of() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    ill = rng.random(120) < 0.5
    return pd.DataFrame({"crp": rng.normal(5, 1, 120) + 3 * ill, "outcome": np.where(ill, "sick", "well")})


def test_a_fit_finds_the_sick_and_not_the_well() -> None:
    fitted = engine.fit(frame_of(), engine.Recipe(target="outcome", candidates=("linear",), time_budget=5))
    assert fitted.operating_point["positive"] == "sick"
    report = engine.evaluate(fitted, frame_of(), bootstrap=20).to_dict()
    counts = np.array(report["confusion"]["counts"])  # classes in order: sick, well
    assert report["metrics"]["sensitivity"]["value"] == pytest.approx(counts[0, 0] / counts[0].sum())


def test_the_recipe_has_the_last_word() -> None:
    recipe = engine.Recipe(target="outcome", candidates=("linear",), time_budget=5, positive="well")
    assert engine.fit(frame_of(), recipe).operating_point["positive"] == "well"
