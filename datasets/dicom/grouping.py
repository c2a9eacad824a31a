"""Files into studies, series and stacks: by UIDs, and within a series by geometry. A stack is what becomes a volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from datasets.dicom.codes import Unreadable
from datasets.dicom.reading import Instance, coded
from engine.volumes import Volume, series_volume

DEGREE = 1e-2  # how far two unit vectors may differ (about half a degree) and still be one orientation


@dataclass(frozen=True)
class Stack:
    """Slices of one orientation and size in the order of their places (of their numbers where they tell none).

    `spacing`: the usual distance of neighbours in millimetres, None where it isn't told; `gaps`: how many slices seem to
    be missing; `repeated`: how many lie where another one lies (phases, echoes).
    """

    instances: tuple[Instance, ...]
    spacing: float | None = None
    gaps: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class Series:
    """The stacks of one Series Instance UID, the largest first: a localizer comes apart from what it locates."""

    uid: str
    modality: str
    number: int
    stacks: tuple[Stack, ...]


@dataclass(frozen=True)
class Study:
    uid: str
    series: tuple[Series, ...] = field(default=())


def group(instances: Iterable[Instance]) -> tuple[list[Study], list[Instance]]:
    """(studies, duplicates): an instance whose UID came before is a duplicate. The result does not depend on the order,
    except for which of two duplicates is the first."""
    seen: dict[str, Instance] = {}
    duplicates = []
    for one in instances:
        if one.uid in seen:
            duplicates.append(one)
        else:
            seen[one.uid] = one
    tree: dict[str, dict[str, list[Instance]]] = defaultdict(lambda: defaultdict(list))
    for one in seen.values():
        tree[one.study][one.series].append(one)
    studies = [
        Study(
            study,
            tuple(
                sorted((_series(uid, found) for uid, found in held.items()), key=lambda s: (s.number, s.uid))
            ),
        )
        for study, held in sorted(tree.items())
    ]
    return studies, duplicates


def _series(uid: str, instances: list[Instance]) -> Series:
    stacks: list[list[Instance]] = []
    for one in sorted(instances, key=lambda i: (i.number, i.uid)):
        home = next((stack for stack in stacks if _alike(stack[0], one)), None)
        if home is None:
            stacks.append([one])
        else:
            home.append(one)
    ordered = sorted(
        (_stack(stack) for stack in stacks), key=lambda s: (-len(s.instances), s.instances[0].uid)
    )
    first = ordered[0].instances[0]
    return Series(uid, first.modality, first.series_number, tuple(ordered))


def _alike(a: Instance, b: Instance) -> bool:
    """One object class, one size, one frame of reference and one orientation; a multi-frame object stands alone."""
    if a.frames > 1 or b.frames > 1 or not (a.has_pixels and b.has_pixels):
        return False
    same = (a.sop_class, a.rows, a.columns, a.frame_of_reference) == (
        b.sop_class,
        b.rows,
        b.columns,
        b.frame_of_reference,
    )
    if a.orientation is None or b.orientation is None:
        return same and a.orientation is b.orientation
    return same and bool(np.allclose(a.orientation, b.orientation, atol=DEGREE))


def _stack(instances: list[Instance]) -> Stack:
    places = [place(one) for one in instances]
    if len(instances) < 2 or any(where is None for where in places):
        return Stack(tuple(instances))
    order = sorted(range(len(instances)), key=lambda k: (places[k], instances[k].number, instances[k].uid))
    along = np.array([places[k] for k in order], dtype=float)
    steps = np.diff(along)
    own = steps[steps > 1e-3]
    usual = float(np.median(own)) if own.size else None
    gaps = int(sum(round(step / usual) - 1 for step in own if step > 1.5 * usual)) if usual else 0
    return Stack(tuple(instances[k] for k in order), usual, gaps, int(np.sum(steps <= 1e-3)))


def place(one: Instance) -> float | None:
    """Where a slice lies along the normal of its plane, in millimetres."""
    if one.orientation is None or one.position is None:
        return None
    normal = np.cross(one.orientation[:3], one.orientation[3:])
    return float(np.dot(normal, one.position)) if np.linalg.norm(normal) > 0.5 else None


def volume(stack: Stack) -> Volume:
    """The stack in millimetres on axes to the patient's right, front and head. Raises Unreadable."""
    if not any(one.has_pixels for one in stack.instances):
        raise Unreadable("no_pixels")
    with coded("pixels_unreadable"):
        return series_volume([one.path for one in stack.instances])
