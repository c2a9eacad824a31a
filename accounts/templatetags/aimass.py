"""Built into every template: `actor|may:"data:write"`."""

from typing import Any

from django import template

from accounts.permissions import Permission

register = template.Library()


@register.filter
def may(actor: Any, permission: str) -> bool:
    """Whether the actor has the permission: `{% if request.actor|may:"data:write" %}`."""
    return actor.may(Permission(permission))
