"""What an administrator does: which AE titles the organisation receives under, and who may send to them."""

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets.models import Dataset
from datasets.receiving.models import AE_TITLE, FormerTitle, Peer, Receiver, network

MOST_PEERS = 200


@transaction.atomic
def add_receiver(*, actor: Actor, title: str, dataset: Dataset | None = None) -> Receiver:
    """Raises ValidationError: no AE title, another receiver's, or one that was another organisation's."""
    taken = {"title": _("This AE title is taken. Choose another one.")}
    row = Receiver(organisation=actor.organisation, title=_title("title", title), dataset=dataset, created_by=actor.user)
    former = FormerTitle.objects.select_for_update().filter(title=row.title).first()
    if former is not None and former.organisation_id != row.organisation_id:
        raise ValidationError(taken)
    _saved(row, taken)
    if former is not None:
        former.delete()
    audit.record(actor, "receiver.added", row, dataset=str(dataset.pk) if dataset else "")
    return row


@transaction.atomic
def change_receiver(*, actor: Actor, receiver: Receiver, dataset: Dataset | None, active: bool) -> Receiver:
    """Where its arrivals go, and whether it listens. Its AE title stays: peers are set up with it."""
    row: Receiver = Receiver.objects.select_for_update().get(pk=receiver.pk)
    row.dataset, row.active = dataset, active
    row.save(update_fields=["dataset", "active"])
    audit.record(actor, "receiver.changed", row, active=active, dataset=str(dataset.pk) if dataset else "")
    return row


@transaction.atomic
def remove_receiver(*, actor: Actor, receiver: Receiver) -> None:
    """It listens no more within seconds; what came stays. Its AE title stays the organisation's. Doing it twice is harmless."""
    row = Receiver.objects.select_for_update().filter(pk=receiver.pk).first()
    if row is not None:
        audit.record(actor, "receiver.removed", row, peers=row.peers.count())
        FormerTitle.objects.get_or_create(title=row.title, defaults={"organisation": row.organisation})
        row.delete()


@transaction.atomic
def add_peer(*, actor: Actor, receiver: Receiver, title: str, address: str) -> Peer:
    """Raises ValidationError: no AE title, no address, or on the list already."""
    if receiver.peers.count() >= MOST_PEERS:
        raise ValidationError({"title": _("At most %(limit)d peers can be allowed.") % {"limit": MOST_PEERS}})
    try:
        place = network(address)
    except ValidationError as error:
        raise ValidationError({"address": error.messages}) from error
    row = Peer(receiver=receiver, title=_title("title", title), address=place)
    _saved(row, {"title": _("This peer is on the list already.")})
    audit.record(actor, "receiver.peer_added", receiver, peer=str(row))
    return row


@transaction.atomic
def remove_peer(*, actor: Actor, peer: Peer) -> None:
    """It may send nothing more, within seconds. Doing it twice is harmless."""
    row = Peer.objects.select_related("receiver").filter(pk=peer.pk).first()
    if row is not None:
        audit.record(actor, "receiver.peer_removed", row.receiver, peer=str(row))
        row.delete()


def _title(name: str, value: str) -> str:
    title = value.strip()
    try:
        AE_TITLE(title)
    except ValidationError as error:
        raise ValidationError({name: error.messages}) from error
    return title


def _saved(row: Receiver | Peer, taken: dict[str, str]) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise ValidationError(taken) from error
