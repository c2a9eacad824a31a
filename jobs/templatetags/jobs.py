"""What the job templates ask of a job: `{% load jobs %}`."""

from django import template
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from jobs import nodes, queries, services
from jobs.models import Job, State

register = template.Library()
LEVELS = {
    State.QUEUED: "secondary",
    State.RUNNING: "info",
    State.DONE: "success",
    State.FAILED: "danger",
    State.CANCELLED: "warning",
}


@register.filter
def level(job: Job) -> str:
    """The badge's level for the job's state."""
    return LEVELS[State(job.state)]


@register.filter
def place(job: Job) -> int | None:
    """The place in the queue: 1 is next; None when the job does not wait."""
    return services.queue_position(job)


@register.filter
def waits_for_a_larger(job: Job) -> bool:
    """Whether none of the computers that work now has enough for the waiting job."""
    return nodes.waits_for_a_larger(job)


@register.filter
def is_over(job: Job) -> bool:
    """Ended and settled: no need to look again."""
    return queries.is_over(job)


@register.filter
def percent(job: Job) -> int:
    """How far the job is, 0 to 100."""
    return round(100 * job.fraction)


@register.filter
def may_retry(job: Job) -> bool:
    """Whether the job ended in a way that trying again can mend."""
    return job.state in (State.FAILED, State.CANCELLED)


@register.filter
def time_left(job: Job) -> str:
    """About how long the job still runs, in words; empty when that is not known."""
    seconds = queries.eta_seconds(job)
    if seconds is None:
        return ""
    if seconds < 60:
        return _("less than a minute")
    minutes = round(seconds / 60)
    if minutes < 90:
        return ngettext("about %(n)d minute", "about %(n)d minutes", minutes) % {"n": minutes}
    hours = round(minutes / 60)
    return ngettext("about %(n)d hour", "about %(n)d hours", hours) % {"n": hours}
