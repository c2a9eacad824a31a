"""A folder of an SFTP server, whose host key a person has confirmed.

paramiko, on a socket of the network's guard. The key that the server shows is compared with the confirmed fingerprint before
anything is sent; no key is ever taken unseen. (fsspec's SFTP resolves the name itself and takes any host key.)
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, ClassVar, cast

import paramiko
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.importing import watching
from datasets.importing.base import Faulty, FileFault, SourceError
from datasets.importing.network import Network, valid_host
from datasets.importing.sources.files import MOST, Entry, FilesForm, FileSource

SILENCE = 30.0  # seconds without a byte
SIGN_IN_SECONDS = 30.0
DEEPEST = 20


class SftpForm(FilesForm):
    """What a person fills in."""

    host = forms.CharField(label=gettext_lazy("Host"), max_length=253)
    port = forms.IntegerField(label=gettext_lazy("Port"), initial=22, min_value=1, max_value=65535)
    fingerprint = forms.CharField(
        label=gettext_lazy("Fingerprint of the host key"),
        required=False,
        max_length=60,
        help_text=gettext_lazy(
            "SHA256:… Leave it empty at first: the connection test shows the server's. Ask who runs the server whether it is "
            "theirs, then enter it here."
        ),
    )
    user = forms.CharField(label=gettext_lazy("User"), max_length=200)
    password = forms.CharField(label=gettext_lazy("Password"), widget=forms.PasswordInput, required=False, max_length=500)
    private_key = forms.CharField(
        label=gettext_lazy("Private key"),
        widget=forms.Textarea,
        required=False,
        max_length=20_000,
        help_text=gettext_lazy("In OpenSSH's or PEM format. The password above opens it, if it has one."),
    )
    folder = forms.CharField(
        label=gettext_lazy("Folder"), max_length=1000, help_text=gettext_lazy("On the server, such as /outgoing.")
    )
    field_order = ("host", "port", "fingerprint", "user", "password", "private_key", "folder", "pattern", "subfolders")

    def clean_host(self) -> str:
        host = str(self.cleaned_data["host"]).strip()
        if not valid_host(host):
            raise forms.ValidationError(_("This is no name or address of a server."))
        return host

    def clean_fingerprint(self) -> str:
        given = str(self.cleaned_data["fingerprint"]).strip().rstrip("=")
        if given and not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", given):
            raise forms.ValidationError(_("A fingerprint is SHA256: and 43 letters, digits and signs."))
        return given

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("private_key"):
            try:
                key_of(cleaned["private_key"], cleaned.get("password") or "")
            except SourceError as error:
                self.add_error("private_key", str(error))
        return cleaned


class SftpSource(FileSource):
    """See the module's text."""

    kind: ClassVar[str] = "sftp"
    label: ClassVar[Any] = gettext_lazy("SFTP server")
    explained: ClassVar[Any] = gettext_lazy("Files in a folder of an SFTP server, whose host key you confirm once.")
    Form: ClassVar[type[forms.Form]] = SftpForm
    secrets: ClassVar[frozenset[str]] = frozenset({"password", "private_key"})

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        super().__init__(settings, network)
        self.host, self.port = str(settings["host"]), int(settings["port"])
        self.folder = str(settings["folder"]).rstrip("/") or "/"
        self._transport: paramiko.Transport | None = None
        self._client: paramiko.SFTPClient | None = None

    def entries(self) -> Iterator[Entry | Faulty]:
        with self._told():
            yield from self._listed_below(self._signed_in(), "", 0)

    def _listed_below(self, client: paramiko.SFTPClient, path: str, depth: int) -> Iterator[Entry | Faulty]:
        where = f"{self.folder}/{path}".rstrip("/") or "/"
        folders = []
        try:
            for number, found in enumerate(client.listdir_iter(where)):
                if number > MOST:
                    break  # `FileSource` tells of it
                mode, name = found.st_mode or 0, found.filename
                inner = f"{path}/{name}" if path else name
                if stat.S_ISREG(mode):  # links are not followed, as they lead where they like
                    yield Entry(inner, int(found.st_size or 0), float(found.st_mtime or 0))
                elif stat.S_ISDIR(mode) and self.subfolders and not name.startswith(".") and "/" not in name:
                    folders.append(inner)
        except (FileNotFoundError, PermissionError):
            if path:
                yield Faulty(Entry(path, 0, 0).shown, _("This folder can't be read."))
                return
            text = _("The folder %(folder)s is not on %(host)s, or this user may not read it.")
            raise SourceError("not_found", text % {"folder": self.folder, "host": self.host}) from None
        for inner in folders:
            if depth >= DEEPEST:
                yield Faulty(Entry(inner, 0, 0).shown, _("Folders are read to a depth of %(most)d.") % {"most": DEEPEST})
            else:
                yield from self._listed_below(client, inner, depth + 1)

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[IO[bytes]]:
        with self._told():
            client, path = self._signed_in(), f"{self.folder}/{entry.path}"
            try:
                with client.open(path, "rb") as file:
                    file.prefetch(entry.size)
                    yield cast(IO[bytes], Exactly(file, entry.size))
                    now = client.stat(path)
            except (FileNotFoundError, PermissionError):
                raise FileFault("gone", _("It is gone, or this user may not read it.")) from None
            if (now.st_size, float(now.st_mtime or 0)) != (entry.size, entry.modified):
                raise FileFault("changed", _("It changed while it was read; the next run takes it."))

    def _signed_in(self) -> paramiko.SFTPClient:
        if self._client is None:
            confirmed = str(self.settings.get("fingerprint") or "")
            self._transport = transport = paramiko.Transport(self.network.connect(self.host, self.port))
            transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = SIGN_IN_SECONDS
            with watching.limited(2 * SIGN_IN_SECONDS, transport.sock.fileno):
                transport.start_client(timeout=SIGN_IN_SECONDS)
                shown = fingerprint(transport.get_remote_server_key())
                if not confirmed:
                    text = _("%(host)s shows the host key %(key)s. If who runs it says that it is theirs, enter it below.")
                    raise SourceError("host_key", text % {"host": self.host, "key": shown})
                if shown != confirmed:
                    text = _(
                        "%(host)s shows the host key %(key)s and not the one that was confirmed. Ask who runs the server: "
                        "somebody may be in between."
                    )
                    raise SourceError("host_key", text % {"host": self.host, "key": shown})
                self._authenticate(transport)
                self._client = paramiko.SFTPClient.from_transport(transport)
            if self._client is None:
                raise SourceError("answer", _("%(host)s offers no SFTP.") % {"host": self.host})
            channel = self._client.get_channel()
            if channel is not None:
                channel.settimeout(SILENCE)
        return self._client

    def _authenticate(self, transport: paramiko.Transport) -> None:
        user, password = str(self.settings["user"]), str(self.settings.get("password") or "")
        if text := self.settings.get("private_key"):
            transport.auth_publickey(user, key_of(str(text), password))
        else:
            transport.auth_password(user, password)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """paramiko's errors in sentences."""
        where = {"host": self.host}
        try:
            yield
        except SourceError:
            raise
        except paramiko.AuthenticationException:
            text = _("%(host)s refuses the user, the password or the key. Enter them again.")
            raise SourceError("sign_in", text % where) from None
        except TimeoutError:
            raise SourceError("timeout", _("%(host)s takes too long to answer.") % where, passing=True) from None
        except (paramiko.SSHException, EOFError, OSError):
            self.close()
            text = _("The connection to %(host)s broke off, or what it speaks is not SFTP.")
            raise SourceError("unreachable", text % where, passing=True) from None

    def close(self) -> None:
        for held in (self._client, self._transport):
            if held is not None:
                with suppress(Exception):  # the connection is gone already
                    held.close()
        self._client = self._transport = None


class Exactly(io.RawIOBase):
    """A remote file to the length that was listed: one that has no end gets none of our disk."""

    def __init__(self, file: paramiko.SFTPFile, size: int) -> None:
        super().__init__()
        self.file, self.left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self.file.read(min(len(buffer), self.left)) if self.left else b""
        if not part and self.left:
            raise FileFault("changed", _("It changed while it was read; the next run takes it."))
        buffer[: len(part)] = part
        self.left -= len(part)
        return len(part)


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` and all SSH programs write it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def key_of(text: str, password: str) -> paramiko.PKey:
    """Raises SourceError."""
    text = text.replace("\r\n", "\n").strip() + "\n"
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with suppress(paramiko.SSHException, ValueError, IndexError, TypeError, UnicodeError):
            return cast(paramiko.PKey, kind.from_private_key(io.StringIO(text), password or None))
    raise SourceError("sign_in", _("The private key can't be read: it is not Ed25519, ECDSA or RSA, or its password is wrong."))
