"""How an app says what a job does: `@handler` on a function that takes a JobContext and returns its result."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.context import JobContext, JobError, JobStopped, LeaseLost

__all__ = ["Handler", "JobContext", "JobError", "JobStopped", "LeaseLost", "handler", "resolve", "resolve_settle"]

Function = Callable[[JobContext], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Handler:
    """What `@handler` remembers of a function: its code and the dotted name of what follows the end."""

    function: Function
    settle: str | None


class UnknownHandler(LookupError):
    """A job names a task that is not a handler."""

    own_text = True  # see jobs.traces


def handler(*, settle: str | None = None) -> Callable[[Function], Function]:
    """Declare a job's function. `settle` names `def settle(job: Job) -> None`, run after the end has been committed.

    `settle` runs for done, failed and cancelled jobs and may run more than once, so it must be idempotent.
    The function stays callable as it is. Its dict result becomes `job.result`.
    """

    def decorate(function: Function) -> Function:
        function.job_handler = Handler(function, settle)  # type: ignore[attr-defined]
        return function

    return decorate


def locate(dotted: str) -> Any:
    """Import `package.module.name`, only now: a handler's module may be heavy."""
    module, _dot, name = dotted.rpartition(".")
    if not module:
        raise UnknownHandler(f"{dotted!r} is not a dotted name")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise UnknownHandler(f"there is no module {module!r}") from error
        raise
    except AttributeError as error:
        raise UnknownHandler(f"{module!r} has no {name!r}") from error


def resolve(task: str) -> Handler:
    """The handler of a dotted task name. Only functions marked by `@handler` are ever called."""
    found = getattr(locate(task), "job_handler", None)
    if not isinstance(found, Handler):
        raise UnknownHandler(f"{task!r} is not declared with @handler")
    return found


def resolve_settle(task: str) -> Callable[[Any], None] | None:
    """The settle function of a task, or None when it has none."""
    name = resolve(task).settle
    return locate(name) if name else None
