"""What the engine says in plain English, in the person's language: its constant sentences, and those with numbers."""

import re
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

CANDIDATES: dict[str, str] = {
    "additive": _("Additive model"),
    "baseline": _("Baseline"),
    "boosting": _("Boosted trees"),
    "ensemble": _("Ensemble"),
    "forest": _("Randomised trees"),
    "fusion": _("Fusion network"),
    "linear": _("Linear model"),
    "network": _("Neural network"),
}
HYPERPARAMETERS: dict[str, str] = {
    "C": _("freedom (C)"),
    "learning_rate": _("learning rate"),
    "max_iter": _("max iter"),
    "max_leaf_nodes": _("max leaf nodes"),
    "max_depth": _("max depth"),
    "min_samples_leaf": _("min samples leaf"),
    "l2_regularization": _("l2 regularization"),
    "max_features": _("max features"),
    "class_weight": _("class weight"),
    "rounds": _("rounds"),
    "hidden_layers": _("hidden layers"),
    "nodes": _("nodes"),
    "activation": _("activation"),
    "dropout": _("dropout"),
    "weight_decay": _("weight decay"),
    "batch_size": _("batch size"),
    "epochs": _("epochs"),
    "patience": _("patience"),
    "width": _("width"),
    "augmentation": _("augmentation"),
    "allow_flip": _("allow mirroring"),
    "networks": _("networks"),
    "trees": _("trees"),
    "knots": _("knots"),
    "l1_ratio": _("lasso share"),
}
SENTENCES: frozenset[str] = frozenset(
    (
        # what the candidates are
        _("The share of each class (or the mean) for everyone; only there to be compared with."),
        _(
            "Many small decision trees, each correcting the ones before it: finds thresholds and interactions."
        ),
        _("A weighted mean of the other candidates, each counted by what it adds on validation data."),
        _(
            "Logistic regression (classes) or ridge regression (numbers): quick, steady and exactly explained."
        ),
        _("Layers of artificial neurons: learns smooth combinations of all columns."),
        _(
            "One network for files and table together: it looks at each picture, volume, video or signal itself "
            "and learns how much each of them counts."
        ),
        # what their hyperparameters mean
        _("Length of the vector that each file and the table become."),
        _("How strongly files are changed at random while learning; 0 is not at all."),
        _(
            "Whether files may be mirrored while learning. Leave it off where left and right matter, as in a chest film."
        ),
        _(
            "Many trees with random thresholds, averaged: steady on small tables and a good partner of linear models."
        ),
        _("A linear model in which each number may act along a smooth curve instead of a straight line."),
        # what their hyperparameters mean
        _("Number of trees."),
        _("Points at which each curve may bend."),
        _("Share of the penalty that sets weak coefficients to zero (lasso)."),
        _("Networks that are trained from different seeds and averaged."),
        _("How much each tree may correct."),
        _("Number of rounds (trees per class)."),
        _("Largest number of leaves of a tree."),
        _("Largest depth of a tree; 0 is unlimited."),
        _("Fewest records in a leaf."),
        _("Penalty on large corrections."),
        _("Share of the features that each split may look at."),
        _("“balanced” counts rare classes as much as common ones."),
        _("How often a member is added; more rounds give finer weights."),
        _("Freedom of the model: the inverse of the L2 penalty. Smaller is simpler."),
        _("At most this many steps of the optimiser."),
        _("Number of hidden layers; 0 is a linear model."),
        _("Nodes of each hidden layer."),
        _("What each node does with its input."),
        _("Size of a learning step."),
        _("Share of nodes switched off at each step."),
        _("Penalty on large weights."),
        _("Records per step."),
        _("At most this many passes over the training data."),
        _("Stop after so many epochs without a better validation loss."),
        # why a candidate was not used
        _("would take longer than the time budget allows"),
        _("the time budget was used up"),
        _("there is no number that a curve could be drawn for"),
        _("one candidate alone does as well"),
        _("not better than the best single candidate beyond chance"),
        _("not better than the linear model beyond chance"),
        _("not better than the ensemble beyond chance"),
        _("as good as the ensemble within chance: ask for it alone to have a plainer model"),
        # why a metric is undefined
        _("the target does not vary in these records"),
        _("only one class occurs in these records"),
        _("no record was decided positive"),
        _("not defined for these records"),
        # why an option of a recipe is wrong, and what it should be
        _("is required"),
        _("must name a column"),
        _("must be a number of seconds"),
        _("must lie between 0 and 604800 seconds"),
        _("must be a whole number from 0 to 4294967295"),
        _("true or false"),
        _("list of texts"),
        # codes that stand within a sentence
        _("classification"),
        _("regression"),
        _("number"),
        _("category"),
        _("text"),
        _("image"),
        _("volume"),
        _("video"),
        _("signal"),
        _("date"),
        _("object"),
    )
)
PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"cannot do (?P<task>\w+)"), _("cannot do %(task)s")),
    (re.compile(r"fewer than (?P<count>\d+) labelled records"), _("fewer than %(count)s labelled records")),
    (
        re.compile(r"stopped after (?P<done>\d+) of (?P<all>\d+) trials: the time budget was used up"),
        _("stopped after %(done)s of %(all)s trials: the time budget was used up"),
    ),
    (re.compile(r"one of (?P<choices>.+)"), _("one of %(choices)s")),
    (
        re.compile(r"a whole number from (?P<low>\S+) to (?P<high>\S+)"),
        _("a whole number from %(low)s to %(high)s"),
    ),
    (re.compile(r"a number from (?P<low>\S+) to (?P<high>\S+)"), _("a number from %(low)s to %(high)s")),
    (re.compile(r"must be one of (?P<choices>.+)"), _("must be one of %(choices)s")),
    (re.compile(r"must be auto or one of (?P<choices>.+)"), _("must be auto or one of %(choices)s")),
    (
        re.compile(r"gives “(?P<column>.*)” the unknown kind “(?P<kind>.*)”"),
        _("gives “%(column)s” the unknown kind “%(kind)s”"),
    ),
)
WORDED = (
    "limits",
    "why",
    "wanted",
    "kind",
    "task",
)  # params of the engine's problems that are English themselves


def said(text: str) -> str:
    """The engine's sentence in the person's language; as it is when it is not known here."""
    if text in SENTENCES:
        return gettext(text)
    for pattern, template in PATTERNS:
        if found := pattern.fullmatch(text):
            parts = {
                name: gettext(part) if name == "task" else part for name, part in found.groupdict().items()
            }
            return gettext(template) % parts
    return text


def candidate(name: str) -> str:
    """A candidate's name as people read it; the name itself when nobody knows it any more."""
    return gettext(CANDIDATES[name]) if name in CANDIDATES else name


def hyperparameter(name: str) -> str:
    """A hyperparameter's name as people read it."""
    return gettext(HYPERPARAMETERS[name]) if name in HYPERPARAMETERS else name.replace("_", " ")


def params(values: dict[str, Any]) -> dict[str, Any]:
    """A problem's params, with those that are the engine's words translated."""
    return {k: said(v) if k in WORDED and isinstance(v, str) else v for k, v in values.items()}
