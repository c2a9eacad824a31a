"""What a killed process leaves: temporary files that nobody holds, and stored content that no row names. Both are swept.

Content is stored before its row, and its row before what points to it, so that a kill loses nothing; each step makes what it
uses young again (`storage.keep`), and only what has been old for a day is taken here, under the same lock.
"""

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from datasets import storage, temporary
from datasets.models import StoredFile

logger = logging.getLogger(__name__)
KEPT = 24 * 3600.0  # seconds that content waits for its row, and a row for what points to it
LOOK_UP = 500
AT_ONCE = 1_000  # rows that one sweep takes


def sweep_temporary() -> int:
    """The hourly schedule's: temporary files of ended processes; how many."""
    return _told(temporary.sweep(), "temporary files")


def sweep_stored() -> dict[str, int]:
    """The nightly schedule's: rows of content that nothing points to, then content that no row names. Safe to repeat.

    Where the storage is no folder (S3), nobody can be kept from keeping the same content meanwhile: nothing is done there.
    """
    if storage.place_of(storage.ROOT) is None:
        return {"rows": 0, "content": 0}
    rows = _rows()
    return {"rows": _told(rows, "rows of stored files"), "content": _told(_content(), "stored files")}


def _told(count: int, what: str) -> int:
    if count:
        logger.warning("swept %d %s that an ended process had left", count, what)
    return count


def _rows() -> int:
    limit = timezone.now() - timedelta(seconds=KEPT)
    old = StoredFile.objects.exclude(path="").filter(kept_at__lt=limit)
    for model, field in storage.pointers():
        old = old.filter(~Exists(model._base_manager.filter(**{field: OuterRef("pk")})))
    return sum(_without_row(pk) for pk in list(old.values_list("pk", flat=True)[:AT_ONCE]))


@transaction.atomic
def _without_row(pk: int) -> int:
    limit = timezone.now() - timedelta(seconds=KEPT)
    row = StoredFile.objects.select_for_update().filter(pk=pk, kept_at__lt=limit).first()
    if row is None or storage.needed(row):
        return 0
    transaction.on_commit(partial(storage.discard, row.path, time.time() - KEPT))
    row.delete()
    return 1


def _content() -> int:
    """Files of the storage's folder without a row, and halves that a copy has left."""
    limit, count = time.time() - KEPT, 0
    old = _old(limit)
    while names := list(islice(old, LOOK_UP)):
        known = set(StoredFile.objects.filter(path__in=names).values_list("path", flat=True))
        count += sum(storage.discard(name, limit) for name in names if name not in known)
    return count


def _old(limit: float) -> Iterator[str]:
    """Names in storage of what was last written or kept before the limit, a folder at a time."""
    root = storage.place_of(storage.ROOT)
    assert root is not None
    for folder in sorted(root.glob("*/*/")):
        for path in sorted(folder.iterdir()):
            if _is_old(path, limit):
                yield f"{storage.ROOT}/{path.relative_to(root)}"


def _is_old(path: Path, limit: float) -> bool:
    try:
        return path.is_file() and path.stat().st_mtime < limit
    except FileNotFoundError:
        return False
