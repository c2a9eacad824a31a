"""Where in a file the reasons lie: parts of a picture or volume, stretches of a signal, frames of a clip and where.

Any model: a part is hidden and the score falls by what the part had said for it (occlusion: Zeiler & Fergus 2014,
doi:10.1007/978-3-319-10590-1_53). Hidden parts are filled so that hiding itself is no sign: with an ordinary part of the
same picture and with what lies around it, with a straight line between the ends of a stretch, with the middle of the
clip's other frames.

A fusion network that is the model, or has most weight in it: gradient times activation of its last maps (see
engine.networks.maps), where most of what a file says comes from the network's own look at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.candidates.fusion import FusionModel
from engine.encoding import Encoded
from engine.errors import FileRefused
from engine.files import Files
from engine.metrics import Floats
from engine.schema import FILE_KINDS, Kind
from engine.transformers.files import Decoded, FileTransformer

if TYPE_CHECKING:
    from engine.fitted import Fitted, Member
    from engine.signals.recording import Recording
    from engine.transformers.volume import Scan
    from engine.video.clip import Clip

Score = Callable[["Fitted", Encoded, int], Floats]
Ranges = tuple[tuple[float, float], ...]

AXES = {
    Kind.IMAGE: ("down", "across"), Kind.VOLUME: ("x", "y", "z"), Kind.SIGNAL: ("seconds",),
    Kind.VIDEO: ("seconds", "down", "across"),
}  # fmt: skip
PICTURE_GRID, VOLUME_GRID, CLIP_GRID = 8, 5, 4  # parts along each side
STRETCHES, SHORTEST = 20, 4  # of a signal; samples
MOMENTS = 8  # parts of a clip in time
LOOKED_INTO = 2  # moments of a clip in which it is also asked where


@dataclass(frozen=True)
class Region:
    """A part of a file. `ranges`: from and to along each axis: seconds, or shares of the height, width or length.

    `contribution`: what the part adds to the score (occlusion), or how hot it is, 1 the hottest (grad-cam).
    """

    ranges: Ranges
    contribution: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {"ranges": [list(span) for span in self.ranges], "contribution": self.contribution}


@dataclass(frozen=True)
class Regions:
    """The parts of one column's file, the most telling first. `method` is "occlusion" or "grad-cam"; `axes` name the
    ranges of each region. A clip's regions over its whole height and width are moments, the others parts of a moment."""

    kind: str
    method: str
    axes: tuple[str, ...]
    regions: list[Region]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {"kind": self.kind, "method": self.method, "axes": list(self.axes),
                "regions": [region.to_dict() for region in self.regions]}  # fmt: skip


def regions_of(
    fitted: Fitted, record: Mapping[str, Any], code: int, files: Files, score: Score
) -> dict[str, Regions]:
    """For each column whose cell is a file that can be read: where its reasons lie."""
    found: dict[str, Regions] = {}
    items = dict(_items(fitted, record, files))
    if not items:
        return found
    base = fitted.encoder.from_records([_ready(fitted, record, items)], files)
    member = _network(fitted)
    if member is not None:
        seen = {place: item for place, item in items.items() if _looks_itself(fitted, member, base, place, code)}
        found = _heat(fitted, member, base, seen, code) if seen else {}
    for (kind, column), item in items.items():
        if fitted.encoder.specs[kind][column].name in found:
            continue
        name = fitted.encoder.specs[kind][column].name
        regions = _occluded(fitted, base, (kind, column), item, code, files, score)
        if regions:
            found[name] = Regions(kind.value, "occlusion", AXES[kind], _sorted(regions))
    return found


def _sorted(regions: list[Region]) -> list[Region]:
    return sorted(regions, key=lambda region: -abs(region.contribution))


Place = tuple[Kind, int]


def _items(fitted: Fitted, record: Mapping[str, Any], files: Files) -> Iterator[tuple[Place, Any]]:
    for kind, specs in fitted.encoder.specs.items():
        transformer = fitted.encoder.transformers[kind]
        if kind not in FILE_KINDS or not isinstance(transformer, FileTransformer):
            continue
        for column, spec in enumerate(specs):
            cell = record.get(spec.name)
            try:
                item = transformer.part(column).opened(cell, files)
            except FileRefused:  # a warning beside the prediction says it already
                continue
            if item is not None:
                yield (kind, column), item


