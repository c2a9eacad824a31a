"""Writing the audit log. Never put patient data into `detail`: identifiers, counts and field names only."""

from typing import Any

from accounts.actor import Actor
from accounts.models import AuditEvent


def event(
    actor: Actor, action: str, obj: Any = None, *, outcome: str = "ok", organisation: Any = None, **detail: Any
) -> AuditEvent:
    """An unsaved audit event, for callers that insert many at once."""
    return AuditEvent(
        organisation=organisation or actor.organisation,
        actor_user=actor.user,
        actor_label=actor.label[:300],
        action=action,
        object_type=obj._meta.model_name if obj is not None else "",
        object_id=str(obj.pk) if obj is not None else "",
        object_label=str(getattr(obj, "audit_label", obj))[:200] if obj is not None else "",
        outcome=outcome,
        ip=actor.ip,
        user_agent=actor.user_agent[:200],
        detail=detail,
    )


def record(
    actor: Actor, action: str, obj: Any = None, *, outcome: str = "ok", organisation: Any = None, **detail: Any
) -> AuditEvent:
    """Append one event: `record(actor, "dataset.created", dataset, rows=920)`."""
    row = event(actor, action, obj, outcome=outcome, organisation=organisation, **detail)
    row.save(force_insert=True)
    return row
