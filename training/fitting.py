"""What a training job does: fit the candidates, judge them on the locked test split, and lay their artefacts down."""

import time
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from django.utils.translation import gettext as _

from datasets.cells.folder import laid_out
from datasets.records import reviewed_among
from datasets.versions import frame
from jobs.handlers import JobContext, JobError, JobStopped
from training import artefacts, gate, problems, recipes, words
from training.lineage import lineage_of
from training.models import Candidate, TrainingRun
from training.progress import LiveCandidates

FIT_SHARE = 0.85  # of the progress bar; the rest is judging and storing
LATENCY_CALLS = 25


def execute(context: JobContext, run: TrainingRun) -> dict[str, Any]:
    """Run to the end. Safe to repeat: the same seed and data give the same numbers and the same version ids."""
    artefacts.clear_unfinished_of(run)
    with laid_out(run.frozen, list(recipes.columns_of_files(run.recipe)), context.folder) as files:
        search = fit(context, run, files)
        best = search.best.candidate
        with context.fenced():
            store_candidates(run, search.candidates, best)
        versions = judge_all(context, run, search, best, files)
    context.progress(1.0, _("Finished"))
    return {
        "versions": versions,
        "best": best,
        "metric": search.best.metric,
        "task": search.best.task,
        "unlabelled": search.unlabelled,
        "baseline": search.baseline.validation_score,
    }


def fit(context: JobContext, run: TrainingRun, files: Path | None = None) -> Any:
    """engine.fit_candidates on the training split alone, with progress for each candidate. `files`: where cells lie."""
    import engine

    context.progress(0.0, _("Reading the records"))
    train = frame(run.frozen, "train")
    context.log(
        _("Learning from %(rows)d records; the locked test split is not among them.") % {"rows": len(train)}
    )
    live = LiveCandidates(context, run, FIT_SHARE)
    try:
        return engine.fit_candidates(
            train,
            recipes.for_engine(run.recipe),
            files=files,
            on_progress=live.report,
            should_stop=context.should_stop,
        )
    except engine.Stopped:
        raise JobStopped from None
    except engine.EngineError as error:
        problem = problems.from_error(error)
        raise JobError(problem["message"], engineer=f"{error.code}: {error.message}") from error


def store_candidates(run: TrainingRun, results: list[Any], best: str) -> None:
    """One row per candidate, as it ended."""
    for result in results:
        low, high = result.validation_interval
        Candidate.objects.update_or_create(
            run=run,
            name=result.name,
            defaults={
                "status": result.status, "reason": result.reason[:300], "hyperparameters": result.hyperparameters,
                "preprocessing": result.preprocessing, "metric": result.metric, "validation_score": result.validation_score,
                "validation_low": low, "validation_high": high, "fit_seconds": result.fit_seconds, "curve": result.curve,
                "chosen": result.name == best and result.fitted is not None,
            },
        )  # fmt: skip
    run.candidates.exclude(name__in=[r.name for r in results]).delete()


def judge_all(
    context: JobContext, run: TrainingRun, search: Any, best: str, files: Path | None = None
) -> list[dict[str, Any]]:
    """Each fitted candidate judged on the locked test split and stored; [{id, candidate, chosen}]."""
    test = labelled_test(run, search.best)
    floors = gate.floors_for(run.organisation, run.dataset)
    fitted = [r for r in search.candidates if r.fitted is not None]
    made = []
    for position, result in enumerate(fitted):
        context.stop_if_asked()
        share = FIT_SHARE + (1.0 - FIT_SHARE) * position / len(fitted)
        context.progress(share, _("Judging on the locked test split"), words.candidate(result.name))
        made.append(judge(run, result, test, floors, chosen=result.name == best, files=files))
    return made


def labelled_test(run: TrainingRun, fitted: Any) -> pd.DataFrame:
    """The test split's rows that have a label which the models know; index = record id.

    Without reviewed diagnoses: a model judged by labels that a model proposed would flatter itself (ADR 11).
    """
    from engine.training_data import labels_of

    test = frame(run.frozen, "test")
    test = test.drop(index=sorted(reviewed_among(test.index.tolist())))
    known = set(fitted.classes_.tolist()) if fitted.classify else None
    labels = labels_of(test[run.recipe["target"]], fitted.task, fitted.recipe.keep_words)
    keep = [label is not None and (known is None or label in known) for label in labels]
    if not any(keep):
        raise JobError(problems.text("test_empty", {}, ""), engineer="no labelled row in the test split")
    return test[keep]


def judge(
    run: TrainingRun,
    result: Any,
    test: pd.DataFrame,
    floors: dict[str, float],
    *,
    chosen: bool,
    files: Path | None = None,
) -> dict[str, Any]:
    """Judge one candidate and lay its artefact down whole, by one rename."""
    import engine

    pk = artefacts.version_id(run, result.name)
    report = engine.evaluate(result.fitted, test, seed=run.recipe["seed"], files=files).to_dict()
    predictions = report.pop("predictions")
    if len(predictions["true"]) != len(test):
        raise JobError(
            _("The test records could not be judged one by one."), engineer="the engine left out test rows"
        )
    with artefacts.writing(artefacts.folder_of(run.organisation_id, pk), run) as private:
        engine.save(result.fitted, private / "model")
        row = describe(run, result, report, private / "model", test, floors, files)
        artefacts.write_json(
            private / "predictions.json", {"records": test.index.tolist(), "report": predictions}
        )
        artefacts.write_json(
            private / "version.json", row | {"id": str(pk), "candidate": result.name, "chosen": chosen}
        )
    return {"id": str(pk), "candidate": result.name, "chosen": chosen}


def describe(
    run: TrainingRun,
    result: Any,
    report: dict[str, Any],
    path: Path,
    test: pd.DataFrame,
    floors: dict[str, float],
    files: Path | None = None,
) -> dict[str, Any]:
    """What the ModelVersion row is made of, from the artefact as it can be loaded again."""
    import engine
    from jobs.clean import clean_json

    fitted = engine.load(path)
    reasons = gate.judge(floors, report["metrics"])
    row: dict[str, Any] = clean_json(
        {
            "artefact": f"{run.organisation_id}/{artefacts.version_id(run, result.name)}",
            "artefact_hash": artefacts.hash_of(path),
            "artefact_bytes": artefacts.size_of(path),
            "schema": fitted.schema.to_dict(),
            "classes": fitted.classes_.tolist() if fitted.classify else [],
            "report": report,
            "metrics": {name: short(metric) for name, metric in report["metrics"].items()},
            "operating_point": fitted.operating_point or {},
            "latency_ms": latency_ms(fitted, test, files),
            "fit_seconds": result.fit_seconds,
            "gate_passed": not reasons,
            "gate_reasons": reasons,
            "lineage": lineage_of(run, fitted, floors),
        }
    )
    return row


def short(metric: dict[str, Any]) -> dict[str, Any]:
    """{value, low, high, n} of a report's metric, for sorting."""
    return {key: metric.get(key) for key in ("value", "low", "high", "n")}


def latency_ms(fitted: Any, test: pd.DataFrame, files: Path | None = None) -> float:
    """The median time of one diagnosis of one record, in milliseconds, after a warm-up."""
    names = [c.name for c in fitted.schema.features]
    row = test.iloc[0][names]
    record = {name: None if pd.isna(value) else value for name, value in row.items()}
    times = []
    for call in range(LATENCY_CALLS + 3):
        began = time.perf_counter()
        fitted.predict_records([record], files=files)
        if call >= 3:
            times.append(time.perf_counter() - began)
    return median(times) * 1000.0
