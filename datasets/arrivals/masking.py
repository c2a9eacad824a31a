"""Finds a patient's identifiers in a text and masks them: those that are known, and those that a label or a form gives away.

Known ones (from the record, or given by the sender) are searched for in every usual way of writing them: names in any order,
with and without accents, Han characters with spaces between; numbers with any separators; dates in any order and language.
Unknown ones are found by their label (姓名：…, 住院号, MRN) or by their form (身份证 with its check digit, 手机, e-mail). A name
without label that nobody told of is not found: that needs a model of language, which none here is good enough for (ADR 23).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from datasets.arrivals import masking_dates
from datasets.arrivals.masking_labels import LABELLED, PATTERNS, valid

MOST_KNOWN = 500
SHORTEST_WORD = 3  # letters of a name that is masked where it stands alone
TITLES = "先生|女士|小姐|太太|某某|某|老师|大爷|大妈|阿姨|同志"
BETWEEN = r"[\s,.\-]{1,3}"  # between the words of a name
GAP = r"[\s\u200b\u00ad\-./·,，()]{0,3}"  # between the digits of a number, over a line's end too


class What(StrEnum):
    """What was masked."""

    NAME = "name"
    NUMBER = "number"
    PHONE = "phone"
    ADDRESS = "address"
    DATE = "date"
    EMAIL = "email"


TOKENS = {
    What.NAME: ("[NAME]", "[姓名]"),
    What.NUMBER: ("[NUMBER]", "[证件号]"),
    What.PHONE: ("[PHONE]", "[电话]"),
    What.ADDRESS: ("[ADDRESS]", "[地址]"),
    What.DATE: ("[DATE]", "[日期]"),
    What.EMAIL: ("[EMAIL]", "[邮箱]"),
}


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of the text; `known`: somebody told of it."""

    start: int
    end: int
    what: What
    known: bool


