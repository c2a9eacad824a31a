"""The functions of the package: connect, train, evaluate, inference."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_mass import data as convert
from ai_mass.client import Client
from ai_mass.errors import (
    AIMassError,
    ConflictError,
    ImportFailed,
    NotFoundError,
    StillSettling,
    TrainingFailed,
)
from ai_mass.files import Sender, named_in, table_as_upload
from ai_mass.progress import Progress
from ai_mass.report import ModelVersion, Report

PER_CALL = 1000  # records that the API takes in one call
POLL_FIRST, POLL_LONGEST = 0.3, 3.0  # seconds between looks at a job
SETTLE_LONGEST = 120.0  # seconds that a finished run's versions are waited for
RECIPE_FIELDS = {
    "patient", "columns", "ignore", "task", "scaling", "normalisation", "imputation", "outliers", "feature_selection",
    "candidates", "hyperparameters", "metric", "time_budget", "seed", "allow_leaks", "positive",
    "profile",
}  # fmt: skip

_client: Client | None = None


def connect(url: str | None = None, key: str | None = None, *, timeout: float = 60.0) -> Client:
    """Choose the portal that all further calls talk to.

    Without arguments: AIMASS_URL and AIMASS_KEY from the environment; with neither, the embedded portal of this
    checkout. Raises AIMassError when only one of the two is known, AuthenticationError when the key is not accepted.
    """
    global _client
    url, key = url or os.environ.get("AIMASS_URL"), key or os.environ.get("AIMASS_KEY")
    if bool(url) != bool(key):
        missing = "key (AIMASS_KEY)" if url else "url (AIMASS_URL)"
        raise AIMassError(f"To connect, both a url and a key are needed; the {missing} is missing.")
    if url and key:
        client = Client(url, key, timeout=timeout)
    else:
        from ai_mass.embedded import embedded_client

        client = embedded_client(timeout=timeout)
    client.get("me/")
    if _client is not None:
        _client.close()
    _client = client
    return client


def current() -> Client:
    """The connection in use; made on first use."""
    return _client or connect()


def train(
    data: Any = None,
    target: str | None = None,
    *,
    files: Any = None,
    dataset: str | None = None,
    quiet: bool = False,
    timeout: float | None = None,
    **hyperparameters: Any,
) -> ModelVersion:
    """Train on the organisation's data set and return the best version by validation.

    `data`: None trains on the data set that is already there (`dataset`: its name or id, needed when there are
    several); a path, a data frame or a list of dictionaries is uploaded first, into `dataset` or one named after the
    file. Rows that are already there are not added again. A folder has one folder of files (pictures, volumes, videos,
    signals; folders of DICOM slices) for each class. `files`: a zip, a folder or a list of paths with what the table names.
    `target`: the column to learn; known after the first time.
    `hyperparameters`: fields of the recipe (`seed=1`, `time_budget=120`, `scaling="zscore"`, `candidates=["linear"]`,
    `ignore=["discharge_note"]` for a column that is to be left out, …) and hyperparameters of candidates
    (`learning_rate=0.01`, or `network={"hidden_layers": 2}`).

    Raises TrainingRefused before anything starts (nothing but leaking columns, one class, too few patients, …), TrainingFailed
    when no candidate passes the organisation's gate, ImportFailed for a file that cannot be read, StillSettling when
    the run has ended but its versions are not listed yet after two minutes.
    """
    client = current()
    found = (
        upload(client, data, dataset, target, quiet, files) if data is not None else find_dataset(client, dataset)
    )
    options = recipe_options(client, hyperparameters)
    body: dict[str, Any] = {"dataset": found["id"], "options": options}
    if target is not None:
        body["target"] = target
    run = client.post("training-runs/", body)
    progress = Progress(f"Training {found['name']}", quiet=quiet)
    job = wait(client, run["job"]["id"], progress, timeout)
    if job["state"] != "done":
        raise TrainingFailed(reason_of(job) or f"The training was {job['state']}.")
    return best_version(client, run["id"], job, progress)


def evaluate(data: Any, model: str | None = None, *, files: Any = None) -> Report:
    """Score the champion (or `model`: a model's name or id, or a version's id) on new labelled data.

    `data`: a path (CSV, TSV, XLSX, Parquet), a data frame or a list of dictionaries with the target's column; `files`: the
    files that it names, as for `train`; or a folder with one folder a class. Nothing of it is stored. Raises
    ConflictError when no champion has been confirmed, RequestInvalid naming what is wrong.
    """
    client = current()
    version = find_version(client, model)
    name, stream = convert.as_upload(data)
    if files is not None:
        name, stream = table_as_upload(name, stream, files)
    with stream:
        answer = client.post(f"model-versions/{version}/evaluate/", files={"file": (name, stream)})
    return Report(answer)


def inference(inputs: Any, model: str | None = None, *, details: bool = False) -> list[Any]:
    """Diagnoses for texts, paths of files, dictionaries or the rows of a data frame, in order.

    A path (of a picture, volume, video or signal) fills the model's only column of its kind; in a dictionary it stands
    beside the other values: `{"age": 60, "film": "scan.png"}`. The files are sent first, each once. The slices of a DICOM
    series are a folder (`"series/"`) or a zip; a WFDB record is its header (`"100.hea"`), with its samples beside it.

    Returns the decided class (or number) of each input; with `details=True` each whole diagnosis: `value`,
    `probability`, `probabilities`, `interval`, `set`, `out_of_distribution`, `warnings`, `id`, …
    More than 1,000 inputs are sent in calls of 1,000; each call is all or nothing.
    """
    client = current()
    inputs = convert.as_rows(inputs)
    chosen = None
    if named_in(inputs):
        chosen = find_model(client, model)
        version = chosen["id"] if chosen.get("is_version") else chosen["champion"]["id"]
        sender = Sender(client, client.get(f"model-versions/{version}/")["columns"])
        inputs = [sender.record(row) for row in inputs]
    records = convert.as_records(inputs)
    if not records:
        return []
    chosen = chosen or find_model(client, model)
    key = "version" if chosen.get("is_version") else "model"
    diagnoses: list[dict[str, Any]] = []
    for start in range(0, len(records), PER_CALL):
        body = {key: chosen["id"], "records": records[start : start + PER_CALL]}
        diagnoses += client.post("diagnoses/", body)["diagnoses"]
    return diagnoses if details else [diagnosis["value"] for diagnosis in diagnoses]


def find_dataset(client: Client, wanted: str | None) -> dict[str, Any]:
    """The data set named (by name or id), or the organisation's only one."""
    everything = list(client.pages("datasets/", page_size=200))
    if wanted is not None:
        everything = [d for d in everything if wanted in {d["id"], d["name"]}]
    if len(everything) == 1:
        return everything[0]
    if not everything:
        what = f"There is no data set “{wanted}”." if wanted else "There is no data set yet: give `data=`."
        raise AIMassError(what)
    names = ", ".join(f"“{d['name']}”" for d in everything[:20])
    raise AIMassError(f"There are several data sets; say which by `dataset=`: {names}.")