def _ready(fitted: Fitted, record: Mapping[str, Any], items: Mapping[Place, Any]) -> dict[str, Any]:
    """The record with its files read already."""
    read = {fitted.encoder.specs[kind][column].name: Decoded(item) for (kind, column), item in items.items()}
    return {**record, **read}


# Occlusion

Hidden = list[tuple[Ranges, Any]]


def _occluded(
    fitted: Fitted, base: Encoded, place: Place, item: Any, code: int, files: Files, score: Score
) -> list[Region]:
    """Where there are two ways of hiding, a part has said what both agree on: what only one finds is the cover's doing."""
    if place[0] is not Kind.VIDEO:
        ways = [_asked(fitted, base, place, way, code, files, score) for way in HIDERS[place[0]](item)]
        return [_agreed(same) for same in zip(*ways, strict=True)]
    moments = _asked(fitted, base, place, list(hide_moments(item)), code, files, score)
    found = list(moments)
    for moment in _sorted(moments)[:LOOKED_INTO]:
        parts = list(hide_parts(item, moment.ranges[0]))
        found += _asked(fitted, base, place, parts, code, files, score)
    return found


def _asked(
    fitted: Fitted, base: Encoded, place: Place, hidden: Hidden, code: int, files: Files, score: Score
) -> list[Region]:
    """The score of the record less that of the record with each part hidden."""
    if not hidden:
        return []
    encoder, kind = fitted.encoder, place[0]
    name = encoder.specs[kind][place[1]].name
    without = encoder.from_records([{name: Decoded(item)} for _, item in hidden], files)
    blocks = {k: encoder.transformers[k].join(base.blocks[k], without.blocks[k]) for k in base.blocks}
    rows = np.zeros((1 + len(hidden), len(encoder.names)), dtype=np.int64)
    rows[:, encoder.names.index(name)] = np.arange(1 + len(hidden))
    scores = score(fitted, encoder.mix(Encoded(1 + len(hidden), blocks), rows), code)
    return [Region(ranges, float(scores[0] - s)) for (ranges, _), s in zip(hidden, scores[1:], strict=True)]


def _agreed(same: tuple[Region, ...]) -> Region:
    said = np.array([region.contribution for region in same])
    agree = bool(np.all(said > 0) or np.all(said < 0))
    return Region(same[0].ranges, float(said[np.abs(said).argmin()]) if agree else 0.0)


def edges(size: int, parts: int) -> NDArray[np.int64]:
    """Where a side of `size` is cut into at most `parts` equal parts."""
    return np.unique(np.linspace(0, size, min(parts, size) + 1).round().astype(np.int64))


def hide_in_picture(item: NDArray[np.float32]) -> list[Hidden]:
    """One part after the other, covered in two ways."""
    return list(_covered(item, item.shape[:2], PICTURE_GRID))


def hide_in_volume(item: Scan) -> list[Hidden]:
    """One block after the other, covered in two ways."""
    return [
        [(ranges, replace(item, grid=grid)) for ranges, grid in hidden]
        for hidden in _covered(item.grid, item.grid.shape, VOLUME_GRID)
    ]


