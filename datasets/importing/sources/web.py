"""What all HTTP sources ask for: an address and a way to sign in; and the client that results."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
from django import forms
from django.utils.translation import gettext_lazy

from datasets.importing.errors import SourceError
from datasets.importing.http import Client, origin, shown
from datasets.importing.network import Network, valid_host
from datasets.importing.said import gettext as _

SECRETS = frozenset({"secret"})
SIGN_IN = [
    ("none", gettext_lazy("without signing in")),
    ("basic", gettext_lazy("user and password")),
    ("bearer", gettext_lazy("bearer token")),
    ("key", gettext_lazy("key in a header")),
    ("parameter", gettext_lazy("key in a parameter of the address")),
    ("client", gettext_lazy("client ID and secret (OAuth 2 client credentials)")),
]
# Parameters that hold a secret, as far as their names tell: the address is shown, and kept in clear.
TELLING = re.compile(
    r"(^|[^a-z])(x|amz|api|app|access|auth|authori[sz]ation|bearer|client|id|private|security|session|shared|subscription|user)?[-_.]?"
    r"(key|token|sig|sign|signature|secret|passw(or)?d|pwd|credentials?|auth|authorization)($|[^a-z])",
    re.IGNORECASE,
)
EARLY, LIFE = 30.0, 3600.0  # seconds before its end that a token is replaced; that it lasts where nobody says


class WebForm(forms.Form):
    """The address and the sign-in."""

    address = forms.CharField(label=gettext_lazy("Address"), max_length=1000)
    sign_in = forms.ChoiceField(label=gettext_lazy("Sign-in"), choices=SIGN_IN, initial="none")
    user = forms.CharField(
        label=gettext_lazy("User, or client ID"),
        required=False,
        max_length=200,
    )
    secret = forms.CharField(
        label=gettext_lazy("Password, token, key or secret"), widget=forms.PasswordInput, required=False, max_length=4000
    )
    header = forms.CharField(
        label=gettext_lazy("Header of the key"), required=False, max_length=100, help_text=gettext_lazy("Such as X-API-Key.")
    )
    parameter = forms.CharField(
        label=gettext_lazy("Parameter of the key"), required=False, max_length=100, help_text=gettext_lazy("Such as api_key.")
    )
    token_address = forms.CharField(
        label=gettext_lazy("Address that gives tokens"),
        required=False,
        max_length=1000,
        help_text=gettext_lazy("For client ID and secret alone."),
    )
    scope = forms.CharField(
        label=gettext_lazy("Scope"), required=False, max_length=500, help_text=gettext_lazy("For client ID and secret alone.")
    )

    def clean_address(self) -> str:
        return clean_address(self.cleaned_data["address"])

    def clean_token_address(self) -> str:
        given = self.cleaned_data["token_address"]
        return clean_address(given) if given.strip() else ""

    def clean_header(self) -> str:
        header = str(self.cleaned_data["header"]).strip()
        if not re.fullmatch(r"[A-Za-z0-9-]*", header) or header.casefold() in {"host", "content-length", "connection"}:
            raise forms.ValidationError(_("This is no name of a header for a key."))
        return header

    def clean_parameter(self) -> str:
        parameter = str(self.cleaned_data["parameter"]).strip()
        if not re.fullmatch(r"[A-Za-z0-9._~-]*", parameter):
            raise forms.ValidationError(_("This is no name of a parameter for a key."))
        return parameter

    def clean_secret(self) -> str:
        secret = str(self.cleaned_data["secret"])
        if not secret.isprintable() or (secret and not secret.isascii() and self.data.get("sign_in") != "basic"):
            raise forms.ValidationError(_("It has characters that such a secret can't have."))
        return secret

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        asked = {"basic": ("user",), "key": ("header",), "parameter": ("parameter",), "client": ("user", "token_address")}
        needed = asked.get(cleaned.get("sign_in", ""), ())
        for name in needed:
            if not cleaned.get(name) and name not in self.errors:
                self.add_error(name, _("It is needed for this way to sign in."))
        return cleaned


def clean_address(given: str) -> str:
    """Raises ValidationError unless it is an http or https address of a host, without user and password."""
    given = given.strip()
    try:
        parts = urlsplit(given)
        valid = parts.scheme in {"http", "https"} and valid_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not given.isprintable() or " " in given:
        raise forms.ValidationError(_("Enter an address that begins with https:// (or http://)."))
    if parts.username or parts.password:
        raise forms.ValidationError(_("Leave user and password out of the address and enter them below."))
    clean_parameters(parts.query)
    return given


def clean_parameters(query: str) -> None:
    """Raises ValidationError where a parameter's name says that it holds a secret."""
    for name, _value in parse_qsl(query, keep_blank_values=True):
        if TELLING.search(name):
            text = _("Leave “%(name)s” out and enter it below as a key in a parameter, where it is kept encrypted.")
            raise forms.ValidationError(text % {"name": name[:100]})