def upload(
    client: Client, data: Any, dataset: str | None, target: str | None, quiet: bool, files: Any = None
) -> dict[str, Any]:
    """Upload, confirm and import `data` with the files that it names; returns its data set."""
    name, stream = convert.as_upload(data)
    if files is not None:
        name, stream = table_as_upload(name, stream, files)
    wanted = dataset or Path(name).stem
    known = [d for d in client.pages("datasets/", page_size=200) if wanted in {d["id"], d["name"]}]
    with stream:
        form = {"dataset": known[0]["id"]} if known else None
        received = client.post("uploads/", files={"file": (name, stream)}, data=form)
    columns = [{k: c[k] for k in ("name", "kind", "role")} for c in received["preview"]["columns"]]
    if target is not None:
        if target not in {c["name"] for c in columns}:
            names = ", ".join(c["name"] for c in columns)
            client.post(f"uploads/{received['id']}/discard/", {})  # records that nobody will confirm
            raise ImportFailed(f"{name} has no column “{target}”. Its columns: {names}.")
        for column in columns:
            if column["name"] == target:
                column["role"] = "target"
            elif column["role"] == "target":
                column["role"] = "feature"
    body: dict[str, Any] = {"columns": columns, "keep_good_rows": True}
    body |= {"dataset": known[0]["id"]} if known else {"new_dataset_name": wanted}
    confirmed = client.post(f"uploads/{received['id']}/confirm/", body)
    job = wait(client, confirmed["job"], Progress(f"Importing {name}", quiet=quiet), None)
    if job["state"] != "done":
        raise ImportFailed(reason_of(job) or f"The import was {job['state']}.")
    finished = client.get(f"uploads/{received['id']}/")
    refused = finished.get("rows_refused") or 0
    if refused and not quiet:
        Progress("Note").close(
            f"{refused} rows of {name} were refused; the report on the upload's page names each"
        )
    found: dict[str, Any] = client.get(f"datasets/{finished['dataset']}/")
    return found


