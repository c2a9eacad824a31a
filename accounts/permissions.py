"""What a person may do, and which role may do it. Permissions are an enum, roles are data."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Permission(StrEnum):
    VIEW_DATA = "data:read"
    WRITE_DATA = "data:write"
    EXPORT_DATA = "data:export"
    ERASE_PATIENT = "data:erase"
    REIDENTIFY = "patients:reidentify"
    VIEW_MODELS = "models:read"
    TRAIN = "models:train"
    CONFIRM_MODEL = "models:confirm"
    PUBLISH_MODEL = "models:publish"
    DIAGNOSE = "diagnoses:create"
    VIEW_DIAGNOSES = "diagnoses:read"
    REVIEW_DIAGNOSIS = "diagnoses:review"
    VIEW_MEMBERS = "members:read"
    MANAGE_MEMBERS = "members:manage"
    MANAGE_ORGANISATION = "organisation:manage"
    MANAGE_KEYS = "keys:manage"
    VIEW_AUDIT = "audit:read"
    VIEW_JOBS = "jobs:read"
    MANAGE_JOBS = "jobs:manage"

    @property
    def label(self) -> Promise:
        return PERMISSION_LABELS[self]

    @classmethod
    def known(cls, values: Iterable[str]) -> "frozenset[Permission]":
        """The permissions that these texts name; those that exist no more are left out."""
        by_value = {permission.value: permission for permission in cls}
        return frozenset(by_value[value] for value in values if value in by_value)


P = Permission
PERMISSION_LABELS: dict[Permission, Promise] = {
    P.VIEW_DATA: _("read data sets and patient records"),
    P.WRITE_DATA: _("upload and change records"),
    P.EXPORT_DATA: _("export records"),
    P.ERASE_PATIENT: _("erase a patient"),
    P.REIDENTIFY: _("see which patient is behind a pseudonym"),
    P.VIEW_MODELS: _("see models, runs and the leaderboard"),
    P.TRAIN: _("train models"),
    P.CONFIRM_MODEL: _("confirm the champion and roll back"),
    P.PUBLISH_MODEL: _("publish a model to all organisations"),
    P.DIAGNOSE: _("ask for diagnoses"),
    P.VIEW_DIAGNOSES: _("read diagnoses"),
    P.REVIEW_DIAGNOSIS: _("confirm, correct or reject diagnoses"),
    P.VIEW_MEMBERS: _("see who belongs to the organisation"),
    P.MANAGE_MEMBERS: _("invite people and give them roles"),
    P.MANAGE_ORGANISATION: _("change the organisation"),
    P.MANAGE_KEYS: _("create and revoke one's own API keys"),
    P.VIEW_AUDIT: _("read the audit log"),
    P.VIEW_JOBS: _("see background work"),
    P.MANAGE_JOBS: _("cancel and retry background work"),
}


@dataclass(frozen=True)
class Role:
    """A named set of permissions, described in plain words for the person who gives it."""

    name: str
    label: Promise
    description: Promise
    permissions: frozenset[Permission]


_READ = frozenset({P.VIEW_DATA, P.VIEW_MODELS, P.VIEW_DIAGNOSES, P.VIEW_JOBS, P.VIEW_MEMBERS})
ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role(
            "administrator",
            _("Administrator"),
            _("Runs the organisation: members, roles, keys, audit. May do everything."),
            frozenset(Permission),
        ),
        Role(
            "data_scientist",
            _("Data scientist"),
            _("Uploads data, trains, compares, confirms and publishes models."),
            _READ
            | {
                P.WRITE_DATA,
                P.EXPORT_DATA,
                P.TRAIN,
                P.CONFIRM_MODEL,
                P.PUBLISH_MODEL,
                P.DIAGNOSE,
                P.MANAGE_KEYS,
                P.MANAGE_JOBS,
            },
        ),
        Role(
            "clinician",
            _("Clinician"),
            _("Uploads records, confirms the champion, asks for diagnoses and reviews them."),
            _READ
            | {
                P.WRITE_DATA,
                P.TRAIN,
                P.CONFIRM_MODEL,
                P.DIAGNOSE,
                P.REVIEW_DIAGNOSIS,
                P.MANAGE_KEYS,
                P.MANAGE_JOBS,
            },
        ),
        Role(
            "auditor",
            _("Auditor"),
            _("Reads everything, also the audit log, and changes nothing."),
            _READ | {P.VIEW_AUDIT},
        ),
    )
}
