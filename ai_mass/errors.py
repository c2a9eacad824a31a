"""What can go wrong, as types. Each carries a text for the person; those from the API also their problem details."""

from typing import Any


class AIMassError(Exception):
    """The base of every error that this package raises on purpose."""


class UnreachableError(AIMassError):
    """The portal did not answer, also after retries."""


class ApiError(AIMassError):
    """The portal answered with a problem (RFC 9457).

    Attributes: `status` (HTTP), `code` (the last part of the problem's type), `detail`, and `errors`, a list of
    `{"field", "message", "code"}`.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("type", "")).rpartition(":")[2]
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        self.errors: list[dict[str, Any]] = list(problem.get("errors", []))
        lines = [self.detail]
        for error in self.errors[:10]:
            line = (
                f"{error['field']}: {error['message']}" if error.get("field") else str(error.get("message"))
            )
            if self.detail not in {line, error.get("message")}:
                lines.append("  " + line)
        super().__init__("\n".join(lines))


class AuthenticationError(ApiError):
    """401: the key is missing, unknown, expired or revoked."""


class NotAllowedError(ApiError):
    """403: the key or its owner's role does not allow this."""


class NotFoundError(ApiError):
    """404: it does not exist, or it is another organisation's."""


class ConflictError(ApiError):
    """409: it cannot be done in the present state, e.g. a model without a confirmed champion."""


class RequestInvalid(ApiError):
    """400, 413, 415 or 422: the request's data is wrong; `errors` names the fields."""


class RateLimitedError(ApiError):
    """429, also after waiting as the portal asked."""


class ServerError(ApiError):
    """5xx: the portal failed."""


class ImportFailed(AIMassError):
    """The file was received but could not be imported; nothing of it was kept unless the text says so."""


class TrainingRefused(RequestInvalid):
    """Training was not started; `problems` says why: `[{"code", "severity", "column", "message"}]`."""

    @property
    def problems(self) -> list[dict[str, Any]]:
        return list(self.problem.get("problems", []))


class TrainingFailed(AIMassError):
    """Training started but ended without a model that passes the organisation's gate."""


class StillSettling(AIMassError):
    """Training is done, but the portal is still filing and ranking its versions: nothing is lost, look again later.

    Attributes: `run` (the run's id), `path` (its page on the portal).
    """

    def __init__(self, run: str, path: str, seconds: float) -> None:
        self.run, self.path = run, path
        super().__init__(
            f"The training has ended, and after {seconds:.0f} s the portal is still settling it: filing and ranking its "
            f"versions. This goes on in the portal; the versions will be on the run's page, {path} (run {run})."
        )


BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
}


def from_response(status: int, problem: dict[str, Any]) -> ApiError:
    """The typed error of an HTTP status and its problem details."""
    if problem.get("problems"):
        return TrainingRefused(status, problem)
    kind = BY_STATUS.get(status, ServerError if status >= 500 else RequestInvalid)
    return kind(status, problem)
