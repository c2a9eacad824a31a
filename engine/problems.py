"""A problem of a table: its code, how bad it is, and the sentence that says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.errors import EngineError


@dataclass(frozen=True)
class Problem:
    """`severity` "error" forbids training. `params` are those of the English `message`, for translation by `code`."""

    code: str
    severity: str
    column: str | None
    message: str
    params: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {"code": self.code, "severity": self.severity, "column": self.column, "message": self.message,
                "params": self.params}  # fmt: skip


def make_problem(code: str, severity: str, column: str | None, template: str, **params: Any) -> Problem:
    values = {"column": column, **params} if column is not None else params
    return Problem(code, severity, column, template.format(**values), values)


def refuse(problems: list[Problem]) -> None:
    """Raises EngineError with the first error among the problems."""
    for problem in problems:
        if problem.severity == "error":
            raise EngineError(problem.code, problem.message, problem.params)
