"""The segments that the requests of one server process share, as a receiving process's associations share theirs.

A request appends its images and waits for a flush, which serves all that wait. While anything is open, a thread closes what is
idle or old and rings for the job; it ends with the last segment, and with it its database connection. What a killed process
leaves is found by its lock, which has gone, and taken in by the schedule.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from django.db import close_old_connections, connections
from django.utils import timezone

from accounts.actor import Actor
from accounts.models import Organisation
from datasets.receiving.taking import ask_for
from datasets.receiving.writing import Appended, Pieces, Writer

logger = logging.getLogger(__name__)
LOOK = 0.5  # seconds between two rounds of the housekeeping


class Shared:
    """The open segments of this process's requests, one for each sender."""

    def __init__(self) -> None:
        self.writer = Writer()
        self._guard = threading.Lock()
        self._keeper: threading.Thread | None = None

    def append(self, actor: Actor, pieces: Pieces) -> Appended:
        """An image of this sender's, in a segment; not durable yet. Raises OSError."""
        organisation: Any = actor.organisation
        user = str(actor.user.pk) if actor.user else ""
        sender = {"label": actor.label[:300], "address": actor.ip or "", "agent": actor.user_agent[:200]}
        # Who stored it is durable with the image: the job writes it into the audit log, whatever becomes of this process.
        about = {"source": "stow", "user": user, "sender": {**sender, "at": timezone.now().isoformat(timespec="seconds")}}
        note = {"peer": "STOW-RS", "address": sender["address"]}
        try:
            return self.writer.append((organisation.pk, user, *sender.values()), organisation.pk, about, note, pieces)
        finally:
            self._watch()

    def tidy(self, *, all_of_them: bool = False) -> None:
        """Close what is idle or old, ask for the job of the organisations whose segments were closed."""
        self.writer.close(all_of_them=all_of_them)
        for organisation in Organisation.objects.filter(pk__in=self.writer.to_take()):
            ask_for(organisation)

    def _watch(self) -> None:
        with self._guard:
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep_house, name="spool", daemon=True)
                self._keeper.start()

    def _keep_house(self) -> None:
        while True:
            time.sleep(LOOK)
            try:
                close_old_connections()
                self.tidy()
            except Exception:  # without this thread no segment is closed; where the database fails, the schedule rings
                logger.exception("a round of the spool's housekeeping failed")
            with self._guard:
                if self.writer.idle:
                    self._keeper = None
                    break
        connections.close_all()


shared = Shared()


def _forget() -> None:
    """In a forked child: its parent's segments are not its own, and their locks must not live as long as it does."""
    global shared
    shared.writer.disown()
    shared = Shared()


os.register_at_fork(after_in_child=_forget)
