"""The one door to an organisation's rows: every tenant model's queryset answers `.for_organisation(organisation)`."""

from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.shortcuts import get_object_or_404

if TYPE_CHECKING:
    from accounts.actor import Actor
    from accounts.models import Organisation


class OrganisationQuerySet(models.QuerySet[Any]):
    """Rows of one organisation. The model's `organisation_path` names the way to it."""

    def for_organisation(self, organisation: "Organisation | None") -> Self:
        """Only this organisation's rows; none at all for nobody."""
        if organisation is None:
            return self.none()
        path = getattr(self.model, "organisation_path", "organisation")
        return self.filter(**{path: organisation})


def get_or_404(queryset: Any, actor: "Actor", **lookup: Any) -> Any:
    """One row of the actor's organisation, or 404, so that not even the existence of others' rows shows."""
    return get_object_or_404(queryset.for_organisation(actor.organisation), **lookup)
