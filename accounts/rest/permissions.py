"""The DRF side of the one question: each view names its permission per method."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission

READS = {"GET", "HEAD", "OPTIONS"}


def required_permission(view: Any, method: str) -> Permission | None:
    """`view.permissions` maps methods (or "read"/"write") to a Permission; a view without it is refused (fails closed)."""
    table: dict[str, Permission | None] = view.permissions
    return table[method] if method in table else table["read" if method in READS else "write"]


class ActorMay(BasePermission):
    """Allows what the actor's role and key allow; a view with no declared permissions is an error, never open."""

    def has_permission(self, request: Request, view: Any) -> bool:
        actor = actor_of(request)
        if actor.user is None:
            return False
        if actor.organisation is None:
            self.message = _("Create or join an organisation first.")
            return False
        handled = request.method in {m.upper() for m in view.http_method_names if hasattr(view, m) or m == "options"}
        if not handled:
            return True  # DRF answers 405
        permission = required_permission(view, str(request.method))
        if permission is None or actor.may(permission):
            return True
        text = _("This needs the permission “%(name)s”, which your role or key does not have.")
        self.message = text % {"name": permission.value}
        audit.record(actor, "access.denied", outcome="denied", permission=permission.value, path=request.path[:200])
        return False
