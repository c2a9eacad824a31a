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
from django.utils.translation import gettext_lazy

from datasets.importing import watching
from datasets.importing.base import Faulty, FileFault, SourceError
from datasets.importing.network import Network, valid_host
from datasets.importing.said import gettext as _
from datasets.importing.sources.files import (
    LONGEST_NAME,
    MOST,
    Entry,
    Exactly,
    FilesForm,
    FileSource,
    changed,
)

SILENCE = 30.0  # seconds without a byte
SIGN_IN_SECONDS = 30.0
DEEPEST = 20
BROKEN = (paramiko.SSHException, EOFError, OSError)  # what paramiko raises
ROUNDS = 256  # of bcrypt, which opens a key: some seconds


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
        max_length=10_000,  # three times one of RSA with 4,096 bits
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

    def clean_private_key(self) -> str:
        given = str(self.cleaned_data["private_key"])
        if given.strip() and not looks_like_key(given):
            raise forms.ValidationError(_("This is no private key in OpenSSH's or PEM format."))
        return given


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
        except OSError as error:
            if not isinstance(self._broken(error), FileFault):  # the connection, not this folder
                raise
            if path:
                yield Faulty(Entry(path, 0, 0).shown, _("This folder can't be read."))
                return
            text = _("The folder %(folder)s is not on %(host)s, or this user may not read it.")
            raise SourceError("not_found", text % {"folder": self.folder, "host": self.host}) from None
        for inner in folders:
            if len(inner) > LONGEST_NAME:
                yield Faulty(Entry(inner, 0, 0).shown, _("Its name is too long or has characters that are no text."))
            elif depth >= DEEPEST:
                yield Faulty(Entry(inner, 0, 0).shown, _("Folders are read to a depth of %(most)d.") % {"most": DEEPEST})
            else:
                yield from self._listed_below(client, inner, depth + 1)

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[IO[bytes]]:
        with self._told():
            client, path = self._signed_in(), f"{self.folder}/{entry.path}"
            try:
                file = client.open(path, "rb")
            except OSError as error:
                raise self._broken(error) from None
            with file:
                file.prefetch(entry.size)
                yield cast(IO[bytes], Exactly(file.read, entry.size, self._broken))
                try:
                    now = client.stat(path)
                except OSError as error:
                    raise self._broken(error) from None
            if (now.st_size, float(now.st_mtime or 0)) != (entry.size, entry.modified):
                raise changed()

    def _broken(self, error: Exception) -> SourceError:
        """What went wrong with a file: with it alone, where the server says so, or with the connection."""
        if isinstance(error, FileNotFoundError | PermissionError):
            return FileFault("gone", _("It is gone, or this user may not read it."), passing=True)
        if not isinstance(error, BROKEN):
            raise error
        silent = isinstance(error, TimeoutError)
        if isinstance(error, OSError) and not silent and error.errno is None and self._is_open():  # the answer to this request
            return FileFault("broken", _("The server can't read it."), passing=True)
        self.close()  # else the next file would wait for the answers to this one
        return self._sentence(error)

    def _is_open(self) -> bool:
        channel = self._client.get_channel() if self._client else None
        return channel is not None and not channel.closed and self._transport is not None and self._transport.is_active()

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
        try:
            yield
        except SourceError:
            raise
        except BROKEN as error:
            self.close()
            raise self._sentence(error) from None

    def _sentence(self, error: Exception) -> SourceError:
        where = {"host": self.host}
        if isinstance(error, paramiko.AuthenticationException):
            text = _("%(host)s refuses the user, the password or the key. Enter them again.")
            return SourceError("sign_in", text % where)
        if isinstance(error, TimeoutError):
            return SourceError("timeout", _("%(host)s takes too long to answer.") % where, passing=True)
        text = _("The connection to %(host)s broke off, or what it speaks is not SFTP.")
        return SourceError("unreachable", text % where, passing=True)

    def close(self) -> None:
        for held in (self._client, self._transport):
            if held is not None:
                with suppress(Exception):  # the connection is gone already
                    held.close()
        self._client = self._transport = None


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` and all SSH programs write it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def looks_like_key(text: str) -> bool:
    """By its shape alone: to open it may take long, which no web worker waits for."""
    shape = r"-----BEGIN (OPENSSH|RSA|EC) PRIVATE KEY-----\s.+\s-----END \1 PRIVATE KEY-----"
    return re.fullmatch(shape, plain(text), re.DOTALL) is not None


def plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def rounds_of(text: str) -> int:
    """How often bcrypt is repeated to open a key in OpenSSH's format; 0 without a password. Raises ValueError."""
    if not text.startswith("-----BEGIN OPENSSH"):
        return 0  # PEM's own way asks for one round of MD5
    body = io.BytesIO(base64.b64decode("".join(text.splitlines()[1:-1]), validate=True))
    if body.read(15) != b"openssh-key-v1\0":
        raise ValueError(text[:20])
    _cipher, _kdf, options = (body.read(int.from_bytes(body.read(4))) for _part in range(3))
    salt = int.from_bytes(options[:4])
    return int.from_bytes(options[4 + salt : 8 + salt])


def key_of(text: str, password: str) -> paramiko.PKey:
    """Raises SourceError. For jobs alone: who pastes a key says how much work it is to open it."""
    text = plain(text) if looks_like_key(text) else ""
    try:
        rounds = rounds_of(text)
    except ValueError:
        rounds, text = 0, ""
    if rounds > ROUNDS:
        raise SourceError("sign_in", _("The private key asks for more than %(most)d rounds of bcrypt.") % {"most": ROUNDS})
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with suppress(paramiko.SSHException, ValueError, IndexError, TypeError, UnicodeError):
            return cast(paramiko.PKey, kind.from_private_key(io.StringIO(text + "\n"), password or None))
    raise SourceError("sign_in", _("The private key can't be read: it is not Ed25519, ECDSA or RSA, or its password is wrong."))
