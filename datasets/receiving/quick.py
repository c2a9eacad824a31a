"""pynetdicom that waits for events instead of polling for them, and bounds what a peer can make it hold.

pynetdicom 3.0 runs two loops for each association that sleep a millisecond whenever there is nothing to do: three to four
milliseconds for each image, and a core's time for some dozens of idle associations. Here the loops sleep until the socket, or the
other loop, has something; an image is served in the thread that has read it. Its inner parts are used by name, so the version is
pinned and tests/datasets/receiving holds each of them.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import select
import socket
import socketserver
import struct
import threading
from typing import Any

from django.conf import settings
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import (
    AddressInformation,
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from datasets.receiving.body import Body

LARGEST_PDU = 128 * 1024  # what we ask peers to keep to: a slice in a few of them
MOST_PDU = 2**20  # bytes; a peer that claims more is not believed. (pynetdicom would wait for up to 4 GB.)
MOST_COMMAND = 2**14  # bytes of a command set
ROUND = 0.1  # seconds after which timers are looked at
STALLED = 30.0  # seconds without a byte in the middle of a PDU


class Woken(queue.Queue[Any]):
    """A queue that tells its reader."""

    def __init__(self, work: threading.Event) -> None:
        super().__init__()
        self.work = work

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self.work.set()


class Pace(threading.Event):
    """What the association's loop looks at in every round (`_reactor_checkpoint`): it sleeps there until there is work."""

    def __init__(self, work: threading.Event) -> None:
        super().__init__()
        self.work = work

    def wait(self, timeout: float | None = None) -> bool:
        self.work.wait(ROUND)
        self.work.clear()
        return super().wait(timeout)


class QuickSocket(AssociationSocket):
    """`ready` waits for the peer or for something to send; a read is bounded."""

    @property
    def ready(self) -> bool:
        sock, dul = self.socket, self.assoc.dul
        assert isinstance(dul, QuickDul)
        if sock is None or not self._is_connected:
            return False
        busy = not dul.event_queue.empty() or not dul.to_provider_queue.empty()
        try:
            sources: list[Any] = [sock, dul.woken]
            found, _w, _x = select.select(sources, [], [], 0 if busy else ROUND)
        except (OSError, ValueError):
            dul.event_queue.put("Evt17")
            return False
        if dul.woken in found:
            with contextlib.suppress(OSError):
                os.read(dul.woken, 4096)
        return sock in found

    def recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > MOST_PDU:
            raise OSError("the peer claims a PDU of more than a megabyte")
        assert self.socket is not None
        data, got = bytearray(nr_bytes), 0
        view = memoryview(data)
        while got < nr_bytes:
            count = self.socket.recv_into(view[got:])
            if not count:
                break
            got += count
        view.release()
        del data[got:]
        return data


class QuickDul(DULServiceProvider):
    """The upper layer's loop: what is to be sent wakes it."""

    def __init__(self, assoc: Association, work: threading.Event) -> None:
        super().__init__(assoc)
        self.daemon = True
        self._run_loop_delay = 0.0
        self.woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pipe = threading.Lock()
        self.to_user_queue = Woken(work)

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        self._wake()

    def kill_dul(self) -> None:
        super().kill_dul()
        self._wake()

    def stop_dul(self) -> bool:
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join(5)
        return True

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            with self._pipe:
                os.close(self.woken)
                os.close(self._waker)
                self.woken = self._waker = -1

    def _wake(self) -> None:
        if threading.get_ident() == self.ident:
            return
        with self._pipe, contextlib.suppress(BlockingIOError):
            if self._waker >= 0:
                os.write(self._waker, b"\0")


class Straight(Woken):
    """Whole messages: C-STORE and C-ECHO are served at once, in the thread that has read them."""

    def __init__(self, assoc: QuickAssociation, work: threading.Event) -> None:
        super().__init__(work)
        self.assoc = assoc

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        context_id, message = item
        plain = isinstance(message, C_STORE | C_ECHO) and message.is_valid_request
        if plain and self.assoc.is_established and context_id in self.assoc._accepted_cx:
            self.assoc._serve_request(message, context_id)
        else:
            super().put(item, block, timeout)


