"""What the navigation bar shows to whom."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.actor import actor_of
from accounts.permissions import Permission


@dataclass(frozen=True)
class Item:
    label: Promise
    url_name: str
    permission: Permission | None
    prefix: str  # the path prefix under which the item is marked as current


ITEMS = (
    Item(_("Diagnose"), "inference:start", Permission.DIAGNOSE, "/diagnose"),
    Item(_("Diagnoses"), "inference:diagnoses", Permission.VIEW_DIAGNOSES, "/diagnoses"),
    Item(_("Data sets"), "datasets:list", Permission.VIEW_DATA, "/datasets"),
    Item(_("Models"), "training:models", Permission.VIEW_MODELS, "/models"),
    Item(_("Training"), "training:runs", Permission.VIEW_MODELS, "/training"),
    Item(_("Jobs"), "jobs:list", Permission.VIEW_JOBS, "/jobs"),
)


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context for base.html: the items that this person may open."""
    actor = actor_of(request)
    if actor.organisation is None:
        return {"navigation_items": []}
    items = []
    for item in ITEMS:
        if item.permission is None or actor.may(item.permission):
            try:
                url = reverse(item.url_name)
            except NoReverseMatch:
                continue
            current = request.path == url or request.path.startswith(item.prefix + "/")
            items.append({"label": item.label, "url": url, "current": current})
    return {"navigation_items": items}
