"""Certificates: the public authorities, and the hospital's own where the administrator has named it (AIMASS_IMPORT_CA_FILE)."""

from __future__ import annotations

import ssl

import certifi
from django.conf import settings


def context() -> ssl.SSLContext:
    """Checks the certificate and the name; TLS 1.2 or newer."""
    made = ssl.create_default_context(cafile=certifi.where())
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.IMPORT_CA_FILE:
        made.load_verify_locations(settings.IMPORT_CA_FILE)
    return made


def authorities() -> str:
    """One file, for a library that takes no context."""
    return str(settings.IMPORT_CA_FILE or certifi.where())
