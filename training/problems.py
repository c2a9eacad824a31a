"""The engine's problems and errors in the person's language: translated by their code, with their params."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from training import words

TEXTS: dict[str, Any] = {
    "labels_missing": _("%(count)s of %(total)s rows have no value in “%(column)s” and are left out."),
    "one_class": _("“%(column)s” has the same value in every row: there is nothing to tell apart."),
    "too_many_classes": _(
        "“%(column)s” has %(count)s classes in %(total)s rows: is it an amount, or a text?"
    ),
    "class_too_small": _(
        "The class “%(value)s” of “%(column)s” has %(count)s patient; at least 2 are needed to learn and to check."
    ),
    "class_small": _(
        "The class “%(value)s” of “%(column)s” has only %(count)s patients; its figures will be uncertain."
    ),
    "too_few_records": _("Only %(count)s labelled records to learn from; at least %(least)s are needed."),
    "few_records": _("Only %(count)s labelled records; with fewer than %(least)s every figure is uncertain."),
    "too_few_patients": _("Only %(count)s patients; at least %(least)s are needed."),
    "few_patients": _("Only %(count)s patients; with fewer than %(least)s every figure is uncertain."),
    "no_features": _("There is no column to learn from."),
    "positive_unknown": _("“%(value)s” is no class of “%(column)s”."),
    "candidate_wrong_task": _("The candidate “%(candidate)s” cannot do %(task)s."),
    "kind_not_used": _(
        "“%(column)s” holds %(kind)s data, which this version does not use yet; it is left out."
    ),
    "patient_guessed": _(
        "“%(column)s” looks like the patient's number: it keeps each patient's records together."
    ),
    "patient_not_dealt": _(
        "“%(column)s” looks like the patient's number, and %(count)s of its values are both in the training records and in "
        "the locked test split, so the figures would be flattered. Choose it as the patient column on the data set's "
        "columns page first, so that each patient is dealt to one side; or leave it out there if it is no patient's number."
    ),
    "patient_two_names": _(
        "Some records name their patient by a pseudonym of de-identified DICOM and others by another number: a patient who has"
        " both can be in training and in the locked test, so no figure could be trusted. Import the two into data sets of their"
        " own."
    ),
    "patient_both_sides": _(
        "%(count)s patients, told by the pseudonyms of their images, have records both in training and in the locked test: the "
        "figures are flattered. Import the records with a column that names the patient, each patient by one name."
    ),
    "patient_contradicts": _("%(count)s patients have records with different values in “%(column)s”."),
    "column_empty": _("“%(column)s” is empty and left out."),
    "column_identifier": _("“%(column)s” looks like an identifier and is left out."),
    "column_identifier_used": _(
        "“%(column)s” looks like an identifier; nothing general can be learned from it."
    ),
    "values_infinite": _("%(count)s values of “%(column)s” are infinite and count as missing."),
    "values_not_a_number": _("%(count)s values of “%(column)s” are no numbers and count as missing."),
    "values_file_refused": _(
        "%(count)s files of “%(column)s” lie outside the given folder; they were not opened and count as missing."
    ),
    "values_file_missing": _("%(count)s files of “%(column)s” are not there and count as missing."),
    "values_file_unreadable": _("%(count)s files of “%(column)s” cannot be read and count as missing."),
    "files_folder_missing": _("“%(column)s” names files, but no folder was given in which they lie."),
    "weights_missing": _("This model needs the pretrained weights “%(name)s”, which are not installed here."),
    "weights_invalid": _("The folder of pretrained weights is damaged: ask your administrator."),
    "duplicates": _("%(count)s rows repeat another row in every column; the figures may be flattered."),
    "leak": _(
        "“%(column)s” alone gives the answer away (it explains %(percent)s %% of what there is to explain). "
        "Is it written down after the diagnosis? It is left out, unless suspicious columns are allowed."
    ),
    "leak_used": _(
        "“%(column)s” alone gives the answer away (it explains %(percent)s %% of what there is to explain). "
        "It is used all the same, because suspicious columns are allowed."
    ),
    "leak_missing": _(
        "Whether “%(column)s” is filled in gives the answer away (agreement beyond chance: %(percent)s %%). Is it only recorded "
        "for some diagnoses? It is left out, unless suspicious columns are allowed."
    ),
    "leak_missing_used": _(
        "Whether “%(column)s” is filled in gives the answer away (agreement beyond chance: %(percent)s %%). "
        "It is used all the same, because suspicious columns are allowed."
    ),
    "leak_afterwards": _(
        "“%(column)s” sounds like something that is known only after the diagnosis. "
        "It is left out, unless suspicious columns are allowed."
    ),
    "leak_afterwards_used": _(
        "“%(column)s” sounds like something that is known only after the diagnosis. "
        "It is used all the same, because suspicious columns are allowed."
    ),
    "source_per_class": _(
        "“%(column)s” nearly tells the diagnosis (agreement beyond chance: %(percent)s %%): each place or device has patients of "
        "one class, so a model would learn the place. It is left out, unless suspicious columns are allowed."
    ),
    "source_per_class_used": _(
        "“%(column)s” nearly tells the diagnosis (agreement beyond chance: %(percent)s %%): each place or device has patients of "
        "one class, so a model would learn the place. It is used all the same, because suspicious columns are allowed."
    ),
    "source_one_class": _(
        "All %(count)s patients of “%(value)s” in “%(column)s” have the class “%(label)s”, elsewhere not: what tells the place "
        "would pass for a sign of the disease."
    ),
    "perhaps_afterwards": _("“%(column)s” may be known only after the diagnosis: if so, leave it out."),
    "patient_suspected": _(
        "“%(column)s” holds %(count)s different codes in %(total)s rows: if it is the patient's number, choose it as the patient "
        "column, or one patient's records are on both sides of every split."
    ),
    "duplicates_contradict": _(
        "%(count)s rows are alike in every column but differ in their label: one of them must be wrong, or what decides is "
        "not in the table."
    ),
    "only_leaks": _(
        "Without the columns that give the answer away (%(names)s) there is nothing to learn from."
    ),
    "sampled": _(
        "%(count)s of %(total)s rows were learned from: more can't be read in the time budget. Give it more time."
    ),
    "checked_part": _("Columns that give the answer away were looked for in %(count)s of %(total)s rows."),
    "column_missing": _("There is no column “%(column)s”."),
    "column_duplicate": _("Two columns are called “%(column)s”."),
    "recipe_unknown_key": _("There is no option “%(key)s”."),
    "candidate_unknown": _("There is no candidate “%(candidate)s”."),
    "hyperparameter_unknown": _("Candidate “%(candidate)s” has no hyperparameter “%(hyperparameter)s”."),
    "hyperparameter_invalid": _("Candidate “%(candidate)s”: “%(hyperparameter)s” must be %(limits)s."),
    "recipe_invalid": _("The option “%(key)s” is not valid: it %(why)s."),
    "option_type": _("The option “%(column)s” is not of the right kind. Expected: %(wanted)s."),
    "no_target": _("The data set has no target column: say which column is to be learned."),
    "no_records": _("There are no records to learn from: upload some first."),
    "archived": _("This data set is archived: restore it before training."),
    "busy": _("Records are being added to this data set: try again when the upload has ended."),
    "version_erased": _(
        "The records of this version have been erased, so the run cannot be repeated. Train on the current records."
    ),
    "version_changed": _(
        "%(count)s records of this version have been erased since: the numbers will differ from the first run's."
    ),
    "test_empty": _(
        "No labelled record is in the locked test split, so the models could not be judged. Add more records."
    ),
    "test_small": _(
        "Only %(count)s labelled records are in the locked test split: the intervals will be wide."
    ),
    "memory": _(
        "About %(need)s MB of memory are needed, but the profile “%(profile)s” has %(has)s MB. "
        "Choose a larger profile, fewer columns or fewer records."
    ),
    "no_node": _(
        "No computer that works now has enough for the profile “%(profile)s”: the run waits until one has. "
        "Choose a smaller profile, or tell your administrator."
    ),
    "task_changed": _("The model of “%(column)s” is for %(task)s: choose that task, or another target."),
    "nothing_fitted": _("None of the candidates could be fitted to these records."),
    "no_labels": _("No row has a known value in “%(column)s”."),
}


def text(code: str, params: dict[str, Any], fallback: str) -> str:
    """The translated text of a code; the fallback when the code or one of its params is not known."""
    if code not in TEXTS:
        return fallback
    try:
        return str(TEXTS[code]) % words.params(params)
    except (KeyError, TypeError, ValueError):
        return fallback


def make(code: str, *, severity: str = "error", column: str | None = None, **params: Any) -> dict[str, Any]:
    """A problem of the portal's own."""
    values = {"column": column, **params} if column else params
    return {
        "code": code,
        "severity": severity,
        "column": column,
        "message": text(code, values, code),
        "params": values,
    }


def from_engine(problem: dict[str, Any]) -> dict[str, Any]:
    """An `engine.Problem.to_dict()` with its message translated."""
    return problem | {"message": text(problem["code"], problem["params"], problem["message"])}


def from_error(error: Any) -> dict[str, Any]:
    """An EngineError as a problem; `column` names the option that is meant."""
    field = error.params.get("key") or error.params.get("column")
    if error.params.get("hyperparameter"):
        field = f"hyperparameters.{error.params['candidate']}.{error.params['hyperparameter']}"
    elif error.code == "candidate_unknown":
        field = "candidates"
    params = {k: v for k, v in error.params.items() if isinstance(v, str | int | float | bool) or v is None}
    message = text(error.code, params, error.message)
    return {"code": error.code, "severity": "error", "column": field, "message": message, "params": params}


def retold(problem: dict[str, Any]) -> dict[str, Any]:
    """A stored problem in the language of who reads it now."""
    return problem | {"message": text(problem["code"], problem.get("params", {}), problem["message"])}
