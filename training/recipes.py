"""From what a person chose (or did not) to a whole recipe."""

from collections.abc import Iterable
from typing import Any

from datasets.models import Column, Dataset, Kind, Role, Upload
from datasets.records import FILE_KINDS
from training import problems
from training.errors import RunRefused
from training.models import Model
from training.options import TASKS

# Seconds that a training may take for each file of a column, beside its usual time: decoding and looking at it.
SECONDS: dict[str, float] = {Kind.IMAGE: 0.1, Kind.SIGNAL: 0.05, Kind.VOLUME: 0.5, Kind.VIDEO: 1.0}
USUAL, LONGEST = 60.0, 4 * 3600.0

# What a person may set; columns, target and patient follow from the data set's columns.
OPTIONS = (
    "task", "positive", "scaling", "normalisation", "imputation", "outliers", "feature_selection", "candidates",
    "hyperparameters", "metric", "time_budget", "seed", "allow_leaks", "ignore", "profile",
)  # fmt: skip
MAX_BUDGET = 12 * 3600.0


def target_of(dataset: Dataset, target: str | None) -> str:
    """The column to learn: the one asked for, else the data set's own."""
    columns = {c.name: c for c in dataset.columns.all()}
    if target is not None:
        if target not in columns:
            raise RunRefused([problems.make("column_missing", column=target)])
        return target
    found = next((c.name for c in columns.values() if c.role == Role.TARGET), None)
    if found is None:
        raise RunRefused([problems.make("no_target")])
    return str(found)


def resolve(dataset: Dataset, target: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """The recipe as JSON. Raises RunRefused naming each option that is wrong and its limits."""
    import engine

    name = target_of(dataset, target)
    unknown = [key for key in options if key not in OPTIONS]
    if unknown:
        raise RunRefused([problems.make("recipe_unknown_key", column=key, key=key) for key in unknown])
    columns = list(dataset.columns.all())
    given = {k: v for k, v in options.items() if k != "profile"}
    found = [*_wrong_types(options), *_wrong_task(options), *_wrong_ignore(given, columns, name)]
    if found:
        raise RunRefused(found)
    own = _from_columns(columns, name) | {"keep_words": _kept_words(dataset)}
    try:
        recipe = engine.Recipe.from_dict(own | _merged(given, columns, name))
    except engine.EngineError as error:
        raise RunRefused([problems.from_error(error)]) from None
    made = recipe.to_dict()
    if "time_budget" not in options and columns_of_files(made):
        made["time_budget"] = budget_for(made, dataset.record_count)
    return _same_task(dataset, made)


def for_engine(recipe: dict[str, Any], without: Iterable[str] = ()) -> Any:
    """A stored recipe as the engine's; `without` are columns to leave out besides."""
    import engine

    return engine.Recipe.from_dict({**recipe, "ignore": sorted({*recipe.get("ignore", ()), *without})})


def columns_of_files(recipe: dict[str, Any]) -> dict[str, str]:
    """The columns of files that a stored recipe learns from, with their kinds."""
    left = {recipe["target"], recipe.get("patient"), *recipe.get("ignore", ())}
    return {name: kind for name, kind in recipe.get("columns", {}).items() if kind in FILE_KINDS and name not in left}


def budget_for(recipe: dict[str, Any], records: int) -> float:
    """How long a training may take when nobody says: files take longer to look at than cells of a table."""
    each = sum(SECONDS[kind] for kind in columns_of_files(recipe).values())
    return min(LONGEST, round(USUAL + each * records))


def _kept_words(dataset: Dataset) -> bool:
    """Whether somebody said on an upload that words such as “none” are answers: then training takes them as such too."""
    taken = (Upload.State.IMPORTING, Upload.State.IMPORTED)
    return Upload.objects.filter(dataset=dataset, state__in=taken, options__keep_words=True).exists()


def _from_columns(columns: list[Column], target: str) -> dict[str, Any]:
    patient = next((c.name for c in columns if c.role == Role.PATIENT and c.name != target), None)
    used = {c.name: c.kind for c in columns if c.name != patient}
    return {"target": target, "patient": patient, "columns": used}


def _merged(given: dict[str, Any], columns: list[Column], target: str) -> dict[str, Any]:
    """The options, with the columns that the data set leaves out added to those of this run."""
    ignored = {c.name for c in columns if c.role == Role.IGNORE and c.name != target}
    ignored |= {
        c.name for c in columns if c.role == Role.TARGET and c.name != target
    }  # another answer, not a feature
    return {**given, "ignore": tuple(sorted(ignored | set(given.get("ignore") or ())))}


def _wrong_types(given: dict[str, Any]) -> list[dict[str, Any]]:
    texts = (
        "profile",
        "task",
        "scaling",
        "normalisation",
        "imputation",
        "outliers",
        "feature_selection",
        "metric",
    )
    wrong = [(k, "text") for k in texts if k in given and not isinstance(given[k], str)]
    if "positive" in given and not isinstance(given["positive"], str | None):
        wrong.append(("positive", "text"))
    for key in ("candidates", "ignore"):
        value = given.get(key, [])
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            wrong.append((key, "list of texts"))
    hyper = given.get("hyperparameters", {})
    if not isinstance(hyper, dict) or not all(isinstance(v, dict) for v in hyper.values()):
        wrong.append(("hyperparameters", "object"))
    if "allow_leaks" in given and not isinstance(given["allow_leaks"], bool):
        wrong.append(("allow_leaks", "true or false"))
    budget = given.get("time_budget", 60)
    if isinstance(budget, int | float) and not isinstance(budget, bool) and budget > MAX_BUDGET:
        wrong.append(("time_budget", f"≤ {MAX_BUDGET:.0f} s"))
    return [problems.make("option_type", column=key, wanted=kind) for key, kind in wrong]


def _wrong_task(given: dict[str, Any]) -> list[dict[str, Any]]:
    """The engine does more tasks than the portal can show yet."""
    if not isinstance(given.get("task"), str) or given["task"] in TASKS:
        return []
    why = f"must be one of {', '.join(TASKS)}"
    return [problems.make("recipe_invalid", column="task", key="task", why=why)]


def _wrong_ignore(given: dict[str, Any], columns: list[Column], target: str) -> list[dict[str, Any]]:
    names = {c.name for c in columns}
    wanted = given.get("ignore") or ()
    if not isinstance(wanted, list | tuple):
        return []
    return [problems.make("column_missing", column=str(n)) for n in wanted if n not in names or n == target]


def _same_task(dataset: Dataset, recipe: dict[str, Any]) -> dict[str, Any]:
    """One model does one task: a target that was learned as classes stays so."""
    model = Model.objects.filter(dataset=dataset, target=recipe["target"]).only("task").first()
    if model is None:
        return recipe
    if recipe["task"] not in ("auto", model.task):
        raise RunRefused([problems.make("task_changed", column=recipe["target"], task=model.task)])
    return recipe | {"task": model.task}
