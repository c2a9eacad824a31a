"""The DICOM receiver: who may call, what is answered. One process of it; `processes` makes several.

An image is answered with success once it is durable in the spool, and not looked into here: that is the job's work, in a process
of its own. No value of an image is logged, not even its UID.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
from dataclasses import dataclass
from typing import Any

from django.db import close_old_connections, connection
from pynetdicom import AE, _config, evt

from accounts import audit
from accounts.actor import Actor
from accounts.held import Held
from accounts.models import Organisation
from datasets.receiving import part10
from datasets.receiving.directory import Directory, Entry
from datasets.receiving.quick import LARGEST_PDU, Server
from datasets.receiving.taking import ask_for
from datasets.receiving.writing import Writer

logger = logging.getLogger(__name__)
VERIFICATION = "1.2.840.10008.1.1"  # C-ECHO's SOP class, PS3.4 A.4
MOST_ASSOCIATIONS = 100  # of one process
SILENT = 60.0  # seconds after which an association without a request is ended
LOOK = 1.0  # seconds between two rounds of the housekeeping
SUCCESS, NOT_AUTHORISED, NO_ROOM, NOT_UNDERSTOOD, FAILED = 0x0000, 0x0124, 0xA700, 0xC000, 0x0110
CALLING_UNKNOWN, CALLED_UNKNOWN = (0x01, 0x01, 0x03), (0x01, 0x01, 0x07)  # A-ASSOCIATE-RJ, PS3.8 9.3.4
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
MOST_REFUSED = 1_000
_refused: Held[bool] = Held(60.0)  # one entry a minute for who goes on trying


@dataclass
class Caller:
    """Who is at the other end of an association."""

    entry: Entry
    title: str
    address: str

    @property
    def sender(self) -> dict[str, str]:
        return {"peer": self.title, "address": self.address}


class DicomReceiver:
    """`start` on a listening socket, `stop`. What it knows of receivers and peers is two seconds old at most."""

    def __init__(self, listening: socket.socket) -> None:
        self.directory, self.writer = Directory(), Writer()
        self.refused: set[tuple[Any, str, str, str]] = set()
        self.stopping = threading.Event()
        listening.setblocking(False)
        _config.UNRESTRICTED_STORAGE_SERVICE = True  # private and new kinds of objects too: the job says what becomes of them
        _config.LOG_HANDLER_LEVEL = "none"  # its own handlers write UIDs and AE titles
        self.ae = AE(ae_title="AIMASS")
        self.ae.maximum_associations = MOST_ASSOCIATIONS
        self.ae.maximum_pdu_size = LARGEST_PDU
        self.ae.network_timeout = SILENT
        self.ae.add_supported_context(VERIFICATION)
        handlers: Any = [
            (evt.EVT_REQUESTED, self.requested),
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_C_ECHO, self.echo),
        ]
        address = listening.getsockname()
        self.server: Any = self.ae.make_server(address, evt_handlers=handlers, server_class=Server, listening=listening)
        self.housekeeper = threading.Thread(target=self.keep_house, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Serve until `stop`, in threads."""
        self.directory.read()
        self.housekeeper.start()
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.2}, name="accepting", daemon=True).start()

    def stop(self, patience: float = 10.0) -> None:
        """Take no new calls, let those that run end, close the spool."""
        self.server.shutdown()
        for association in self.server.active_associations:
            association.join(patience)
        for association in self.server.active_associations:
            association.abort()
        self.stopping.set()
        self.housekeeper.join(patience)
        self.writer.close(all_of_them=True)
        self.ring()

    # -- what peers ask --

    def requested(self, event: Any) -> None:
        """Before an association is accepted: is the called title ours, may this peer call it? Whatever fails here refuses."""
        association = event.assoc
        try:
            verdict = self.admit(association)
        except Exception:  # pynetdicom would go on and accept
            logger.exception("a call could not be judged")
            verdict = CALLED_UNKNOWN
        if verdict is not None:
            association.acse.send_reject(*verdict)
            association.kill()

    def admit(self, association: Any) -> tuple[int, int, int] | None:
        """None for a call that is taken (then the association has its `caller`), else how it is refused."""
        request = association.requestor.primitive
        called, calling = request.called_ae_title.strip(), request.calling_ae_title.strip()
        address = association.requestor.address_info.address
        entry = self.directory.find(called)
        if entry is None:
            return CALLED_UNKNOWN
        if not entry.allows(calling, address):
            if len(self.refused) < MOST_REFUSED:
                self.refused.add((entry.organisation, entry.title, calling, address))
            return CALLING_UNKNOWN
        association.caller = Caller(entry, calling, address)
        _readable_first(request)
        return None

    def echo(self, event: Any) -> int:
        """C-ECHO: whether one would be heard."""
        return SUCCESS

    def store(self, event: Any) -> int:
        """C-STORE: durable, then success."""
        caller: Caller = event.assoc.caller
        body = event.request.DataSet
        try:
            return self._store(event, caller, body)
        except OSError as error:
            logger.warning("an image could not be kept: %s", errno.errorcode.get(error.errno or 0, type(error).__name__))
            return NO_ROOM if error.errno in FULL or error.errno is None else FAILED
        except Exception:
            logger.exception("an image could not be kept")
            return FAILED
        finally:
            if body is not None:
                body.close()

    def _store(self, event: Any, caller: Caller, body: Any) -> int:
        entry = self.directory.find(caller.entry.title)
        if entry is None or entry.pk != caller.entry.pk or not entry.allows(caller.title, caller.address):
            return NOT_AUTHORISED  # taken off the list meanwhile
        request = event.request
        if body is None or not body.size or not request.AffectedSOPInstanceUID:
            return NOT_UNDERSTOOD
        if body.too_large or not entry.room.take(body.size):
            return NO_ROOM
        head = part10.header(
            sop_class=str(request.AffectedSOPClassUID),
            sop_instance=str(request.AffectedSOPInstanceUID),
            transfer_syntax=str(event.context.transfer_syntax),
        )

        def pieces() -> Any:
            yield head
            yield from body.pieces()

        about = {"source": "dicom", "receiver": entry.pk, "title": entry.title, "dataset": entry.dataset}
        self.writer.put(entry.pk, entry.organisation, about, caller.sender, pieces)
        return SUCCESS

    # -- meanwhile --

    def keep_house(self) -> None:
        """Until the end: read the lists anew, close segments, ring for the job, write down who was refused."""
        rounds = 0
        while not self.stopping.wait(LOOK):
            rounds += 1
            try:
                close_old_connections()
                if rounds % 2 == 0:
                    self.directory.read()
            except Exception:  # this thread must live: without it no segment is closed and no list is read
                logger.exception("a round of the housekeeping failed")
            try:
                self.writer.close()
                self.ring()
            except Exception:
                logger.exception("a round of the housekeeping failed")
        connection.close()

    def ring(self) -> None:
        """Ask for the job, write down who was refused. Where the database does not answer, the schedule rings within a minute."""
        try:
            while self.refused:
                self._note_refused(*self.refused.pop())
            for organisation in Organisation.objects.filter(pk__in=self.writer.to_take()):
                ask_for(organisation)
        except Exception:
            logger.exception("the job could not be asked for; the schedule will")

    def _note_refused(self, organisation_pk: Any, called: str, calling: str, address: str) -> None:
        mark = f"{called}\n{address}"  # not what it calls itself: it may call itself anything
        organisation = None if _refused.get(mark) else Organisation.objects.filter(pk=organisation_pk).first()
        if organisation is not None:
            _refused.set(mark, True)
            detail = {"called": called, "calling": calling, "address": address}
            audit.record(Actor(organisation=organisation), "dicom.refused", outcome="denied", **detail)


def _readable_first(request: Any) -> None:
    """Of the encodings that the peer offers the first is taken: put those first that we can decode."""
    from datasets.dicom.reading import syntax_readable

    for context in request.presentation_context_definition_list:
        if len(context.transfer_syntax) > 1:
            context._transfer_syntax.sort(key=lambda uid: not _known_syntax(str(uid), syntax_readable))


_syntaxes: dict[str, bool] = {}


def _known_syntax(uid: str, ask: Any) -> bool:
    if uid not in _syntaxes:
        if len(_syntaxes) > 1000:
            return False
        _syntaxes[uid] = bool(ask(uid))
    return _syntaxes[uid]