def client_of(settings: Mapping[str, Any], network: Network, headers: Mapping[str, str] | None = None) -> Client:
    """A client that signs in as the settings say."""
    user, secret = str(settings.get("user") or ""), str(settings.get("secret") or "")
    sent = dict(headers or {})
    match settings.get("sign_in"):
        case "basic":
            sent["Authorization"] = _basic(user, secret)
        case "bearer":
            sent["Authorization"] = f"Bearer {secret}"
        case "key":
            sent[settings["header"]] = secret
        case "parameter":
            return KeyClient(network, settings["address"], settings["parameter"], secret, sent)
        case "client":
            return TokenClient(network, settings, sent)
    return Client(network, settings["address"], sent)


class KeyClient(Client):
    """Adds a key to each address of its own server. What is told of an address leaves the parameters out."""

    def __init__(self, network: Network, address: str, name: str, key: str, headers: Mapping[str, str]) -> None:
        super().__init__(network, address, headers)
        self.name, self.key = name, key

    @contextmanager
    def stream(self, url: str, **given: Any) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
        full = with_parameter(url, self.name, self.key) if origin(url) == self.origin else url
        with super().stream(full, **given) as answer:
            yield answer


class TokenClient(Client):
    """Asks for a token, and for another one when it ends, or when the server no longer takes it."""

    def __init__(self, network: Network, settings: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(network, settings["address"], headers)
        self.settings, self.network = settings, network
        self.taken, self.until = False, 0.0

    @contextmanager
    def stream(self, url: str, **given: Any) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
        if time.monotonic() >= self.until:
            self._renew()
        with ExitStack() as stack:
            try:
                answer = stack.enter_context(super().stream(url, **given))
            except SourceError as error:
                if error.code != "sign_in" or not self.taken:  # one that was never taken is not asked for twice
                    raise
                self._renew()
                answer = stack.enter_context(super().stream(url, **given))
            self.taken = True
            yield answer

    def _renew(self) -> None:
        user, secret = str(self.settings.get("user") or ""), str(self.settings.get("secret") or "")
        token, life = _token(self.settings, self.network, user, secret)
        self.headers["Authorization"] = f"Bearer {token}"
        self.taken, self.until = False, time.monotonic() + max(1.0, life - EARLY)


def _basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def _token(settings: Mapping[str, Any], network: Network, user: str, secret: str) -> tuple[str, float]:
    address = settings["token_address"]
    client = Client(network, address)
    try:
        asked = {"grant_type": "client_credentials", **({"scope": settings["scope"]} if settings.get("scope") else {})}
        answer = client.post(address, asked, {"Authorization": _basic(user, secret)})
        given = answer.json()
    except SourceError as error:
        if not error.passing and error.code == "answer":  # 400 is what OAuth says of a wrong client
            text = _("%(url)s gives no token for this client ID and secret.")
            raise SourceError("sign_in", text % {"url": shown(address)}) from None
        raise
    finally:
        client.close()
    token = given.get("access_token") if isinstance(given, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise SourceError("sign_in", _("%(url)s gives no token for this client ID and secret.") % {"url": shown(address)})
    life = given.get("expires_in")
    return token, float(life) if isinstance(life, int | float) and 0 < life < 10**9 else LIFE


def named(address: str) -> str:
    """An address that a person has entered, as texts name it: without its query."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"[:200]


def with_parameter(url: str, name: str, value: str) -> str:
    """The address with this parameter instead of another of its name."""
    parts = urlsplit(url)
    others = [(key, each) for key, each in parse_qsl(parts.query, keep_blank_values=True) if key != name]
    return urlunsplit(parts._replace(query=urlencode([*others, (name, value)])))
