"""What is left of an upload once its import has ended: no values in its preview, no file with what was not to be kept."""

from functools import partial
from time import time
from typing import Any

from django.db import transaction

from datasets import storage
from datasets.models import Upload


def without_rows(preview: dict[str, Any]) -> dict[str, Any]:
    """The preview without its rows and without the examples of what is masked."""
    return {key: value for key, value in preview.items() if key not in ("rows", "masking")}


def let_go(upload: Upload) -> None:
    """Within a transaction: delete the file that was sent where it holds what the records do not, once the transaction holds.

    That is: files without what identified patients, masked texts, columns that say who somebody is and were left out.
    """
    if any(upload.options.get(name) for name in ("files", "telling", "left_out")) or upload.report.get("masked"):
        for path in storage.release([upload.file], [upload]):
            transaction.on_commit(partial(storage.discard, path, time()))
