"""What is done to a file before anything of it is stored for training: what identifies the patient is removed.

By format: a text document gives its text with identifiers masked; DICOM goes through the function that is registered for it; a
picture loses what is written beside its pixels (see cleaning).
A format that needs preparing and has nobody to do it is refused: it fails closed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.utils.module_loading import import_string

from accounts.actor import Actor
from datasets import temporary
from datasets.arrivals import cleaning, keeping
from datasets.arrivals.desk import Desk
from datasets.arrivals.found import Found, Refused, Shape

Preparer = Callable[[Actor, Path, Path, bool], dict[str, int]]
NEEDED = frozenset({"dicom"})  # formats whose files name the patient
_NAMES: dict[str, str] = {}


def register(form: str, dotted_name: str) -> None:
    """`register("dicom", "datasets.dicom.services.prepare")`: `(actor, path, out, looked) -> {what: how often}`.

    It writes the file without what identifies the patient to `out`, or raises Refused. `looked`: the actor has seen its
    pictures and no name in them.
    """
    _NAMES[form] = dotted_name


def names() -> dict[str, str]:
    """All registered dotted names, for the test that resolves each."""
    return dict(_NAMES)


@contextmanager
def prepared(
    *, actor: Actor, desk: Desk, found: Found, copy: keeping.Copy, known: list[str], looked: bool = False
) -> Iterator[tuple[keeping.Copy, dict[str, int]]]:
    """(what may be stored, how much of what was removed), while the block lasts. Raises Refused."""
    if found.kind == Shape.TEXT:
        with _out() as out:
            counts = desk.text(copy.path, found.format, out, known)
            yield keeping.measured(out), counts
    elif found.format in _NAMES and found.kind != Shape.INDEX:
        with _out() as out:
            counts = import_string(_NAMES[found.format])(actor, copy.path, out, looked)
            yield keeping.measured(out), counts
    elif found.format in NEEDED and found.kind != Shape.INDEX:
        raise Refused("not_deidentified")
    elif found.format in cleaning.FORMATS:
        with _out() as out:
            count = desk.clean(copy.path, found.format, out)
            yield (keeping.measured(out), {"metadata": count}) if count else (copy, {})
    else:
        yield copy, {}


@contextmanager
def _out() -> Iterator[Path]:
    with keeping.room(), temporary.folder("prepared-") as folder:
        yield folder / "file"
