"""What the tus 1.0 protocol says in headers: parsed strictly, written as the clients expect it."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,termination,expiration"
ALGORITHMS = ("sha1", "sha256")  # md5 is refused: it has not been a proof of anything for long
PIECE_TYPE = "application/offset+octet-stream"
# Advised to clients: what gets through a hospital's proxies, and what a lost connection costs at most.
ADVISED_PIECE = 8 * 1024 * 1024
MOST_METADATA = 4096  # characters of Upload-Metadata
_NUMBER = re.compile(r"[0-9]{1,18}")
_KEY = re.compile(r"[!-+\--~]{1,100}")  # printable ASCII without space and comma


class Malformed(ValueError):
    """A header is missing or makes no sense; the text says which and what to send."""


@dataclass(frozen=True)
class Checksum:
    """What a piece must hash to."""

    algorithm: str
    digest: bytes

    def hasher(self) -> Any:
        return hashlib.new(self.algorithm, usedforsecurity=False)


def number(name: str, value: str | None) -> int:
    """The whole number of a header. Raises Malformed."""
    if value is None or not _NUMBER.fullmatch(value.strip()):
        raise Malformed(_("Send the header %(name)s with a whole number of bytes.") % {"name": name})
    return int(value)


def checksum(value: str | None) -> Checksum | None:
    """`Upload-Checksum: sha256 <base64>`. Raises Malformed, also for an algorithm that is not offered."""
    if value is None:
        return None
    algorithm, _space, text = value.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise Malformed(
            _("The checksum algorithm “%(name)s” is not offered. Use one of: %(offered)s.")
            % {"name": algorithm[:20], "offered": ", ".join(ALGORITHMS)}
        )
    digest = _decoded(text)
    if digest is None or len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise Malformed(_("Upload-Checksum must be the algorithm, a space, and the digest in base64."))
    return Checksum(algorithm, digest)


def metadata(value: str | None) -> dict[str, str]:
    """`Upload-Metadata: filename <base64>,dataset <base64>` as texts. Raises Malformed."""
    found: dict[str, str] = {}
    if not value:
        return found
    if len(value) > MOST_METADATA:
        raise Malformed(_("Upload-Metadata is longer than %(most)d characters.") % {"most": MOST_METADATA})
    for pair in value.split(","):
        key, _space, text = pair.strip().partition(" ")
        raw = _decoded(text)
        if not _KEY.fullmatch(key) or key in found or raw is None:
            raise Malformed(
                _(
                    "Upload-Metadata must be pairs of a key and a base64 value, separated by commas, each key once."
                )
            )
        try:
            found[key] = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(_("The values of Upload-Metadata must be UTF-8.")) from error
    return found


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
