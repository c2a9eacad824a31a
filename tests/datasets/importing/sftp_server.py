"""An SFTP server by asyncssh, which shares no code with the paramiko that it is asked by."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

USER, PASSWORD = "importer", "pässword of the importer"


class SftpServer:
    """Gives out a folder; `fingerprint` and `port`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder, asyncssh.generate_private_key("ssh-ed25519")
        self.fingerprint = self.key.get_fingerprint()
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.commands = 0
        self.broken: set[str] = set()  # names of files that it can't read
        self.silent: set[str] = set()  # of which it never sends a byte
        self.connections: set[Any] = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def start(self) -> None:
        server = self

        class Rules(asyncssh.SSHServer):
            def connection_made(self, conn: Any) -> None:
                self.conn = conn
                server.connections.add(conn)

            def connection_lost(self, exc: Any) -> None:
                server.connections.discard(self.conn)

            def password_auth_supported(self) -> bool:
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                server.commands += 1
                return (username, password) == (USER, PASSWORD)

            def validate_public_key(self, username: str, key: Any) -> bool:
                return username == USER and key == server.client_key.convert_to_public()

        class Files(asyncssh.SFTPServer):
            async def read(self, file_obj: Any, offset: int, size: int) -> bytes:
                name = Path(os.fsdecode(file_obj.name)).name
                if name in server.silent:
                    try:
                        await asyncio.sleep(60)
                    finally:
                        file_obj.close()  # asyncssh leaves it open when its client goes meanwhile
                if name in server.broken:
                    raise asyncssh.SFTPFailure("the disk is broken")
                data: bytes = os.pread(file_obj.fileno(), size, offset)
                return data

        async def listen() -> Any:
            return await asyncssh.create_server(
                Rules, "127.0.0.1", 0, server_host_keys=[self.key],
                sftp_factory=lambda channel: Files(channel, chroot=str(self.folder)),
            )  # fmt: skip

        self.thread.start()
        self.listener = asyncio.run_coroutine_threadsafe(listen(), self.loop).result(30)
        self.port = self.listener.get_port()

    def cut_off(self) -> None:
        """End every connection."""
        for connection in list(self.connections):
            self.loop.call_soon_threadsafe(connection.abort)

    def stop(self) -> None:
        async def close() -> None:
            for connection in list(self.connections):
                connection.abort()
            self.listener.close()
            await asyncio.wait_for(self.listener.wait_closed(), 10)
            await asyncio.sleep(0.1)
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@contextmanager
def sftp_server(folder: Path) -> Iterator[SftpServer]:
    made = SftpServer(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()
