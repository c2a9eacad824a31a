"""Where in a file the reasons lie, in words: the text beside a drawn picture, and instead of it for who cannot see it."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from inference.wording import number

SHOWN = 3  # parts that are named
LEAST = 0.15  # of the strongest; weaker parts are not worth a word


def sentences(regions: Mapping[str, Any], value: str) -> list[str]:
    """What spoke for and against `value`, the most telling parts of one file first. For numbers `value` is ""."""
    parts = [r for r in regions["regions"] if r["contribution"]]
    if not parts:
        return [_("No part of this file stood out.")]
    strongest = max(abs(r["contribution"]) for r in parts)
    told = [r for r in parts if abs(r["contribution"]) >= LEAST * strongest]
    found = []
    for sign in (1, -1):
        own = [r for r in told if r["contribution"] * sign > 0][:SHOWN]
        if not own:
            continue
        where = "; ".join(dict.fromkeys(place(regions["kind"], r["ranges"]) for r in own))
        if regions["method"] == "grad-cam" and sign > 0:
            text = _("The network looked most at: %(where)s.")
        elif sign > 0:
            text = _("Spoke for “%(value)s”: %(where)s.") if value else _("Moved the number up: %(where)s.")
        else:
            text = _("Spoke against “%(value)s”: %(where)s.") if value else _("Moved the number down: %(where)s.")
        found.append(text % {"value": value, "where": where})
    return found


def place(kind: str, ranges: Sequence[Sequence[float]]) -> str:
    """One part in words: where in a picture or volume, when in a signal or clip."""
    if kind == "signal":
        return _seconds(ranges[0])
    if kind == "video":
        when, whole = _seconds(ranges[0]), all(span[0] <= 0 and span[1] >= 1 for span in ranges[1:])
        if whole:
            return when
        return _("%(when)s, %(where)s") % {"when": when, "where": _in_picture(ranges[1:])}
    if kind == "volume":
        return _in_volume(ranges)
    return _in_picture(ranges)


def _seconds(span: Sequence[float]) -> str:
    return _("from %(start)s s to %(end)s s") % {"start": number(span[0]), "end": number(span[1])}


def _third(span: Sequence[float]) -> int:
    return min(2, int(3 * (span[0] + span[1]) / 2))


def _in_picture(ranges: Sequence[Sequence[float]]) -> str:
    down, across = (_third(span) for span in ranges)
    return str(_PICTURE[down][across]())


_PICTURE = (
    (lambda: _("upper left"), lambda: _("upper middle"), lambda: _("upper right")),
    (lambda: _("middle left"), lambda: _("the middle"), lambda: _("middle right")),
    (lambda: _("lower left"), lambda: _("lower middle"), lambda: _("lower right")),
)


def _in_volume(ranges: Sequence[Sequence[float]]) -> str:
    """Axes run to the patient's right, front and head."""
    names = (
        (lambda: _("patient's left"), None, lambda: _("patient's right")),
        (lambda: _("back"), None, lambda: _("front")),
        (lambda: _("toward the feet"), None, lambda: _("toward the head")),
    )
    found = [str(word()) for axis, span in zip(names, ranges, strict=True) if (word := axis[_third(span)]) is not None]
    return ", ".join(found) or _("the middle")
