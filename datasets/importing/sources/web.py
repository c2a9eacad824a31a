"""What all HTTP sources ask for: an address and a way to sign in; and the client that results."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.importing.errors import SourceError
from datasets.importing.http import Client, shown
from datasets.importing.network import Network, valid_host

SECRETS = frozenset({"secret"})
SIGN_IN = [
    ("none", gettext_lazy("without signing in")),
    ("basic", gettext_lazy("user and password")),
    ("bearer", gettext_lazy("bearer token")),
    ("key", gettext_lazy("key in a header")),
    ("client", gettext_lazy("client ID and secret (OAuth 2 client credentials)")),
]


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

    def clean_secret(self) -> str:
        secret = str(self.cleaned_data["secret"])
        if not secret.isprintable() or (secret and not secret.isascii() and self.data.get("sign_in") != "basic"):
            raise forms.ValidationError(_("It has characters that such a secret can't have."))
        return secret

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        needed = {"basic": ("user",), "key": ("header",), "client": ("user", "token_address")}.get(cleaned.get("sign_in", ""), ())
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
    return given


def client_of(settings: Mapping[str, Any], network: Network, headers: Mapping[str, str] | None = None) -> Client:
    """A client that signs in as the settings say. With client credentials a token is asked for now. Raises SourceError."""
    user, secret = str(settings.get("user") or ""), str(settings.get("secret") or "")
    sent = dict(headers or {})
    match settings.get("sign_in"):
        case "basic":
            sent["Authorization"] = _basic(user, secret)
        case "bearer":
            sent["Authorization"] = f"Bearer {secret}"
        case "key":
            sent[settings["header"]] = secret
        case "client":
            sent["Authorization"] = f"Bearer {_token(settings, network, user, secret)}"
    return Client(network, settings["address"], sent)


def _basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def _token(settings: Mapping[str, Any], network: Network, user: str, secret: str) -> str:
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
    return token
