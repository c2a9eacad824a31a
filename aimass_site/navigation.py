"""What the header shows to whom: pages, the account menu, organisations, unread notifications."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise, SimpleLazyObject
from django.utils.translation import gettext_lazy as _

from accounts.actor import Actor, actor_of
from accounts.models import Notification, Organisation
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
ACCOUNT_ITEMS = (
    Item(_("Your profile"), "accounts:profile", None, "/profile"),
    Item(_("Recommended model"), "training:recommendation", Permission.VIEW_MODELS, "/recommendation"),
    Item(_("What matters to you"), "accounts:preferences", None, "/preferences"),
    Item(_("API keys"), "accounts:keys", Permission.MANAGE_KEYS, "/keys"),
    Item(_("Members"), "accounts:members", None, "/members"),
    Item(_("Organisation"), "accounts:organisation", Permission.MANAGE_ORGANISATION, "/organisation"),
    Item(_("Who is behind a pseudonym"), "datasets:patient_key", Permission.REIDENTIFY, "/datasets/patients"),
    Item(_("Importers"), "datasets:importers", Permission.VIEW_DATA, "/datasets/importers"),
    Item(_("Receiving DICOM"), "datasets:receivers", Permission.MANAGE_ORGANISATION, "/datasets/receivers"),
    Item(_("Audit log"), "accounts:audit", Permission.VIEW_AUDIT, "/audit"),
    Item(_("New organisation"), "accounts:organisation_create", None, "/organisations/new"),
    Item(_("API documentation"), "api_docs", None, "/api/docs"),
)


def shown(items: tuple[Item, ...], actor: Actor, path: str) -> list[dict[str, Any]]:
    """The items that this person may open, with their addresses; an item without an address is left out."""
    found = []
    for item in items:
        if item.permission is not None and not actor.may(item.permission):
            continue
        try:
            url = reverse(item.url_name)
        except NoReverseMatch:
            continue
        current = path == url or path.startswith(item.prefix + "/")
        found.append({"label": item.label, "url": url, "current": current})
    return found


def unread(actor: Actor) -> int:
    """How many notifications this person has not read, in the organisation they are in."""
    return Notification.objects.for_organisation(actor.organisation).filter(user=actor.user, read_at=None).count()


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context for base.html. What needs the database is read only when the page shows it."""
    actor = actor_of(request)
    if actor.user is None:
        return {"navigation_items": []}
    account_items = shown(ACCOUNT_ITEMS, actor, request.path)
    if actor.organisation is None:
        return {"navigation_items": [], "account_items": [i for i in account_items if "organisations" in i["url"]]}
    mine = Organisation.objects.filter(memberships__user=actor.user).only("pk", "name")
    return {
        "navigation_items": shown(ITEMS, actor, request.path),
        "account_items": account_items,
        "organisation_choices": SimpleLazyObject(lambda: list(mine)),
        "unread_notifications": SimpleLazyObject(lambda: unread(actor)),
    }
