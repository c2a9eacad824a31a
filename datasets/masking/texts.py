"""Finds a patient's identifiers in a text and masks them: those that are known, and those that a label or a form gives away.

Known ones (from the record, or given by the sender) are searched for in every usual way of writing them: names in any order,
with and without accents, Han characters with spaces between; numbers with any separators; dates in any order and language.
Unknown ones are found by their label (姓名：…, 住院号, MRN) or by their form (身份证 with its check digit, 手机, e-mail). A name
without label that nobody told of is not found: that needs a model of language, which none here is good enough for (ADR 23).
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from datasets.masking import labels, ways
from datasets.masking.labels import LABELLED, PATTERNS, Needs, valid
from datasets.masking.ways import What, fold, han
from engine import identifiers

MOST_KNOWN = 500

TOKENS = {What(what): tokens for what, tokens in identifiers.TOKENS.items()}
SIGNS = {
    labels.COLONS: re.compile("[:：=]").search,
    labels.DIGIT: re.compile(r"\d").search,
    labels.DIGITS: re.compile(r"\d(?:[\- ]?\d){10}").search,
    labels.AT: re.compile("@").search,
}
KIND_OF_TOKEN = {token: str(what) for what, tokens in TOKENS.items() for token in tokens}
ANY_TOKEN = re.compile(f"({'|'.join(map(re.escape, KIND_OF_TOKEN))})")


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of the text; `known`: somebody told of it."""

    start: int
    end: int
    what: What
    known: bool
    labelled: bool = False


@dataclass(frozen=True)
class Masked:
    """The text with tokens in place of identifiers, and where in the text before they were."""

    text: str
    spans: tuple[Span, ...]
    later: tuple[Span, ...] = ()  # found only once these were gone; their places are not of the text before

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind; holds no values."""
        return dict(Counter(str(span.what) for span in (*self.spans, *self.later)))


def mask(text: str, known: Iterable[str] = ()) -> Masked:
    """Every identifier replaced by a token of its kind, in the language of the text. Masking twice is masking once."""
    known = list(known)
    spans = more = find(text, known)
    chinese, later = bool(spans) and _is_chinese(text), []
    while more:
        pieces, place = [], 0
        for span in more:
            pieces += [text[place : span.start], TOKENS[span.what][chinese]]
            place = span.end
        text = "".join([*pieces, text[place:]])
        more = find(text, known)  # each time fewer characters are left that are no tokens
        later += more
    return Masked(text, tuple(spans), tuple(later))


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
    for piece in ANY_TOKEN.split(masked):
        if piece:
            yield piece, KIND_OF_TOKEN.get(piece, "")


def find(text: str, known: Iterable[str] = ()) -> list[Span]:
    """The identifiers in order, without overlaps: where two overlap, both are masked as the longer one."""
    folded = fold(text)
    spans = [*_known(folded, text, known), *_unknown(folded, text)]
    if spans and "[" in text:  # what was masked before stays as it is: masking twice is masking once
        done = [(*match.span(), KIND_OF_TOKEN[match[0]]) for match in ANY_TOKEN.finditer(text)]
        ends = [end for _start, end, _what in done]
        spans = [piece for span in spans for piece in _beside(span, text, done, ends)]
    return _merged(spans) if spans else spans


def _beside(span: Span, text: str, done: list[tuple[int, int, str]], ends: list[int]) -> Iterator[Span]:
    """What of a span is no token: of a label's value up to a token of its own kind, which was made of this label."""
    place = span.start
    for start, end, what in done[bisect_right(ends, span.start) :]:
        if start >= span.end or place >= span.end:
            break
        if not span.labelled or start < span.start:  # a known word or a form within a token
            return
        yield from _piece(span, place, start, text)
        place = span.end if what == span.what else end
    if place < span.end:
        yield from _piece(span, place, span.end, text)


def _piece(span: Span, start: int, end: int, text: str) -> Iterator[Span]:
    if start == span.start and end == span.end:
        yield span
    elif any(c.isalnum() for c in text[start:end]):
        yield replace(span, start=start, end=end)


def _unknown(folded: str, text: str) -> Iterator[Span]:
    """By label or form. What a text lacks the sign or every label of is not searched for in it."""
    signs = {sign for sign, there in SIGNS.items() if there(folded)}
    for what, pattern, needs in LABELLED:
        for match in pattern.finditer(folded) if _there(needs, signs, folded) else ():
            start, end = match.span("value")
            if what == What.NAME and not han(match["value"]):
                end = _name_end(text, start, end, "name" in folded[match.start() : start])
            if end > start:
                yield Span(start, end, What(what), False, labelled=True)
    for what, pattern, needs in PATTERNS:
        for match in pattern.finditer(folded) if _there(needs, signs, folded) else ():
            if valid(what, match[0]):
                yield Span(*match.span(), What(what), False)


def _there(needs: Needs, signs: set[str], folded: str) -> bool:
    return needs.sign in signs and (not needs.words or any(word in folded for word in needs.words))


def _name_end(text: str, start: int, end: int, sure: bool) -> int:
    """Where a name behind a label ends: before the first word without a capital ("Patient: John Smith complains of")."""
    words = list(re.finditer(r"\S+", text[start:end]))
    capitals = 0
    while capitals < len(words) and not words[capitals][0][0].islower():
        capitals += 1
    if not capitals and sure:  # "name: john smith"
        capitals = min(2, len(words))
    return start + words[capitals - 1].end() if capitals else start


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
    if not values:
        return
    cased = text != text.lower()
    for value in values:
        for way in ways.ways(value):
            for start, end in way.places(folded):
                if not way.capital or not cased or not text[start].islower():
                    yield Span(start, end, way.what, True)


def _is_chinese(text: str) -> bool:
    count = len(han(text[:20_000]))
    return count > 0 and 4 * count > sum(c.isalpha() for c in text[:20_000])
