"""Which of two classes is the finding: the one that sensitivity, precision and the operating point speak of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError

if TYPE_CHECKING:  # which knows the tasks, and these the classes
    from engine.recipe import Recipe
    from engine.training_data import TrainingData

# Words by which tables name the finding and its absence, in English and Chinese; compared without case and blanks.
FINDING = frozenset(
    [
        "yes",
        "true",
        "1",
        "positive",
        "pos",
        "present",
        "disease",
        "diseased",
        "sick",
        "ill",
        "abnormal",
        "malignant",
        "case",
        "event",
        "dead",
        "died",
        "death",
        "relapse",
        "阳性",
        "是",
        "有",
        "患病",
        "异常",
        "恶性",
        "死亡",
        "复发",
        "存在",
    ]
)
ABSENCE = frozenset(
    [
        "no",
        "false",
        "0",
        "negative",
        "neg",
        "absent",
        "healthy",
        "health",
        "well",
        "normal",
        "control",
        "benign",
        "none",
        "alive",
        "survived",
        "survival",
        "free",
        "阴性",
        "否",
        "无",
        "健康",
        "正常",
        "良性",
        "对照",
        "存活",
        "生存",
        "不存在",
        "未见",
    ]
)


def plain(name: object) -> str:
    """A class's name as it is compared: "1.0" and "1" are the same."""
    text = str(name).strip().casefold()
    return text.removesuffix(".0")


def default_positive(classes: NDArray[np.object_], counts: NDArray[np.int64]) -> int:
    """The code (0 or 1) of the finding among two classes.

    `classes`: (2,) names; `counts`: (2,) records of each. The class that is called a finding, or whose other is called an
    absence, is it; where the names don't tell, it is the rarer one, and of two equal ones the second.
    """
    names = [plain(name) for name in classes]
    for words, code_of in ((FINDING, lambda i: i), (ABSENCE, lambda i: 1 - i)):
        named = [i for i, name in enumerate(names) if name in words]
        if len(named) == 1:
            return int(code_of(named[0]))
    return 0 if counts[0] < counts[1] else 1


def positive_code(data: TrainingData, recipe: Recipe) -> int:
    """The code of the positive class: the recipe's, else the one that its name or its rarity tells (two classes)."""
    if not data.classify or (recipe.positive is None and len(data.classes) != 2):
        return 1
    if recipe.positive is None:
        return default_positive(data.classes, np.bincount(data.y.astype(np.int64), minlength=2))
    found = np.flatnonzero(data.classes == recipe.positive)
    if not len(found):
        raise EngineError(
            "positive_unknown",
            f"“{recipe.positive}” is no class of “{recipe.target}”.",
            {"positive": recipe.positive, "column": recipe.target},
        )
    return int(found[0])