def _covered(array: NDArray[np.float32], sides: tuple[int, ...], parts: int) -> Iterator[Hidden]:
    """Parts on a grid over the first axes, covered by an ordinary part of the same array, then by what is around them.

    A flat cover would itself be a sign where there is noise or tissue: the texture is that of the ordinary part.
    """
    sizes = [max(1, side // min(parts, side)) for side in sides]
    counts = [-(-side // size) for side, size in zip(sides, sizes, strict=True)]
    cuts = [
        tuple(slice(k * size, min((k + 1) * size, side)) for k, size, side in zip(place, sizes, sides, strict=True))
        for place in np.ndindex(*counts)
    ]
    cover = array[cuts[_ordinary(array, cuts, sizes)]]
    texture = cover - cover.mean(axis=tuple(range(len(sides))))
    for around in (False, True):
        hidden: Hidden = []
        for cut in cuts:
            own = tuple(slice(0, part.stop - part.start) for part in cut)
            copy = array.copy()
            copy[cut] = texture[own] + _around(array, cut, sizes) if around else cover[own]
            span = zip(cut, sides, strict=True)
            hidden.append((tuple((part.start / side, part.stop / side) for part, side in span), copy))
        yield hidden


def _around(array: NDArray[np.float32], cut: tuple[slice, ...], sizes: list[int]) -> Any:
    """The middle value (of each colour) of what lies within one part's size around a part."""
    wider = tuple(slice(max(0, p.start - size), p.stop + size) for p, size in zip(cut, sizes, strict=True))
    other = np.ones(array.shape[: len(cut)], dtype=bool)
    other[cut] = False
    return np.median(array[wider][other[wider]], axis=0)


def _ordinary(array: NDArray[np.float32], cuts: list[tuple[slice, ...]], sizes: list[int]) -> int:
    """The position of a whole part whose mean and deviation are nearest to the medians."""
    looks = np.array([(float(array[cut].mean()), float(array[cut].std())) for cut in cuts])
    whole = [all(p.stop - p.start == size for p, size in zip(cut, sizes, strict=True)) for cut in cuts]
    distance = np.abs(looks - np.median(looks, axis=0)) / (looks.std(axis=0) + 1e-9)
    return int(np.where(whole, distance.sum(axis=1), np.inf).argmin())


def hide_in_signal(item: Recording) -> list[Hidden]:
    """One stretch after the other as a straight line between what lies around it, in all channels."""
    from engine.signals.resampling import fill_gaps

    n = item.values.shape[1]
    cuts = edges(n, max(1, min(STRETCHES, n // SHORTEST)))
    hidden: Hidden = []
    for a, b in pairwise(cuts):
        values = item.values.copy()
        values[:, a:b] = np.nan
        line = fill_gaps(values)[:, a:b]
        values[:, a:b] = np.where(np.isnan(item.values[:, a:b]), np.nan, line)
        hidden.append((((float(a / item.rate), float(b / item.rate)),), replace(item, values=values)))
    return [hidden]


def hide_moments(clip: Clip) -> Iterator[tuple[Ranges, Clip]]:
    """One moment after the other: its frames become the middle of all others, its motion the usual one."""
    for start, end in _moments(clip):
        inside = (clip.times >= start) & (clip.times < end)
        if not inside.any() or inside.all():
            continue
        frames = clip.frames.copy()
        frames[inside] = np.median(clip.frames[~inside], axis=0).astype(np.uint8)
        calm = _calmed(clip, start, end)
        yield ((start, end), (0.0, 1.0), (0.0, 1.0)), replace(calm, frames=frames)


def hide_parts(clip: Clip, moment: tuple[float, float]) -> Iterator[tuple[Ranges, Clip]]:
    """Within a moment one part of its frames after the other: as it is in the middle of the other frames."""
    inside = np.flatnonzero((clip.times >= moment[0]) & (clip.times < moment[1]))
    others = np.setdiff1d(np.arange(len(clip.frames)), inside)
    middle = np.median(clip.frames[others], axis=0).astype(np.uint8)
    side = clip.frames.shape[1]
    cuts = edges(side, CLIP_GRID)
    for a, b in pairwise(cuts):
        for c, d in pairwise(cuts):
            frames = clip.frames.copy()
            frames[inside, a:b, c:d] = middle[a:b, c:d]
            place = ((float(a / side), float(b / side)), (float(c / side), float(d / side)))
            yield (moment, *place), replace(clip, frames=frames)


def _moments(clip: Clip) -> list[tuple[float, float]]:
    """Equal parts of the clip's time, each long enough for a kept frame."""
    count = max(1, min(MOMENTS, len(clip.frames) // 2))
    cuts = np.linspace(0.0, max(clip.seconds, float(clip.times[-1]) + 1e-6), count + 1)
    return list(pairwise(cuts.tolist()))


def _calmed(clip: Clip, start: float, end: float) -> Clip:
    """The clip with the motion and light of a moment as they usually are. What moved in a part only is not known."""

    def calm(series: Floats) -> Floats:
        when = np.arange(len(series)) / clip.rate
        inside = (when >= start) & (when < end)
        if not inside.any() or inside.all():
            return series
        return np.where(inside, np.median(series[~inside]), series)

    return replace(clip, motion=calm(clip.motion), flow=calm(clip.flow), light=calm(clip.light))


HIDERS: dict[Kind, Callable[[Any], list[Hidden]]] = {
    Kind.IMAGE: hide_in_picture, Kind.VOLUME: hide_in_volume, Kind.SIGNAL: hide_in_signal,
}  # fmt: skip


# Gradients


def _network(fitted: Fitted) -> Member | None:
    """The fusion network, when it is the model or has most weight in it."""
    main = max(fitted.members, key=lambda member: member.weight)
    return main if isinstance(main.model, FusionModel) else None


def _looks_itself(fitted: Fitted, member: Member, base: Encoded, place: Place, code: int) -> bool:
    """Whether what the network's own look at a file says is at least half of what the file says: the rest comes from the
    cheap features, of which a map of the network knows nothing."""
    from engine.bundle import Bundle

    assert fitted.background is not None
    encoder = fitted.encoder
    blocks = {k: encoder.transformers[k].join(base.blocks[k], fitted.background.blocks[k]) for k in base.blocks}
    rows = np.zeros((1, len(encoder.names)), dtype=np.int64)
    rows[0, encoder.names.index(encoder.specs[place[0]][place[1]].name)] = 1  # the empty cell of a background record
    with_it = member.preprocessor.transform(base)
    without = member.preprocessor.transform(encoder.mix(Encoded(2, blocks), rows))
    unseen = Bundle(with_it.table, without.tensors)
    whole, blind, none = (_said(fitted, member, each, code) for each in (with_it, unseen, without))
    return abs(whole - blind) >= 0.5 * abs(whole - none) and whole != blind


def _said(fitted: Fitted, member: Member, X: Any, code: int) -> float:
    from engine.calibration import logit

    raw = member.model.raw(X)
    return float(logit(raw[:, code])[0]) if fitted.classify else float(raw[0])


def _heat(
    fitted: Fitted, member: Member, base: Encoded, items: Mapping[Place, Any], code: int
) -> dict[str, Regions]:
    assert isinstance(member.model, FusionModel)
    maps = member.model.heat(member.preprocessor.transform(base), code)
    found = {}
    for (kind, column), heat in maps.items():
        if (kind, column) in items:
            transformer = fitted.encoder.transformers[kind]
            assert isinstance(transformer, FileTransformer)
            part = transformer.part(column)
            regions = [Region(r, v) for r, v in SPREADERS[kind](heat, items[kind, column], part) if v > 0]
            name = fitted.encoder.specs[kind][column].name
            found[name] = Regions(kind.value, "grad-cam", AXES[kind], _sorted(regions))
    return found


def _even(heat: Floats, item: Any, part: Any) -> Iterator[tuple[Ranges, float]]:
    """The map lies over the whole picture or volume."""
    for place in np.ndindex(*heat.shape):
        yield tuple((k / n, (k + 1) / n) for k, n in zip(place, heat.shape, strict=True)), float(heat[place])


def _in_time(heat: Floats, item: Recording, part: Any) -> Iterator[tuple[Ranges, float]]:
    """The map lies over the seconds that the network sees; what lies after the recording's end is left out."""
    step = part.layout.seconds / len(heat)
    for k, value in enumerate(heat.tolist()):
        if k * step < item.seconds:
            yield ((k * step, min((k + 1) * step, item.seconds)),), value


def _in_frames(heat: Floats, item: Clip, part: Any) -> Iterator[tuple[Ranges, float]]:
    """A frame lasts until the next one that the network sees."""
    from engine.transformers.video import shown_frames

    times = item.times[shown_frames(item)]
    ends = np.append(times[1:], max(item.seconds, float(times[-1]) + 1.0 / max(item.rate, 1e-9)))
    for k, (start, end) in enumerate(zip(times.tolist(), ends.tolist(), strict=True)):
        for ranges, value in _even(heat[k], item, part):
            yield ((start, end), *ranges), value


SPREADERS: dict[Kind, Callable[[Floats, Any, Any], Iterator[tuple[Ranges, float]]]] = {
    Kind.IMAGE: _even, Kind.VOLUME: _even, Kind.SIGNAL: _in_time, Kind.VIDEO: _in_frames,
}  # fmt: skip
