"""What training refuses, with texts for the person."""

from typing import Any

from django.utils.translation import gettext as _


class RunRefused(Exception):
    """A run that was not started. `problems`: [{code, severity, column, message, params}], errors first."""

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        super().__init__(problems[0]["message"] if problems else _("The training was not started."))
        self.problems = problems


class ChangeRefused(Exception):
    """A champion, publication or gate that cannot be so; the text is for the person, `code` for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EvaluationRefused(Exception):
    """New labelled data that cannot be scored; `field` says which part of the request is meant."""

    def __init__(self, code: str, message: str, field: str = "file") -> None:
        super().__init__(message)
        self.code = code
        self.field = field
