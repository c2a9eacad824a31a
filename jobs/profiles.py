"""Resource profiles: how much of a node a job may use, and which one a piece of work needs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

HEAVY = "heavy"
LIGHT = "light"
QUEUES = (HEAVY, LIGHT)

# Column kinds whose cells are files: networks over them need far more than a table does.
FILE_KINDS = frozenset({"image", "volume", "video", "signal"})
BYTES_PER_CELL = 8
COPIES = 12  # of the table that a search over several candidates holds at its peak (measured on tables)
TEXT_FACTOR = 60  # a text cell becomes this many numbers' worth of sparse n-grams
FILE_BYTES = {"image": 13_000, "volume": 132_000, "video": 148_000, "signal": 40_000}  # of what a network keeps of a cell
FILE_COPIES = 4
BASE_MB = 700  # Python, pandas, scikit-learn and torch before any data


@dataclass(frozen=True)
class Profile:
    """What a job may use: CPU threads, memory in MB, GPUs, and seconds until it is stopped."""

    name: str
    label: Promise
    description: Promise
    queue: str
    threads: int
    memory_mb: int
    gpus: int
    time_limit: int
    niceness: int


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("small", _("Small"), _("Imports, exports and other short work"), LIGHT, 1, 1024, 0, 2 * 3600, 5),
        Profile("medium", _("Medium"), _("Training on tables and texts"), HEAVY, 2, 2560, 0, 12 * 3600, 10),
        Profile("large", _("Large"), _("Training on large tables, or on few images"), HEAVY, 4, 8192, 0, 24 * 3600, 10),
        Profile("huge", _("Very large"), _("Training on millions of records"), HEAVY, 8, 32768, 0, 48 * 3600, 10),
        Profile("gpu", _("Graphics processor"), _("Training on images, video and signals"), HEAVY, 4, 16384, 1, 48 * 3600, 10),
    )
}  # fmt: skip


def profile_of(name: str) -> Profile:
    """The profile of that name; KeyError says which names there are."""
    if name not in PROFILES:
        raise KeyError(f"unknown resource profile {name!r}; there are: {', '.join(PROFILES)}")
    return PROFILES[name]


def estimate_memory_mb(*, kinds: Iterable[str], records: int) -> int:
    """A cautious estimate of a training's peak memory in MB, from the feature columns' kinds and the record count."""
    kinds = list(kinds)
    cells = sum(TEXT_FACTOR if kind == "text" else 1 for kind in kinds if kind not in FILE_KINDS)
    files = sum(FILE_BYTES.get(kind, 0) for kind in kinds)
    return BASE_MB + round(records * (cells * BYTES_PER_CELL * COPIES + files * FILE_COPIES) / 1024**2)


def choose(
    *, kinds: Iterable[str], records: int, recipe: Mapping[str, Any] | None = None, gpu_available: bool | None = None
) -> str:
    """The name of the smallest profile that holds the work.

    `kinds` are the kinds of the feature columns, `records` how many there are. A recipe may name its own
    (`{"profile": "large"}`). Columns of files want a GPU when a node has one (asked of the nodes unless told).
    """
    wanted = (recipe or {}).get("profile")
    if wanted:
        return profile_of(str(wanted)).name
    kinds = list(kinds)
    if FILE_KINDS.intersection(kinds):
        if gpu_available is None:
            from jobs.nodes import has_gpu

            gpu_available = has_gpu()
        return "gpu" if gpu_available else "large"
    need = estimate_memory_mb(kinds=kinds, records=records)
    for name in ("medium", "large", "huge"):
        if PROFILES[name].memory_mb >= need:
            return name
    return "huge"
