"""Every model that belongs to an organisation is reached through the one scoping door."""

from typing import Any

import pytest
from django.apps import apps
from django.db import models

from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet

OURS = {"accounts", "jobs", "datasets", "training", "inference", "aimass_site"}
# Models without an organisation, and why.
NOT_SCOPED = {
    "accounts.User": "a person may belong to several organisations; reached through memberships",
    "accounts.Organisation": "is the tenant itself; reached through the actor",
    "jobs.Node": "the hosts of the installation, which show nothing of any organisation",
}


def our_models() -> list[type[models.Model]]:
    return [m for m in apps.get_models() if m._meta.app_label in OURS]


def path_end(model: type[models.Model], path: str) -> Any:
    """The model that a double-underscored path of foreign keys leads to."""
    current: Any = model
    for part in path.split("__"):
        field = current._meta.get_field(part)
        current = field.related_model
    return current


@pytest.mark.parametrize("model", our_models(), ids=lambda m: m._meta.label)
def test_model_is_scoped_or_says_why_not(model: type[models.Model]) -> None:
    if model._meta.label in NOT_SCOPED:
        return
    manager = model._default_manager
    assert isinstance(manager.all(), OrganisationQuerySet), f"{model._meta.label} has no OrganisationQuerySet"
    assert path_end(model, getattr(model, "organisation_path", "organisation")) is Organisation


def test_exceptions_still_exist_and_are_still_needed() -> None:
    labels = {m._meta.label: m for m in our_models()}
    for label in NOT_SCOPED:
        assert label in labels, f"{label} is gone: take it off the list"
        assert not isinstance(labels[label]._default_manager.all(), OrganisationQuerySet), f"{label} is scoped now"


@pytest.mark.parametrize("model", [m for m in our_models() if m._meta.label not in NOT_SCOPED], ids=lambda m: m._meta.label)
@pytest.mark.django_db
def test_nobody_gets_no_rows(model: Any) -> None:
    assert model._default_manager.for_organisation(None).query.is_empty()
