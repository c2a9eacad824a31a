"""Texts of sources that can be said again in another language: a test of a connection is read by others than who asked for it.

`gettext` and `ngettext` of this module give text as Django's do, and remember the sentence and what was put into it. So no source
needs a list of codes of its own. A text that is put together in another way (by `+`, by an f-string) is kept as it was said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import translation

LONGEST = 500  # characters of a text or of a value in it


class Said(str):
    """A translated text, with the sentence (and its plural and number) and the values that it was made of."""

    sentence: tuple[Any, ...]
    values: Mapping[str, Any] | None

    def __mod__(self, values: Any) -> Said:
        return _said(str.__mod__(self, values), self.sentence, values if isinstance(values, Mapping) else None)


def _said(text: str, sentence: tuple[Any, ...], values: Mapping[str, Any] | None = None) -> Said:
    made = Said(text)
    made.sentence, made.values = sentence, values
    return made


def gettext(message: str) -> Said:
    return _said(translation.gettext(message), (message,))


def ngettext(singular: str, plural: str, number: int) -> Said:
    return _said(translation.ngettext(singular, plural, number), (singular, plural, int(number)))


def kept(text: Any) -> Any:
    """What of a text is stored: JSON."""
    if not isinstance(text, Said):
        return str(text)[:LONGEST]
    values = {name: _value(value) for name, value in (text.values or {}).items()}
    return {"sentence": list(text.sentence), "values": values, "text": str(text)[:LONGEST]}


def _value(value: Any) -> Any:
    return value if isinstance(value, int | float) else kept(value)


def spoken(stored: Any) -> str:
    """What was kept, in the reader's language; as it was said then where it can't be."""
    if not isinstance(stored, Mapping):
        return str(stored)
    sentence = stored["sentence"]
    try:
        text = translation.gettext(sentence[0]) if len(sentence) == 1 else translation.ngettext(*sentence)
        values = {name: spoken(value) if isinstance(value, str | Mapping) else value for name, value in stored["values"].items()}
        return text % values if values else text
    except (KeyError, TypeError, ValueError):  # of a version whose sentence was another one
        return str(stored["text"])


def found(look: Mapping[str, Any]) -> dict[str, Any]:
    """What the test of a connection found, in sentences in the reader's language: found, text, notes, faulty."""
    told = look.get("said", {})
    faulty = told.get("faulty", look.get("faulty", []))
    return {
        **{name: spoken(told.get(name, look.get(name, ""))) for name in ("found", "text")},
        "notes": [spoken(note) for note in told.get("notes", look.get("notes", []))],
        "faulty": [{name: spoken(one[name]) for name in ("where", "reason")} for one in faulty],
    }