@dataclass(frozen=True)
class Masked:
    """The text with tokens in place of identifiers, and where in the text before they were."""

    text: str
    spans: tuple[Span, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind; holds no values."""
        return dict(Counter(str(span.what) for span in self.spans))


def mask(text: str, known: Iterable[str] = ()) -> Masked:
    """Every identifier replaced by a token of its kind, in the language of the text."""
    spans = find(text, known)
    chinese = _is_chinese(text)
    pieces, place = [], 0
    for span in spans:
        pieces += [text[place : span.start], TOKENS[span.what][chinese]]
        place = span.end
    return Masked("".join([*pieces, text[place:]]), tuple(spans))


def parts(text: str, spans: Sequence[Span]) -> Iterator[tuple[str, Span | None]]:
    """The text in pieces, each with the span that it is, for a preview of what is masked."""
    place = 0
    for span in spans:
        if span.start > place:
            yield text[place : span.start], None
        yield text[span.start : span.end], span
        place = span.end
    if place < len(text):
        yield text[place:], None


def tokens_of(masked: str) -> Iterator[tuple[str, str]]:
    """A masked text in pieces, each with the kind that its token stands for, or ""."""
    kinds = {token: str(what) for what, tokens in TOKENS.items() for token in tokens}
    for piece in re.split(f"({'|'.join(map(re.escape, kinds))})", masked):
        if piece:
            yield piece, kinds.get(piece, "")


def find(text: str, known: Iterable[str] = ()) -> list[Span]:
    """The identifiers in order, without overlaps: where two overlap, both are masked as the longer one."""
    folded = fold(text)
    spans = list(_known(folded, text, known))
    for what, pattern in LABELLED:
        for match in pattern.finditer(folded):
            start, end = match.span("value")
            if what == What.NAME and not _han(match["value"]):
                end = _name_end(text, start, end, "name" in folded[match.start() : start])
            if end > start:
                spans.append(Span(start, end, What(what), False))
    for what, pattern in PATTERNS:
        spans += [Span(*m.span(), What(what), False) for m in pattern.finditer(folded) if valid(what, m[0])]
    return _merged(spans)


def _name_end(text: str, start: int, end: int, sure: bool) -> int:
    """Where a name behind a label ends: before the first word without a capital ("Patient: John Smith complains of")."""
    words = list(re.finditer(r"\S+", text[start:end]))
    capitals = 0
    while capitals < len(words) and not words[capitals][0][0].islower():
        capitals += 1
    if not capitals and sure:  # "name: john smith"
        capitals = min(2, len(words))
    return start + words[capitals - 1].end() if capitals else start


def fold(text: str) -> str:
    """The same number of characters in lower case, full-width ones as usual ones, letters without accents."""
    return "".join(_folded(c) for c in text)


def _folded(character: str) -> str:
    if character.isascii():
        return character.lower()
    plain = unicodedata.normalize("NFKD", character)
    base = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    return base if len(base) == 1 else character


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if not merged or span.start >= merged[-1].end:
            merged.append(span)
            continue
        last = merged[-1]
        longer = max(last, span, key=lambda s: s.end - s.start)
        merged[-1] = Span(last.start, max(last.end, span.end), longer.what, last.known or span.known)
    return merged


def _known(folded: str, text: str, known: Iterable[str]) -> Iterator[Span]:
    values = list(dict.fromkeys(value.strip() for value in known if value.strip()))[:MOST_KNOWN]
    for value in values:
        given = re.sub(r"^[^\W\d]{1,20}\s*[:：]\s*", "", value)[:300]
        for what, pattern, capital in _patterns(given):
            for match in re.finditer(pattern, folded):
                if not capital or not text[match.start()].islower():
                    yield Span(*match.span(), what, True)


def _patterns(value: str) -> Iterator[tuple[What, str, bool]]:
    """(kind, pattern of the folded text, only where written with a capital) for one known identifier."""
    folded = fold(value)
    if "@" in folded and " " not in folded:
        yield What.EMAIL, re.escape(folded), False
    elif (day := masking_dates.read(folded)) is not None:
        yield What.DATE, masking_dates.pattern(day), False
    elif sum(c.isdigit() for c in folded) >= 4 and re.fullmatch(
        r"[a-z]{0,6}[\d\s\-./+()]+[a-z]{0,3}", folded
    ):
        characters = [re.escape(c) for c in folded if c.isalnum()]
        yield What.NUMBER, rf"(?<![a-z0-9]){GAP.join(characters)}(?![a-z0-9])", False
    elif re.fullmatch(r"[\u3400-\u9fff\s·•]{2,15}", folded) and len(_han(folded)) <= 8:
        yield from _han_name(folded)
    elif any(c.isdigit() for c in folded) or len(re.findall(r"\w+", folded)) > 5 or len(_han(folded)) > 8:
        yield from _address(folded)
    else:
        yield from _latin_name(folded)


def _han(text: str) -> list[str]:
    return re.findall(r"[\u3400-\u9fff]", text)


def _han_name(folded: str) -> Iterator[tuple[What, str, bool]]:
    characters = _han(folded)
    if len(characters) < 2:
        return
    yield What.NAME, r"[\s·•\u200b]{0,3}".join(characters), False
    if len(characters) <= 4:
        surname = "".join(characters[:2]) if len(characters) == 4 else characters[0]
        yield What.NAME, rf"{surname}\s?(?:{TITLES})", False


def _latin_name(folded: str) -> Iterator[tuple[What, str, bool]]:
    words = [word for word in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", folded) if word]
    if len(words) > 1:
        for order in (words, [words[-1], *words[:-1]]):
            yield What.NAME, r"\b" + BETWEEN.join(map(re.escape, order)) + r"\b", False
        last, first = re.escape(words[-1]), words[0][0]
        yield What.NAME, rf"\b{first}\.\s?{last}\b|\b{last},?\s{first}\.", False
    for word in words:
        if (
            len(word) >= SHORTEST_WORD
        ):  # alone it may be a usual word ("white", "long"): only where it has a capital
            yield What.NAME, rf"\b{re.escape(word)}\b", len(words) > 1


def _address(folded: str) -> Iterator[tuple[What, str, bool]]:
    for piece in [folded, *re.split(r"[,，;；\n]", folded)]:
        words = re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+", piece)
        telling = len(words) >= 2 and (any(c.isdigit() for c in piece) or len(words) >= 4)
        if telling:
            yield What.ADDRESS, r"[\s,，.\-#]{0,3}".join(map(re.escape, words)), False


def _is_chinese(text: str) -> bool:
    han = len(_han(text[:20_000]))
    return han * 4 > sum(c.isalpha() for c in text[:20_000])
