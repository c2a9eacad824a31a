"""What a run will not do, said before it starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from datasets import patient_names
from datasets.models import Dataset, DatasetVersion
from jobs.nodes import could_run
from jobs.profiles import PROFILES, choose, estimate_memory_mb
from training import problems, recipes
from training.errors import RunRefused

FEW_TEST_RECORDS = 30
SEEN_IN_A_SAMPLE = frozenset(
    {"leak", "leak_used", "leak_missing", "leak_missing_used", "leak_afterwards", "leak_afterwards_used"}
    | {"source_per_class", "source_per_class_used", "only_leaks", "no_features", "candidate_wrong_task"}
)


def usable(version: DatasetVersion) -> list[dict[str, Any]]:
    """Problems of a frozen version itself."""
    if version.file_id is None:
        return [problems.make("version_erased")]
    if version.erased_count:
        return [problems.make("version_changed", severity="warning", count=version.erased_count)]
    return []


def profile_for(
    columns: Sequence[Mapping[str, Any]], records: int, recipe: Mapping[str, Any], wanted: str | None
) -> tuple[str, list[dict[str, Any]]]:
    """The resource profile for so many records of these columns, and a problem when the work does not fit into it."""
    kinds = [
        c["kind"] for c in columns if c["name"] not in recipe["ignore"] and c["name"] != recipe["patient"]
    ]
    need = estimate_memory_mb(kinds=kinds, records=records)
    if wanted is not None and wanted not in PROFILES:
        return "medium", [
            problems.make("recipe_invalid", column="profile", key="profile", why=" | ".join(PROFILES))
        ]
    name = choose(kinds=kinds, records=records, recipe={"profile": wanted} if wanted else None)
    has = PROFILES[name].memory_mb
    if need > has:
        return name, [problems.make("memory", need=need, has=has, profile=str(PROFILES[name].label))]
    if settings.JOBS_EXECUTOR == "local" and not could_run(PROFILES[name]):
        return name, [problems.make("no_node", severity="warning", profile=str(PROFILES[name].label))]
    return name, []


def examine(version: DatasetVersion, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The engine's check on the training split alone, and whether the test split can judge."""
    from datasets.records import reviewed_among
    from datasets.versions import frame
    from engine.cells import is_missing

    names = {c["name"] for c in version.columns}
    if recipe["target"] not in names:
        return [problems.make("column_missing", column=recipe["target"])]
    train = frame(version, "train")
    if train.empty:
        return [problems.make("no_records")]
    found = [problems.from_engine(p.to_dict()) for p in _checked(version.dataset, train, recipe)]
    found = [p if p["code"] != "patient_guessed" else _guessed_patient(version, train, p) for p in found]
    labels = frame(version, "test", columns=[recipe["target"]])[recipe["target"]]
    reviewed = reviewed_among(labels.index.tolist())  # judged by none of them: see fitting.labelled_test
    keep_words = recipes.for_engine(recipe).keep_words
    tests = sum(not is_missing(label, keep_words) and pk not in reviewed for pk, label in labels.items())
    if tests == 0:
        found.append(problems.make("test_empty"))
    elif tests < FEW_TEST_RECORDS:
        found.append(problems.make("test_small", severity="warning", count=tests))
    return [*patients_apart(version.dataset), *found]


def _checked(dataset: Dataset, train: Any, recipe: dict[str, Any]) -> list[Any]:
    """The engine's check, which looks whether the files are there (without decoding them) where storage is a folder."""
    import engine
    from datasets.cells.folder import located

    own = [name for name in recipes.columns_of_files(recipe) if name in train.columns]
    there = located(dataset.organisation, train, own)
    if there is None:
        return list(engine.check(train, recipes.for_engine(recipe, without=own)))
    return list(engine.check(there, recipes.for_engine(recipe)))


def _guessed_patient(version: DatasetVersion, train: Any, guess: dict[str, Any]) -> dict[str, Any]:
    """The warning that a column was taken for the patient's number; an error when the split was not dealt by it.

    The engine keeps such a patient's records together within the training split only. The locked test split was dealt
    record by record, so a value on both sides is a patient whom the model has seen and is then judged on.
    """
    from datasets.versions import frame
    from engine.cells import to_category

    name = guess["column"]
    learned = {to_category(value) for value in train[name].tolist()}
    judged = {to_category(value) for value in frame(version, "test", columns=[name])[name].tolist()}
    both = len((learned & judged) - {None})
    return problems.make("patient_not_dealt", column=name, count=both) if both else guess


def examine_sample(dataset: Dataset, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """What some training records of a large data set show already; the job examines all of them before it fits.

    Only what is as true of all of them: too few patients, or a class of one, may look otherwise in the whole.
    """
    from datasets.quality import sample

    columns = list(dataset.columns.all())
    if recipe["target"] not in {c.name for c in columns}:
        return [problems.make("column_missing", column=recipe["target"])]
    found = _checked(dataset, sample(dataset, columns), recipe)
    return [*patients_apart(dataset), *(problems.from_engine(p.to_dict()) for p in found if p.code in SEEN_IN_A_SAMPLE)]


def patients_apart(dataset: Dataset) -> list[dict[str, Any]]:
    """Problems of patients who could be, or are, on both sides of the split (see datasets.patient_names)."""
    if patient_names.both_ways(dataset):
        return [problems.make("patient_two_names")]
    if count := patient_names.on_both_sides(dataset):
        return [problems.make("patient_both_sides", severity="warning", count=count)]
    return []


def refuse_errors(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The warnings alone; raises RunRefused, with everything that was found, when there is an error."""
    ordered = sorted(found, key=lambda p: p["severity"] != "error")
    if ordered and ordered[0]["severity"] == "error":
        raise RunRefused(ordered)
    return ordered


def refuse_archived(dataset: Dataset) -> None:
    """An archived data set does not train."""
    if dataset.archived_at is not None:
        raise RunRefused([problems.make("archived")])