class CommandSet(io.BytesIO):
    """The pieces of a command set, which PS3.7 gives a few hundred bytes; no peer can have us gather more and more of them."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > MOST_COMMAND:
            raise CommandTooLong
        return super().write(data)


class CommandTooLong(Exception):
    """The peer sends a command set that has no end."""


class QuickDimse(DIMSEServiceProvider):
    """Messages whose command set is bounded and whose data set goes into a Body."""

    def __init__(self, assoc: QuickAssociation, work: threading.Event) -> None:
        super().__init__(assoc)
        self.msg_queue = Straight(assoc, work)

    def receive_primitive(self, primitive: Any) -> None:
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.encoded_command_set = CommandSet()
            self.message.data_set = Body(settings.MAX_UPLOAD_BYTES, settings.FILE_UPLOAD_TEMP_DIR)
        try:
            super().receive_primitive(primitive)
        except CommandTooLong:
            self.message = None
            self.dul.event_queue.put("Evt19")  # an invalid PDU: A-ABORT, and the association's end

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """pydicom takes longer to encode the answer to an image than all else that is done for the image."""
        if isinstance(primitive, C_STORE) and primitive.MessageIDBeingRespondedTo is not None:
            answer = P_DATA()
            answer.presentation_data_value_list.append((context_id, b"\x03" + stored_answer(primitive)))
            self.dul.send_pdu(answer)
        else:
            super().send_msg(primitive, context_id)


def stored_answer(primitive: C_STORE) -> bytes:
    """The command set of a C-STORE-RSP (PS3.7 9.3.1.2), implicit little endian."""
    rest = b"".join(
        (
            _command(0x0002, _uid(primitive.AffectedSOPClassUID)),
            _command(0x0100, struct.pack("<H", 0x8001)),
            _command(0x0120, struct.pack("<H", primitive.MessageIDBeingRespondedTo)),
            _command(0x0800, struct.pack("<H", 0x0101)),
            _command(0x0900, struct.pack("<H", primitive.Status)),
            _command(0x1000, _uid(primitive.AffectedSOPInstanceUID)),
        )
    )
    return _command(0x0000, struct.pack("<L", len(rest))) + rest


def _command(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, number, len(value)) + value


def _uid(value: Any) -> bytes:
    text = str(value or "").encode("ascii", "replace")
    return text + b"\0" * (len(text) % 2)


class QuickAssociation(Association):
    """An association with a peer; `caller` is what the server knows of it."""

    caller: Any = None

    def __init__(self, ae: Any, mode: str) -> None:
        super().__init__(ae, mode)
        self.work = threading.Event()
        self.dul = QuickDul(self, self.work)
        self.dimse = QuickDimse(self, self.work)
        self._reactor_checkpoint = Pace(self.work)
        self._reactor_checkpoint.set()


class Handler(RequestHandler):
    """Makes a QuickAssociation of a connection. After pynetdicom's `_create_association`, which names its class itself."""

    def _create_association(self) -> Association:
        assoc = QuickAssociation(self.ae, "acceptor")
        assoc._server = self.server
        assoc.name = "AcceptorThread"  # by this pynetdicom counts its associations
        assert isinstance(self.request, socket.socket)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(STALLED)
        assoc.set_socket(QuickSocket(assoc, client_socket=self.request))
        acceptor = assoc.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        acceptor.supported_contexts = list(self.server.contexts)
        assoc.requestor.address_info = AddressInformation.from_tuple(self.client_address)
        handlers: Any = self.server._handlers  # by event: one (handler, its arguments), or a list of them
        for event, bound in handlers.items():
            if not bound:
                continue
            if event.is_intervention:
                assoc.bind(event, *bound)
            else:
                for handler, given in bound:
                    assoc.bind(event, handler, given)
        return assoc


class Server(ThreadedAssociationServer):
    """Accepts on a socket that was bound before the processes were made; all of them wait on it."""

    daemon_threads = True

    def __init__(
        self, ae: Any, address: Any, ae_title: str, contexts: Any, ssl_context: Any, *,
        listening: socket.socket, evt_handlers: Any,
    ) -> None:  # fmt: skip
        self.listening = listening
        super().__init__(ae, address, ae_title, contexts, ssl_context, evt_handlers, Handler)

    def server_bind(self) -> None:
        assert self.socket is not None
        self.socket.close()
        self.socket = self.listening
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """It listens already."""

    def server_close(self) -> None:
        """Only this process's hold on it: a shutdown would end it for the others too."""
        assert self.socket is not None
        self.socket.close()

    def shutdown(self) -> None:
        """Take no more calls. (pynetdicom's own also takes the server off a list that this one is not on.)"""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
