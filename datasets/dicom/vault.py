"""Encrypting what names a patient: Fernet with the keys of AIMASS_PATIENT_KEYS, each value bound to its organisation.

The first key encrypts, all of them decrypt, so that a key can be changed: put the new one first, run
`manage.py rotate_patient_keys`, then take the old one out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.translation import gettext as _


class VaultClosed(RuntimeError):
    """Patients' keys can't be written or read on this installation; the text says what to do."""


def cipher() -> MultiFernet:
    """Raises VaultClosed where no key is set."""
    keys: Sequence[str] = settings.PATIENT_KEYS
    if not keys:
        raise VaultClosed(
            _(
                "Patient data can't be de-identified before AIMASS_PATIENT_KEYS is set on the server (see .env.example)."
            )
        )
    return MultiFernet([Fernet(key) for key in keys])


def seal(organisation_id: Any, value: dict[str, str]) -> str:
    """The value encrypted; it opens for this organisation only."""
    inner = json.dumps(
        {"organisation": str(organisation_id), "value": value}, ensure_ascii=False, sort_keys=True
    )
    return cipher().encrypt(inner.encode("utf-8", "surrogatepass")).decode()


def unseal(organisation_id: Any, sealed: str) -> dict[str, str]:
    """The value again. Raises VaultClosed where its key is gone, or it was sealed for another organisation."""
    try:
        inner = json.loads(cipher().decrypt(sealed.encode()).decode("utf-8", "surrogatepass"))
    except InvalidToken:
        inner = {}
    if inner.get("organisation") != str(organisation_id):
        raise VaultClosed(_("This entry was encrypted with a key that the server no longer has."))
    value: dict[str, str] = inner["value"]
    return value


def resealed(sealed: str) -> str:
    """The same under the first key. Raises VaultClosed."""
    try:
        return cipher().rotate(sealed.encode()).decode()
    except InvalidToken:
        raise VaultClosed(_("This entry was encrypted with a key that the server no longer has.")) from None