def recipe_options(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    """Recipe fields as they are; a candidate's name takes a dictionary; other names go to every candidate that has them."""
    options = {name: value for name, value in given.items() if name in RECIPE_FIELDS}
    rest = {name: value for name, value in given.items() if name not in RECIPE_FIELDS}
    if not rest:
        return options
    candidates = {
        c["name"]: {h["name"] for h in c["hyperparameters"]}
        for c in client.get("recipe-options/")["candidates"]
    }
    chosen: dict[str, dict[str, Any]] = {k: dict(v) for k, v in options.get("hyperparameters", {}).items()}
    for name, value in rest.items():
        having = [name] if name in candidates else [c for c, names in candidates.items() if name in names]
        if not having:
            known = sorted(RECIPE_FIELDS | set(candidates) | set().union(*candidates.values()))
            raise AIMassError(f"Nothing is called “{name}”. Known: {', '.join(known)}.")
        for candidate in having:
            chosen.setdefault(candidate, {}).update(value if name in candidates else {name: value})
    return options | {"hyperparameters": chosen}


def waits() -> Iterator[float]:
    """Seconds between looks at a job: quick at first, then calm."""
    pause = POLL_FIRST
    while True:
        yield pause
        pause = min(pause * 1.3, POLL_LONGEST)


def wait(client: Client, job_id: str, progress: Progress, timeout: float | None) -> dict[str, Any]:
    """Watch a job to its end. Ctrl-C asks the portal to cancel it."""
    began = time.monotonic()
    try:
        for pause in waits():
            job: dict[str, Any] = client.get(f"jobs/{job_id}/")
            if job["state"] in {"done", "failed", "cancelled"}:
                progress.close(job["state"])
                return job
            words = job["message"] or job["step"] or job["state"]
            progress.show(job["fraction"], words, job.get("eta_seconds"))
            if timeout is not None and time.monotonic() - began > timeout:
                raise AIMassError(
                    f"The job {job_id} is still running after {timeout:.0f} s; it goes on in the portal."
                )
            time.sleep(pause)
    except KeyboardInterrupt:
        client.post(f"jobs/{job_id}/cancel/", {})
        progress.close("cancelled by you")
        raise
    raise AssertionError("unreachable")


def reason_of(job: dict[str, Any]) -> str:
    """What the portal tells a person of a job that failed; empty when it says nothing."""
    return str((job.get("error") or {}).get("person") or "")


def best_version(client: Client, run_id: str, job: dict[str, Any], progress: Progress) -> ModelVersion:
    """The version of the run that validation chose.

    It is filed and ranked after the job's end, which takes minutes where many versions are compared.
    """
    versions = settled_versions(client, run_id, job, progress)
    passed = [v for v in versions if v.get("gate_passed")]
    if not passed:
        reasons = "; ".join(str(reason) for v in versions for reason in v.get("gate_reasons", []))
        raise TrainingFailed(f"No model passed the organisation's gate: {reasons}")
    best = next((v for v in passed if v.get("chosen")), passed[0])
    return ModelVersion(client.get(f"model-versions/{best['id']}/"))


def settled_versions(
    client: Client, run_id: str, job: dict[str, Any], progress: Progress
) -> list[dict[str, Any]]:
    """The versions of a run whose job is done, once the portal has filed them. Raises StillSettling."""
    if (job.get("result") or {}).get("versions") == []:
        raise TrainingFailed("The run ended without a model.")
    began, shown = time.monotonic(), False
    for pause in waits():
        versions: list[dict[str, Any]] = client.get(f"training-runs/{run_id}/").get("versions", [])
        if versions:
            if shown:
                progress.close("settled")
            return versions
        if time.monotonic() - began > SETTLE_LONGEST:
            progress.close("still settling in the portal")
            raise StillSettling(run_id, str(job.get("subject_url") or f"/training/{run_id}/"), SETTLE_LONGEST)
        progress.show(1.0, "settling: filing and ranking the versions")
        shown = True
        time.sleep(pause)
    raise AssertionError("unreachable")


def find_model(client: Client, wanted: str | None) -> dict[str, Any]:
    """The model (or version) meant: by name or id; without a name, the only one that has a champion."""
    models = list(client.pages("models/", page_size=200))
    if wanted is not None:
        for model in models:
            if wanted in {model["id"], model["name"]}:
                return model
        try:
            version = client.get(f"model-versions/{wanted}/")
        except NotFoundError:
            names = ", ".join(f"“{m['name']}”" for m in models[:20]) or "none yet"
            raise AIMassError(f"There is no model or version “{wanted}”. The models: {names}.") from None
        return {"id": version["id"], "is_version": True}
    serving = [m for m in models if m.get("champion")]
    if len(serving) == 1:
        return serving[0]
    if not serving:
        detail = "No model has a champion yet: confirm one on the leaderboard, or name a version by `model=`."
        raise ConflictError(409, {"type": "urn:aimass:problem:no-champion", "detail": detail})
    names = ", ".join(f"“{m['name']}”" for m in serving[:20])
    raise AIMassError(f"Several models have a champion; say which by `model=`: {names}.")


def find_version(client: Client, wanted: str | None) -> str:
    """The id of the version meant: a version's own id, or a model's champion."""
    model = find_model(client, wanted)
    if model.get("is_version"):
        return str(model["id"])
    champion = model.get("champion")
    if not champion:
        detail = f"The model “{model['name']}” has no confirmed champion."
        raise ConflictError(409, {"type": "urn:aimass:problem:no-champion", "detail": detail})
    return str(champion["id"] if isinstance(champion, dict) else champion)
