"""Every usual way in which an identifier that is known can be written: names in any order, numbers with any separators, dates.

By plain search, not by a pattern: each row has a patient of its own, and to make a pattern costs more than to search by it.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache

from datasets.masking import dates, usual

# Surnames of two characters.
DOUBLE = frozenset(re.findall("..", "欧阳司马上官诸葛东方皇甫尉迟公孙慕容令狐司徒夏侯端木长孙宇文歐陽司馬諸葛東方尉遲長孫"))
SHORTEST_WORD = 3  # letters of a name that is masked where it stands alone
TITLES = "先生|女士|小姐|太太|某某|某|老师|大爷|大妈|阿姨|同志"
BETWEEN_WORDS = frozenset(" \t\r\n\u3000,.-")
BETWEEN_PARTS, BETWEEN_HAN = frozenset(" \t\r\n\u3000,，.-#"), frozenset(" \t\r\n\u3000·•\u200b")
BETWEEN_DIGITS = frozenset(" \t\r\n\u3000\u200b\u00ad-./·,，()")  # over a line's end too
SPACES = frozenset(" \t\r\n\u3000")
CODE = re.compile(r"(?=.*[a-z])[a-z0-9][a-z0-9_/.\-]{3,39}")  # letters and digits, as "p-0017"
OF_NUMBERS, NOT_OF_NUMBERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789"), re.compile("[^a-z0-9]")

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


@dataclass(frozen=True)
class Way:
    """Words one after the other, with some characters of `gap` between them (of these, at least `least` and at most three).

    `whole`: letters and digits beside it make it another word; `capital`: only where it begins with one. A number's words are
    its digits, looked for as they stand without what separates them; zeros before it are its own.
    """

    what: What
    words: tuple[str, ...]
    gap: frozenset[str] = frozenset()
    least: int = 0
    whole: bool = True
    capital: bool = False

    def places(self, folded: str) -> Iterator[tuple[int, int]]:
        """(start, end) of each in the folded text."""
        first = self.words[0]
        start = folded.find(first)
        while start >= 0:
            end = self._end(folded, start + len(first))
            if end and not (self.whole and (_in_word(folded, start - 1) or _in_word(folded, end))):
                yield start, end
            start = folded.find(first, start + 1)

    def _end(self, folded: str, at: int) -> int:
        for word in self.words[1:]:
            begun = at
            while at - begun < 3 and at < len(folded) and folded[at] in self.gap:
                at += 1
            while not folded.startswith(word, at):  # the gap may have eaten what the word begins with
                at -= 1
                if at < begun:
                    return 0
            if at - begun < self.least:
                return 0
            at += len(word)
        return at


class Number(Way):
    """Of one word: its letters and digits."""

    def places(self, folded: str) -> Iterator[tuple[int, int]]:
        core, kept = self.words[0], _kept(folded)
        if core not in kept:
            return
        at = _kept_at(folded)
        found = kept.find(core)
        while found >= 0:
            first, last = found, found + len(core) - 1
            if all(self._near(folded, at[i], at[i + 1]) for i in range(first, last)):
                while core.isdigit() and first and kept[first - 1] == "0" and self._near(folded, at[first - 1], at[first]):
                    first -= 1
                start, end = at[first], at[last] + 1
                if folded[start - 1 : start] not in OF_NUMBERS and folded[end : end + 1] not in OF_NUMBERS:
                    yield start, end
            found = kept.find(core, found + 1)

    def _near(self, folded: str, one: int, other: int) -> bool:
        return other - one <= 4 and all(c in self.gap for c in folded[one + 1 : other])


@lru_cache(maxsize=2)  # the same text is looked through for each number of its patient
def _kept(folded: str) -> str:
    return NOT_OF_NUMBERS.sub("", folded)


@lru_cache(maxsize=2)
def _kept_at(folded: str) -> list[int]:
    """Where in the text each of the kept characters stands."""
    return [place for place, character in enumerate(folded) if character in OF_NUMBERS]


@dataclass(frozen=True)
class Day(Way):
    """A date, of which there are too many ways for words."""

    day: date = date.min

    def places(self, folded: str) -> Iterator[tuple[int, int]]:
        if self.words[0] in folded:
            for match in _of_day(self.day).finditer(folded):
                yield match.span()


@lru_cache(maxsize=1_024)
def _of_day(day: date) -> re.Pattern[str]:
    return re.compile(dates.pattern(day))


def _in_word(folded: str, at: int) -> bool:
    """Whether a letter, digit or _ stands there; Han characters beside a word end it."""
    return 0 <= at < len(folded) and (folded[at].isalnum() or folded[at] == "_") and not HAN.match(folded[at])


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
        yield Way(What.EMAIL, (folded,), whole=False)
    elif digits and not (folded.isdigit() and digits != 8) and (day := dates.read(folded)) is not None:
        yield Day(What.DATE, (f"{day.year % 100:02d}",), day=day)
    elif digits >= 4 and NUMBER.fullmatch(folded):
        characters = NOT_OF_NUMBERS.sub("", folded)
        core = characters.lstrip("0")
        yield Number(What.NUMBER, (core if len(core) >= 4 and characters.isdigit() else characters,), BETWEEN_DIGITS)
    elif HAN_NAME.fullmatch(folded) and (len(han(folded)) <= 8 or "·" in folded):
        yield from _han_name(han(folded))
    elif digits and CODE.fullmatch(folded):
        yield Way(What.NUMBER, (folded,))
    elif digits or len(re.findall(r"\w+", folded)) > 7 or len(han(folded)) > 8:
        yield from _address(folded)
    else:
        yield from _latin_name(folded)


def _han_name(characters: list[str]) -> Iterator[Way]:
    if len(characters) < 2:
        return
    yield Way(What.NAME, tuple(characters), BETWEEN_HAN, whole=False)
    if len(characters) <= 4:
        double = len(characters) == 4 or "".join(characters[:2]) in DOUBLE
        surname = "".join(characters[:2]) if double and len(characters) > 2 else characters[0]
        for title in TITLES.split("|"):
            yield Way(What.NAME, (surname, title), SPACES, whole=False)


def _latin_name(folded: str) -> Iterator[Way]:
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", folded)
    if len(words) > 1:
        first, last = words[0][0], words[-1]
        yield Way(What.NAME, tuple(words), BETWEEN_WORDS, least=1)
        yield Way(What.NAME, (last, *words[:-1]), BETWEEN_WORDS, least=1)
        yield Way(What.NAME, (f"{first}.", last), SPACES)
        yield Way(What.NAME, (last, f"{first}."), BETWEEN_WORDS, least=1, whole=False)
    for word in words:
        if len(word) >= SHORTEST_WORD or (len(word) == 2 and word not in usual.OF_TWO):
            yield Way(What.NAME, (word,), capital=len(word) == 2 or word in usual.WORDS)


def _address(folded: str) -> Iterator[Way]:
    for piece in [folded, *re.split(r"[,，;；\n]", folded)]:
        words = re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+", piece)
        telling = len(words) >= 2 and (any(c.isdigit() for c in piece) or len(words) >= 4)
        if telling:
            yield Way(What.ADDRESS, tuple(words), BETWEEN_PARTS, whole=not han(words[0] + words[-1]))
