"""Certificates: the public authorities, and the hospital's own where the administrator has named it (AIMASS_IMPORT_CA_FILE)."""

from __future__ import annotations

import ssl
from functools import cache

import certifi
from django.conf import settings


def context() -> ssl.SSLContext:
    """Checks the certificate and the name; TLS 1.2 or newer. Made once: reading all authorities takes long."""
    return _context(str(settings.IMPORT_CA_FILE))


@cache
def _context(own: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=certifi.where())
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if own:
        made.load_verify_locations(own)
    return made


def unchecked() -> ssl.SSLContext:
    """Encrypts, whoever the server is: for a person who has chosen that."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def authorities() -> str:
    """One file, for a library that takes no context."""
    return str(settings.IMPORT_CA_FILE or certifi.where())
