"""scikit-learn 1.9's own checks of an estimator, over the registry: every model of a matrix, as a classifier and as a regressor.

`Model.__sklearn_tags__` says which of both it is, so the checks of that kind run too. What fails is named below with the
reason and for whom; a check that is named and passes fails here as well, so the list can't outlive its reasons.
"""

from collections import Counter

import pytest
from sklearn.utils.estimator_checks import check_estimator

from engine import registry
from tests.engine import tiny

PAIRS = [(name, task) for name, task in tiny.PAIRS if task in ("classification", "regression")]
EVERY = "linear additive baseline boosting forest fusion network"
# Cells are read, checked and turned into finite float64 matrices once, by the engine's Encoder and Preprocessor; a model
# that looked at them again would make one row slower. So scikit-learn's checks of unclean input do not apply to models:
CELLS = "cells become finite numbers in the Encoder and the Preprocessor; missing ones are filled unless the model keeps them"
WIDTH = "the width is the Preprocessor's, and checked when an artefact is loaded"
SPARSE = "`wants_dense` says it, and the Preprocessor obeys"
MATRIX = "a matrix is made by the Preprocessor, of as many rows as there are labels"
CODES = "labels are codes 0..k-1 or finite numbers, made from the target's cells by engine.training_data"
EXPECTED: dict[str, tuple[str, str]] = {  # check → (reason, candidates, or candidate-task)
    "check_array_api_input": ("asked for by an environment variable only", EVERY),
    "check_estimators_unfitted": ("a model is only ever handed out fitted", EVERY),
    "check_n_features_in": (WIDTH, EVERY),
    "check_n_features_in_after_fitting": (WIDTH, EVERY),
    "check_fit1d": (MATRIX, "additive baseline fusion network"),
    "check_fit2d_predict1d": (MATRIX, EVERY),
    "check_complex_data": (CELLS, "baseline fusion network"),
    "check_dtype_object": (CELLS, "linear-classification baseline boosting"),
    "check_estimators_nan_inf": (CELLS, "linear additive baseline forest fusion network"),
    "check_classifier_data_not_an_array": (MATRIX, "baseline boosting forest fusion network"),
    "check_regressor_data_not_an_array": (MATRIX, "baseline boosting forest fusion network"),
    "check_estimators_empty_data_messages": ("too few records are refused by engine.check", "additive baseline fusion network"),
    "check_estimator_sparse_tag": (SPARSE, "additive forest fusion network"),
    "check_estimator_sparse_array": (SPARSE, "additive forest fusion network"),
    "check_estimator_sparse_matrix": (SPARSE, "additive forest fusion network"),
    # what is asserted first of several things: that rows and labels are as many (baseline, networks) or the width (trees)
    "check_classifiers_train": (f"{MATRIX}; {WIDTH}", "baseline boosting forest fusion network"),
    "check_regressors_train": (MATRIX, "baseline fusion network"),
    "check_classifiers_classes": (f"{CODES}, never texts", EVERY),
    "check_classifiers_regression_target": (CODES, "baseline fusion network"),
    "check_classifiers_one_label": ("a target of one class is refused by engine.check", "forest network"),
    "check_requires_y_none": (CODES, "baseline forest fusion network"),
    "check_supervised_y_2d": (CODES, "linear-regression additive-regression baseline fusion network"),
    "check_supervised_y_no_nan": (CODES, "baseline-regression fusion network"),
    "check_class_weight_classifiers": ("it is “none” or “balanced”, never a dictionary", "linear additive boosting forest"),
    "check_non_transformer_estimators_n_iter": ("the estimator inside keeps its n_iter_", "linear additive boosting"),
}  # fmt: skip
FEWEST = {"classification": 33, "regression": 33}  # checks that every candidate passes


def expected_of(name: str, task: str) -> dict[str, str]:
    """check → reason, of what fails for this candidate and task if it is run at all."""
    return {
        check: reason
        for check, (reason, who) in EXPECTED.items()
        if {name, f"{name}-{task}"} & set(who.split())
    }


@pytest.mark.slow  # fifty checks of scikit-learn, with several fits each
@pytest.mark.filterwarnings("ignore")  # scikit-learn's checks feed odd data on purpose
@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_scikit_learns_own_checks(name: str, task: str) -> None:
    model = registry.get(name).model(task=task, **tiny.quick(name))
    results = check_estimator(model, on_fail=None, on_skip=None)
    expected, ran = expected_of(name, task), {r["check_name"] for r in results}
    failed = {
        r["check_name"]: str(r["exception"])[:300] for r in results if r["status"] in ("failed", "skipped")
    }
    assert {check: why for check, why in failed.items() if check not in expected} == {}
    assert sorted((set(expected) & ran) - set(failed)) == [], "named without need"
    assert {
        f"check_{kind}s_train" for kind in ("classifier", "regressor") if kind[:5] == task[:5]
    } <= ran | set(failed)
    assert Counter(r["status"] for r in results)["passed"] >= FEWEST[task]


def test_what_is_named_is_known_and_has_its_reason() -> None:
    """All candidates with a model of their own are run, and nobody else is named."""
    own = {c.name for c in registry.CANDIDATES.values() if not c.combines}
    assert {name for name, _ in PAIRS} == own == set(EVERY.split())
    for check, (reason, who) in EXPECTED.items():
        assert check.startswith("check_") and reason and {w.split("-")[0] for w in who.split()} <= own
