"""Second-factor secrets are encrypted at rest: a stolen copy of the database alone opens no account.

allauth calls these hooks for the TOTP secret and for the seed of the recovery codes. The key is derived from SECRET_KEY
(HKDF, RFC 5869); SECRET_KEY_FALLBACKS keeps older secrets readable while a key is being changed.
"""

import base64

from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

MARK = "fernet:"


def cipher() -> MultiFernet:
    """Encrypts with the present key, decrypts with it or an older one."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(derived(secret)) for secret in secrets])


def derived(secret: str) -> bytes:
    """A Fernet key (32 bytes, URL-safe base64) of a Django secret."""
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"aimass second factor").derive(secret.encode())
    return base64.urlsafe_b64encode(key)


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    """allauth's, with encryption."""

    def encrypt(self, text: str) -> str:
        """The text as it is stored."""
        return MARK + cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """The text again; "" (which no code matches) when it was made under a key that is gone."""
        if not encrypted_text.startswith(MARK):
            return encrypted_text  # stored before encryption came
        try:
            return cipher().decrypt(encrypted_text.removeprefix(MARK).encode()).decode()
        except InvalidToken:
            return ""
