"""Who is asking, for which organisation, and the one question: may they?"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest

from accounts.permissions import ROLES, Permission

if TYPE_CHECKING:
    from accounts.models import ApiKey, Membership, Organisation, User


@dataclass(frozen=True)
class Actor:
    """The person, organisation and permissions behind one request or job; nobody by default."""

    user: "User | None" = None
    organisation: "Organisation | None" = None
    role: str = ""
    permissions: frozenset[Permission] = field(default_factory=frozenset)
    api_key: "ApiKey | None" = None
    ip: str | None = None
    user_agent: str = ""

    def may(self, permission: Permission) -> bool:
        """The one question, asked in one place."""
        return permission in self.permissions

    @property
    def label(self) -> str:
        """How the audit log names this actor."""
        if self.user is None:
            return "system"
        return f"{self.user.email} (key {self.api_key.prefix})" if self.api_key else self.user.email

    @classmethod
    def member(cls, membership: "Membership", **extra: Any) -> "Actor":
        """The actor that a membership makes, with all that its role allows."""
        return cls(
            user=membership.user,
            organisation=membership.organisation,
            role=membership.role,
            permissions=ROLES[membership.role].permissions,
            **extra,
        )


NOBODY = Actor()


def actor_of(request: Any) -> Actor:
    """The actor of a Django or DRF request; NOBODY when no one is signed in."""
    http: HttpRequest = getattr(request, "_request", request)
    return getattr(http, "actor", NOBODY)
