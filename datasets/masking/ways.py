"""Every usual way in which an identifier that is known can be written: names in any order, numbers with any separators, dates.

A way is looked for only where a part of it is there at all (`needle`), and only then is its pattern made: most rows hold nothing
of their patient, and making patterns costs more than searching by them.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache, partial

from datasets.masking import dates, usual

# Surnames of two characters.
DOUBLE = frozenset(re.findall("..", "欧阳司马上官诸葛东方皇甫尉迟公孙慕容令狐司徒夏侯端木长孙宇文歐陽司馬諸葛東方尉遲長孫"))
SHORTEST_WORD = 3  # letters of a name that is masked where it stands alone
TITLES = "先生|女士|小姐|太太|某某|某|老师|大爷|大妈|阿姨|同志"
BETWEEN = r"[\s,.\-]{1,3}"  # between the words of a name
CODE = re.compile(r"(?=.*[a-z])[a-z0-9][a-z0-9_/.\-]{3,39}")  # letters and digits, as "p-0017"
NOT_OF_NUMBERS = re.compile(r"[^a-z\d]")
GAP = r"[\s\u200b\u00ad\-./·,，()]{0,3}"  # between the digits of a number, over a line's end too

LABEL = re.compile(r"^[^\W\d]{1,20}\s*[:：]\s*")
NUMBER = re.compile(r"[a-z]{0,6}[\d\s\-./+()]+[a-z]{0,3}")
HAN_NAME, HAN = re.compile(r"[\u3400-\u9fff\s·•]{2,15}|[\u3400-\u9fff]+(?:[·•][\u3400-\u9fff]+)+"), re.compile(r"[\u3400-\u9fff]")
LONGEST = 100


class What(StrEnum):
    """What was masked."""

    NAME = "name"
    NUMBER = "number"
    PHONE = "phone"
    ADDRESS = "address"
    DATE = "date"
    EMAIL = "email"


@dataclass
class Way:
    """`needle`: what the folded text must hold (of a number: its letters and digits alone); `capital`: only where it has one."""

    what: What
    needle: str
    written: Callable[[], str]
    capital: bool = False

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Of folded text."""
        return re.compile(self.written())


def fold(text: str) -> str:
    """The same number of characters in lower case, full-width ones as usual ones, letters without accents."""
    return text.lower() if text.isascii() else text.translate(_FOLDED)


class _Folded(dict[int, str]):
    """Character → its folded one, computed when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        plain = unicodedata.normalize("NFKD", character)
        plain = "'" if character in "’‘ʼ`´" else plain
        base = "".join(c for c in plain if not unicodedata.combining(c)).lower()
        self[code] = found = base if len(base) == 1 else character
        return found


_FOLDED = _Folded()


def compact(folded: str) -> str:
    """Letters and digits alone, in which the needles of numbers are looked for."""
    return NOT_OF_NUMBERS.sub("", folded)


def han(text: str) -> list[str]:
    """The Han characters of a text."""
    return HAN.findall(text)


@lru_cache(maxsize=1_024)
def ways(value: str) -> tuple[Way, ...]:
    """Each way in which a known identifier can be written; of what is too short or too usual, none."""
    return tuple(_ways(fold(LABEL.sub("", value)[:LONGEST])))


def _ways(folded: str) -> Iterator[Way]:
    digits = sum(c.isdigit() for c in folded)
    if "@" in folded and " " not in folded:
        yield Way(What.EMAIL, folded, lambda: re.escape(folded))
    elif digits and (day := dates.read(folded)) is not None:
        yield Way(What.DATE, f"{day.year % 100:02d}", lambda: dates.pattern(day))
    elif digits >= 4 and NUMBER.fullmatch(folded):
        characters = "".join(c for c in folded if c.isalnum())
        core = characters.lstrip("0")
        if len(core) < 4 or not characters.isdigit():
            core = characters
        yield Way(What.NUMBER, core, lambda: _alone(rf"(?:0{GAP}){{0,9}}" + GAP.join(map(re.escape, core))))
    elif HAN_NAME.fullmatch(folded) and (len(han(folded)) <= 8 or "·" in folded):
        yield from _han_name(han(folded))
    elif digits and CODE.fullmatch(folded):
        yield Way(What.NUMBER, compact(folded), lambda: _alone(re.escape(folded)))
    elif digits or len(re.findall(r"\w+", folded)) > 7 or len(han(folded)) > 8:
        yield from _address(folded)
    else:
        yield from _latin_name(folded)


def _alone(pattern: str) -> str:
    return rf"(?<![a-z0-9]){pattern}(?![a-z0-9])"


def _han_name(characters: list[str]) -> Iterator[Way]:
    if len(characters) < 2:
        return
    yield Way(What.NAME, characters[0], lambda: r"[\s·•\u200b]{0,3}".join(characters))
    if len(characters) <= 4:
        double = len(characters) == 4 or "".join(characters[:2]) in DOUBLE
        surname = "".join(characters[:2]) if double and len(characters) > 2 else characters[0]
        yield Way(What.NAME, surname, lambda: rf"{surname}\s?(?:{TITLES})")


def _latin_name(folded: str) -> Iterator[Way]:
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", folded)
    if len(words) > 1:
        last, first = re.escape(words[-1]), words[0][0]
        yield Way(What.NAME, words[0], lambda: _in_order(words))
        yield Way(What.NAME, words[-1], lambda: _in_order([words[-1], *words[:-1]]))
        yield Way(What.NAME, words[-1], lambda: rf"\b{first}\.\s?{last}\b|\b{last},?\s{first}\.")
    for word in words:
        if len(word) >= SHORTEST_WORD or (len(word) == 2 and word not in usual.OF_TWO):
            yield Way(What.NAME, word, partial(_word, word), capital=len(word) == 2 or word in usual.WORDS)


def _in_order(words: list[str]) -> str:
    return rf"(?<![^\W\u3400-\u9fff]){BETWEEN.join(map(re.escape, words))}(?![^\W\u3400-\u9fff])"


def _word(word: str) -> str:
    return rf"(?<![^\W\u3400-\u9fff]){re.escape(word)}(?![^\W\u3400-\u9fff])"  # Han characters beside it end it


def _address(folded: str) -> Iterator[Way]:
    for piece in [folded, *re.split(r"[,，;；\n]", folded)]:
        words = re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+", piece)
        telling = len(words) >= 2 and (any(c.isdigit() for c in piece) or len(words) >= 4)
        if telling:
            yield Way(What.ADDRESS, words[0], partial(_with_gaps, words))


def _with_gaps(words: list[str]) -> str:
    return r"[\s,，.\-#]{0,3}".join(map(re.escape, words))
