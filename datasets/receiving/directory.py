"""Who may send what where, as the receiver knows it: read from the database every few seconds, asked without it."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from django.conf import settings

from accounts.held import Held
from datasets import quota
from datasets.receiving.models import Receiver

logger = logging.getLogger(__name__)
_rooms: Held[Room] = Held(seconds=5.0)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass
class Room:
    """How many bytes an organisation may still send, as far as this process knows; None: as many as it likes."""

    left: int | None = None
    _guard: Lock = field(default_factory=Lock, repr=False, compare=False)

    def take(self, size: int) -> bool:
        """Whether there is room for so many; they are counted. Asked by many threads."""
        if self.left is None:
            return True
        with self._guard:
            self.left -= size
            return self.left >= 0


@dataclass(frozen=True)
class Entry:
    """A receiver: its organisation's key, its data set's, whom it listens to."""

    pk: int
    title: str
    organisation: Any
    dataset: str
    peers: tuple[tuple[str, Network], ...]
    room: Room = field(default_factory=Room, compare=False)

    def allows(self, title: str, address: str) -> bool:
        """Whether this peer may send here."""
        place = plain(address)
        return any(title == known and place in network for known, network in self.peers)


def plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; one of IPv4 that came over an IPv6 socket as itself."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


class Directory:
    """The last reading. Read in one thread, asked in many: it is replaced as a whole."""

    def __init__(self) -> None:
        self._known: dict[str, Entry] = {}

    def find(self, title: str) -> Entry | None:
        """The active receiver of this AE title."""
        return self._known.get(title)

    def read(self) -> None:
        """Anew from the database. Where that fails the last reading stays, and the log says so."""
        try:
            rows = list(Receiver.objects.filter(active=True).select_related("organisation").prefetch_related("peers"))
            rooms = {row.organisation: room_of(row.organisation) for row in rows}
        except Exception:  # whatever it is, the receiver goes on with what it knows, and tries again
            logger.exception("the list of receivers could not be read; the last one stays in use")
            return
        self._known = {row.title: _entry(row, rooms[row.organisation]) for row in rows}


def _entry(row: Receiver, room: Room) -> Entry:
    peers = tuple((peer.title, ipaddress.ip_network(peer.address)) for peer in row.peers.all())
    return Entry(row.pk, row.title, row.organisation_id, str(row.dataset_id or ""), peers, room)


def room_of(organisation: Any) -> Room:
    """What is left of the organisation's quota; what waits in its spool counts."""
    if not settings.UPLOAD_QUOTA_BYTES:
        return Room()
    return Room(int(settings.UPLOAD_QUOTA_BYTES) - quota.used(organisation))


def room_now(organisation: Any) -> Room:
    """The same, not more than some seconds old and counted down meanwhile: adding up a full spool takes longer than an image."""
    found = _rooms.get(str(organisation.pk))
    if found is None:
        found = room_of(organisation)
        _rooms.set(str(organisation.pk), found)
    return found
