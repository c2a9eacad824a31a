"""Which of some DICOM files make the one volume of a cell, in which order, and what a person should know of the rest.

One cell is one volume: where the files hold two series that could be meant, nobody but a person can tell which, so they are
refused with that sentence. Localizers beside a series are passed over, and said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from datasets.cells.kinds import NotACell

if TYPE_CHECKING:
    from datasets.dicom.grouping import Series, Stack
    from datasets.dicom.reading import Instance

SHORT = 4  # slices; fewer are a localizer where there is a longer series
SAME = 1e-3  # millimetres
TILT = 1.0  # millimetres that the last slice begins beside the first one
UNEVEN = 0.1  # share of the usual distance, as in engine.stacks


@dataclass(frozen=True)
class Chosen:
    """The slices in their order; `notes`: {code, count, ...} (see datasets.cells.notes)."""

    paths: tuple[Path, ...]
    notes: tuple[dict[str, Any], ...]


def choose(instances: Sequence["Instance"], left_out: int = 0) -> Chosen:
    """Raises NotACell: no slice at all, several series or stacks that could be meant, too few of a series."""
    from datasets.dicom.grouping import group

    pictures = [one for one in instances if one.has_pixels]
    left_out += len(instances) - len(pictures)
    studies, copies = group(pictures)
    found = [series for study in studies for series in study.series]
    if not found:
        raise NotACell("no_slices", _("There is no DICOM picture among these files."))
    series, short = _one(found)
    stack, other = _largest(series)
    notes = [_note("left_out", left_out), _note("short_series", short, most=SHORT), _note("copies", len(copies)),
             _note("other_stacks", other)]  # fmt: skip
    kept = _once_a_place(stack)
    notes += [_note("repeated", len(stack.instances) - len(kept)), *_of_geometry(stack, kept)]
    return Chosen(tuple(one.path for one in kept), tuple(note for note in notes if note["count"]))


def _note(code: str, count: int, **more: Any) -> dict[str, Any]:
    return {"code": code, "count": count, **more}


def _length(stack: "Stack") -> int:
    return sum(one.frames for one in stack.instances)


def _one(found: list["Series"]) -> tuple["Series", int]:
    """(the only series that can be meant, how many short ones beside it)."""
    long = [series for series in found if _length(series.stacks[0]) >= SHORT] or found
    if len(long) > 1:
        counts = sorted((_length(series.stacks[0]) for series in long), reverse=True)
        text = _(
            "These files hold %(count)s series (with %(slices)s slices), and a cell takes one: give the files of one series, or"
            " name one by its Series Instance UID or by one of its files."
        )
        raise NotACell("several_series", text % {"count": len(long), "slices": ", ".join(map(str, counts[:10]))})
    return long[0], len(found) - 1


def _largest(series: "Series") -> tuple["Stack", int]:
    """(the stack of the series that can be meant, slices of others)."""
    first, *rest = series.stacks
    if rest and 2 * _length(rest[0]) > _length(first):
        text = _(
            "This series holds %(count)s stacks of slices of different orientation or size, and a cell takes one: give the files"
            " of one of them."
        )
        raise NotACell("several_stacks", text % {"count": len(series.stacks)})
    return first, sum(_length(stack) for stack in rest)


def _once_a_place(stack: "Stack") -> list["Instance"]:
    """The first slice of each place."""
    from datasets.dicom.grouping import place

    kept: list[Instance] = []
    for one in stack.instances:
        here, before = place(one), place(kept[-1]) if kept else None
        if here is None or before is None or abs(here - before) > SAME:
            kept.append(one)
    if len(kept) == 1 and len(stack.instances) >= SHORT:
        text = _("All %(count)s slices lie at one place (a film, or one slice over time), which makes no volume.")
        raise NotACell("one_place", text % {"count": len(stack.instances)})
    return kept


def _of_geometry(stack: "Stack", kept: Sequence["Instance"]) -> list[dict[str, Any]]:
    import numpy as np

    from datasets.dicom.grouping import place

    if len(kept) < 2:
        return []
    places = [place(one) for one in kept]
    if any(where is None for where in places):
        return [_note("unplaced", 1)]
    if 2 * stack.gaps > len(kept):
        text = _("%(missing)s of the series' slices seem to be missing, beside %(count)s that are there: send the whole series.")
        raise NotACell("slices_missing", text % {"missing": stack.gaps, "count": len(kept)})
    steps = np.diff(np.array(places, dtype=float))
    usual = float(np.median(steps))
    differ = not stack.gaps and bool(np.any(np.abs(steps - usual) > UNEVEN * usual))
    axes = np.array(kept[0].orientation).reshape(2, 3)
    begins = np.array([axes @ np.array(one.position) for one in kept])
    tilted = bool(np.ptp(begins, axis=0).max() > TILT)
    return [_note("gaps", stack.gaps), _note("uneven", int(differ)), _note("tilted", int(tilted))]
