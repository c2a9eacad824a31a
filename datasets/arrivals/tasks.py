"""The background work: sorting out an arrival, and what follows its end."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets.arrivals import again, desks, leftovers, services, sorting
from datasets.arrivals.desk import SECONDS
from datasets.arrivals.models import Arrival
from jobs.handlers import JobContext, JobError, handler
from jobs.models import Job


@handler(settle="datasets.arrivals.tasks.settle")
def sort_out(context: JobContext) -> dict[str, Any]:
    """Give every file of the arrival `payload["arrival"]` its outcome. A killed attempt goes on where it stopped."""
    arrival = (
        Arrival.objects.for_organisation(context.job.organisation)
        .select_related("organisation", "dataset")
        .filter(pk=context.payload["arrival"])
        .first()
    )
    if arrival is None:
        raise JobError(_("The arrival no longer exists."))
    with context.fenced():  # a job that is tried again from its page is another one
        Arrival.objects.filter(pk=arrival.pk).update(job=context.job, finished_at=None)
        if context.job.retry_of_id is not None:
            leftovers.take_up(arrival, ("interrupted",))
    with desks.shared(seconds=SECONDS) as desk:
        sorting.Sorting(context, arrival, desk).run()
    return {"arrival": str(arrival.pk), **services.counts(arrival)}


def settle(job: Job) -> None:
    """After the end, whatever it was: nothing waits any more, and what was given to be masked is forgotten."""
    with transaction.atomic():
        arrival = Arrival.objects.select_for_update().filter(pk=job.payload.get("arrival"), job=job).first()
        if arrival is None or arrival.finished_at is not None:
            return
        leftovers.interrupted(arrival)
        again.ended(arrival, job.state)
        arrival.finished_at = timezone.now()
        if not services.may_come_again(arrival):
            arrival.known = []
        arrival.save(update_fields=["finished_at", "secret", "notes"])
        who = Actor(user=job.requested_by, organisation=arrival.organisation)
        audit.record(who, "arrival.sorted_out", arrival, outcome=_outcome(job), **services.counts(arrival))


def _outcome(job: Job) -> str:
    return "ok" if job.state != "failed" else "failed"
