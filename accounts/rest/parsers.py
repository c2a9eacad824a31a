"""JSON in: what no database can hold is refused here, once, for every resource."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import parsers
from rest_framework.exceptions import ParseError

# Bodies without these cannot decode to a NUL, a lone surrogate or an infinite number, and need no second look.
# (A number's exponent follows digits that follow a delimiter; in identifiers "e123" is everywhere.)
SUSPICIOUS = re.compile(
    rb"\\u0000|\\u[dD][89a-fA-F]|(?:^|[\s:,\[])-?\d+(?:\.\d+)?[eE]\+?\d{3}|\d{300}"
)


def scalars(value: Any) -> Iterator[Any]:
    """Every text and number inside, keys included."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        else:
            yield item


def check(value: Any) -> None:
    """Refuse NUL characters, halves of surrogate pairs, and numbers too large to be finite."""
    for item in scalars(value):
        if isinstance(item, str) and ("\0" in item or any("\ud800" <= letter <= "\udfff" for letter in item)):
            raise ParseError(_("A text holds a character that cannot be stored (NUL, or half of a surrogate pair)."))
        if isinstance(item, float) and item in {float("inf"), float("-inf")}:
            raise ParseError(_("A number is too large."))


def no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class JSONParser(parsers.JSONParser):
    """DRF's, stricter: what cannot be stored, and nesting too deep to read, are 400 instead of a crash later."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        encoding = (parser_context or {}).get("encoding", "utf-8")
        raw: bytes = stream.read()
        try:
            text = codecs.decode(raw, encoding)
            data = json.loads(text, parse_constant=no_constant)
        except (ValueError, LookupError) as error:
            raise ParseError(_("The body is not valid JSON: %(why)s") % {"why": str(error)[:200]}) from error
        except RecursionError as error:
            raise ParseError(_("The body is nested too deeply.")) from error
        if SUSPICIOUS.search(raw) or encoding.lower() not in {"utf-8", "utf8"}:
            check(data)
        return data
