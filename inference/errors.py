"""What can stand in the way of a diagnosis, in words for the person who asked."""

from typing import Any

from django.utils.translation import gettext as _


class DiagnosisRefused(Exception):
    """No diagnosis was made and nothing was saved. `code` is stable, `status` is the HTTP status that fits."""

    status = 409

    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail  # for the audit log: identifiers only


class NoChampion(DiagnosisRefused):
    """The model has no version that serves."""

    def __init__(self, model_id: Any) -> None:
        message = _("This model has no champion yet: confirm one of its versions on the model's page, then ask again.")
        super().__init__("no-champion", message, model=str(model_id))


class NotServing(DiagnosisRefused):
    """This version may not serve: it failed the gate, was retired, or is not the published champion."""

    def __init__(self, version_id: Any, why: str) -> None:
        super().__init__("not-serving", why, version=str(version_id))


class ModelUnavailable(DiagnosisRefused):
    """The version's artefact is missing or damaged."""

    status = 503

    def __init__(self, version_id: Any, reason: str) -> None:
        message = _(
            "This model version's files are missing or damaged, so it gives no diagnosis. Nothing was saved. Ask your"
            " data scientist to roll back to another version or to train again."
        )
        super().__init__("model-unavailable", message, version=str(version_id), reason=reason[:200])


class RecordsInvalid(Exception):
    """Some values cannot be understood: `errors` is a list of {field, message, code}; nothing was saved."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(errors[0]["message"] if errors else "")
        self.errors = errors


class ReviewRefused(Exception):
    """The review cannot be taken as given; `field` says which part of it is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
