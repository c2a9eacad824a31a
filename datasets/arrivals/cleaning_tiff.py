"""TIFF without what was written beside its pixels: only the tags stay that a decoder needs, and every byte that they do not use
becomes zero.

The pixels stay where they are, as everything in a TIFF names its place. What refers to data in a way that is not known here
(the JPEG of before 1995) is refused: it could not be told which bytes are pixels.
"""

import struct
from dataclasses import dataclass, field

# Baseline, and the extensions for compression, tiles, colour, transparency and sample formats; 34675 is the colour profile.
KEPT = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 286, 287, 290,
     291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332, 334, 336, 338, 339,
     340, 341, 342, 347, 529, 530, 531, 532, 34675)
)  # fmt: skip
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
COMPRESSION, OLD_JPEG, SUBFILES = 259, 6, 330
PLACES = {273: 279, 324: 325}  # strips and tiles: where, and how long
MOST_PAGES = 10_000


@dataclass
class _Tiff:
    """The file while it is gone through: `used` are the (start, end) that stay."""

    data: bytes
    order: str
    big: bool
    used: list[tuple[int, int]] = field(default_factory=list)
    dropped: int = 0

    def read(self, form: str, place: int) -> int:
        return int(struct.unpack_from(self.order + form, self.data, place)[0])


def clean(data: bytes) -> tuple[bytes, int]:
    """(the file, how many tags and stretches of bytes went). Raises ValueError or struct.error where it cannot be told apart."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    tiff = _Tiff(data, order, big=struct.unpack_from(order + "H", data, 2)[0] == 43)
    out = bytearray(data)
    first = tiff.read("Q", 8) if tiff.big else tiff.read("I", 4)
    tiff.used.append((0, 16 if tiff.big else 8))
    seen: set[int] = set()
    waiting = [first]
    while waiting:
        place = waiting.pop()
        if not place or place in seen:
            continue
        seen.add(place)
        if len(seen) > MOST_PAGES:
            raise ValueError("too many pages")
        waiting += _page(tiff, place, out)
    count = tiff.dropped + _blank(out, tiff.used)
    return bytes(out), count


def _page(tiff: _Tiff, place: int, out: bytearray) -> list[int]:
    """Rewrite one directory without the tags that go; the places of the next one and of those below it."""
    head, length, form = (8, 20, "Q") if tiff.big else (2, 12, "I")
    entries = tiff.read("Q" if tiff.big else "H", place)
    end = place + head + entries * length
    following = tiff.read(form, end)
    kept, values = [], {}
    for number in range(entries):
        at = place + head + number * length
        tag = tiff.read("H", at)
        if tag not in KEPT:
            tiff.dropped += 1
            continue
        kept.append(tiff.data[at : at + length])
        values[tag] = _value(tiff, at)
    if values.get(COMPRESSION) == [OLD_JPEG]:
        raise ValueError("old JPEG")
    for where, lengths in PLACES.items():
        if where in values:
            if len(values[where]) != len(values.get(lengths, [])):
                raise ValueError("no lengths")
            tiff.used += [(s, s + n) for s, n in zip(values[where], values[lengths], strict=True)]
    table = struct.pack(tiff.order + ("Q" if tiff.big else "H"), len(kept)) + b"".join(kept)
    table += struct.pack(tiff.order + form, following)
    out[place : place + len(table)] = table
    tiff.used.append((place, place + len(table)))
    return [following, *values.get(SUBFILES, [])]


def _value(tiff: _Tiff, at: int) -> list[int]:
    """The numbers of an entry whose numbers matter here; its bytes are noted as used, wherever they are."""
    kind = tiff.read("H", at + 2)
    many = tiff.read("Q" if tiff.big else "I", at + 4)
    inline, value = (8, at + 12) if tiff.big else (4, at + 8)
    size = SIZES[kind] * many if kind in SIZES else -1
    if size < 0:
        raise ValueError("unknown type")
    if size > inline:
        value = tiff.read("Q" if tiff.big else "I", value)
        if value + size > len(tiff.data):
            raise ValueError("beyond the end")
        tiff.used.append((value, value + size))
    tag = tiff.read("H", at)
    if tag not in PLACES and tag not in PLACES.values() and tag not in (COMPRESSION, SUBFILES):
        return []
    return list(struct.unpack_from(f"{tiff.order}{many}{INTEGERS[kind]}", tiff.data, value))


def _blank(out: bytearray, used: list[tuple[int, int]]) -> int:
    """Zeros for all that nothing uses; how many stretches were not zeros before."""
    count, place = 0, 0
    for start, end in sorted([*used, (len(out), len(out))]):
        if start > place and any(out[place:start]):
            out[place:start] = bytes(start - place)
            count += 1
        place = max(place, end)
    return count
