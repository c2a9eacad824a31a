"""Background work: training runs, and the nightly retraining."""

from typing import Any

from jobs.handlers import JobContext, JobError, handler
from training.models import TrainingRun


@handler(settle="training.tasks.settle_training")
def run_training(context: JobContext) -> dict[str, Any]:
    """Fit, judge and store the candidates of a run; the rows of its versions follow when the job has ended."""
    from django.utils.translation import gettext as _

    from training import problems
    from training.fitting import execute
    from training.services import adopt_job

    run = TrainingRun.objects.select_related("dataset", "version__file", "organisation", "requested_by").get(
        pk=context.payload["run"]
    )
    with context.fenced():
        adopt_job(run=run, job=context.job)
    if run.dataset.archived_at is not None:  # since it was queued, or before it was tried again
        raise JobError(problems.text("archived", {}, ""), engineer="the data set is archived")
    if run.version is None:
        freeze_now(context, run)
    if run.frozen.file is None:
        raise JobError(
            _("The records of this version have been erased. Train on the current records."),
            engineer="no file",
        )
    return execute(context, run)


def freeze_now(context: JobContext, run: TrainingRun) -> None:
    """A large run's records are frozen and looked over here, not in the request that started it."""
    from django.utils.translation import gettext as _

    from datasets.versions import FreezeRefused
    from training.errors import RunRefused
    from training.services import freeze_for

    context.progress(0.0, _("Reading the records"))
    try:
        found = freeze_for(run=run)
    except FreezeRefused as error:
        raise JobError(str(error), engineer="the data set could not be frozen") from error
    except RunRefused as refused:
        run.version = None
        with context.fenced():
            run.problems = refused.problems
            run.save(update_fields=["problems"])
        raise JobError(str(refused), engineer=", ".join(p["code"] for p in refused.problems)) from refused
    with context.fenced():
        run.problems = found
        run.save(update_fields=["version", "problems"])


def settle_training(job: Any) -> None:
    """Idempotent: makes the rows that are missing, then tells people."""
    from training.settling import settle

    settle(job)


def retrain_nightly() -> int:
    """Queue a run for each model that has new records since its last one; returns how many. Safe to call twice."""
    from training.nightly import retrain_all

    return retrain_all()
