"""What comes out of a packed member, byte by byte: counted, bounded, and held against what the archive claims."""

import bz2
import gzip
import io
import os
import struct
import zipfile
import zlib
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from datasets.arrivals.found import Refused
from datasets.storage import limit_text

PIECE = 256 * 1024


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. `ratio` is judged once `free` bytes of a member have come out."""

    files: int = 200_000
    total: int = 8 * 2**30  # bytes that come out of one archive, inner ones included
    member: int = 2 * 2**30
    ratio: int = 1_000  # masks of zeros compress 1,000 to 1, which is all that one round of deflate can do
    free: int = 64 * 2**20
    directory: int = 64 * 2**20  # bytes of the list of files
    depth: int = 2  # an archive, and one in it


def limits_of_site() -> Limits:
    """The limits that follow from how much may be uploaded at once."""
    most = int(settings.MAX_UPLOAD_BYTES)
    return Limits(total=4 * most, member=most)


@dataclass
class Budget:
    """What has come out of the whole archive so far."""

    left: int
    limit: int


class Counted(io.RawIOBase):
    """A stream that counts what comes out, of itself and of the whole archive."""

    def __init__(self, path: Path, packed: int, limits: Limits, budget: Budget) -> None:
        self.file = path.open("rb")
        self.packed, self.limits, self.budget, self.count = max(1, packed), limits, budget, 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        piece = self._next(min(len(buffer), PIECE))
        self.count += len(piece)
        self.budget.left -= len(piece)
        if self.count > self.limits.member:
            raise Refused("too_large", limit=limit_text(self.limits.member))
        if self.count > self.limits.free and self.count > self.limits.ratio * self.packed:
            raise Refused("bomb")
        if self.budget.left < 0:
            raise Refused("total", limit=limit_text(self.budget.limit))
        buffer[: len(piece)] = piece
        return len(piece)

    @abstractmethod
    def _next(self, most: int) -> bytes:
        """At most so many of the next bytes; none at the end. Raises Refused."""


class Gunzipped(Counted):
    def __init__(self, path: Path, limits: Limits, budget: Budget) -> None:
        super().__init__(path, path.stat().st_size, limits, budget)
        self.inner = gzip.GzipFile(fileobj=self.file)

    def _next(self, most: int) -> bytes:
        try:
            return self.inner.read(most)
        except EOFError as error:
            raise Refused("truncated") from error
        except (zlib.error, gzip.BadGzipFile) as error:
            raise Refused("damaged", format="GZIP") from error


class ZipContent(Counted):
    """The content of one ZIP member: its size, checksum and local header must be what the directory says."""

    def __init__(self, path: Path, info: zipfile.ZipInfo, limits: Limits, budget: Budget) -> None:
        super().__init__(path, info.compress_size, limits, budget)
        self.info, self.crc, self.unread, self.waiting, self.done = info, 0, info.compress_size, b"", False
        try:
            self._skip_header()
        except BaseException:
            self.close()
            raise
        self.inflater: Any = None
        if info.compress_type == zipfile.ZIP_DEFLATED:
            self.inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        elif info.compress_type == zipfile.ZIP_BZIP2:
            self.inflater = bz2.BZ2Decompressor()

    def _skip_header(self) -> None:
        if self.info.header_offset < 0:  # the directory lies about where it begins
            raise Refused("damaged", format="ZIP")
        self.file.seek(self.info.header_offset)
        head = self.file.read(30)
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise Refused("damaged", format="ZIP")
        flags, method = struct.unpack_from("<HH", head, 6)
        packed, size, name, extra = struct.unpack_from("<IIHH", head, 18)
        told = not flags & 0x8 and 0xFFFFFFFF not in (packed, size)  # else the sizes stand behind the content
        if flags & 0x1:
            raise Refused("encrypted")
        if method != self.info.compress_type or (
            told and (packed, size) != (self.info.compress_size, self.info.file_size)
        ):
            raise Refused("wrong_size")
        self.file.seek(name + extra, os.SEEK_CUR)

    def _packed(self) -> bytes:
        piece = self.file.read(min(PIECE, self.unread))
        if not piece and self.unread:
            raise Refused("truncated")
        self.unread -= len(piece)
        return piece

    def _next(self, most: int) -> bytes:
        if self.done:
            return b""
        try:
            piece = self._stored(most) if self.inflater is None else self._inflated(most)
        except (zlib.error, OSError, ValueError) as error:
            raise Refused("damaged", format="ZIP") from error
        self.crc = zlib.crc32(piece, self.crc)
        if self.count + len(piece) > self.info.file_size:
            raise Refused("wrong_size")
        if not piece:
            self._end()
        return piece

    def _stored(self, most: int) -> bytes:
        piece = self.file.read(min(most, self.unread))
        if not piece and self.unread:
            raise Refused("truncated")
        self.unread -= len(piece)
        return piece

    def _inflated(self, most: int) -> bytes:
        while not self.inflater.eof:
            if not self.waiting and self._wants_more():
                self.waiting = self._packed()
                if not self.waiting:
                    break
            piece: bytes = self.inflater.decompress(self.waiting, most)
            self.waiting = getattr(self.inflater, "unconsumed_tail", b"")
            if piece:
                return piece
        return b""

    def _wants_more(self) -> bool:
        return bool(getattr(self.inflater, "needs_input", True))

    def _end(self) -> None:
        self.done = True
        if self.inflater is not None and not self.inflater.eof:
            raise Refused("truncated")
        left = self.unread + len(getattr(self.inflater, "unused_data", b"") or b"")
        if self.count != self.info.file_size or left:
            raise Refused("wrong_size")
        if self.crc != self.info.CRC:
            raise Refused("checksum")
