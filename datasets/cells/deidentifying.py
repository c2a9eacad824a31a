"""A cell's file before it is kept: DICOM without what tells who the patient is, pictures without what is beside their pixels."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accounts.actor import Actor
from datasets import temporary
from datasets.arrivals import cleaning, desks
from datasets.arrivals.found import Refused
from datasets.cells.kinds import Look, NotACell
from datasets.dicom.codes import TEXTS


@dataclass(frozen=True)
class Ready:
    """What may be kept instead of what came, while the block lasts. `pseudonym`: of DICOM."""

    path: Path
    sha256: str
    size: int
    pseudonym: str = ""


@contextmanager
def prepared(*, actor: Actor, look: Look, path: Path, looked: bool = False) -> Iterator[Ready | None]:
    """What may be kept of the file; None when it may be as it is. `looked`: the actor has seen its pictures, and no name in them.

    Raises NotACell where that can't be had with certainty, a DICOM picture may show who the patient is, or the server has no
    key for patients' data. Nothing is kept then. Raises desks.Busy.
    """
    if look.form == "dicom":
        with temporary.folder("deidentified-") as folder:
            out = folder / "file.dcm"
            pseudonym = deidentified(actor, path, out, looked)
            yield _measured(out, pseudonym)
    elif look.form in cleaning.FORMATS:
        with temporary.folder("cleaned-") as folder:
            out = folder / "file"
            yield _measured(out) if _cleaned(look.form, path, out) else None
    else:
        yield None


def deidentified(actor: Actor, path: Path, out: Path, looked: bool = False) -> str:
    """By the Basic Profile of PS3.15; the pseudonym."""
    from datasets.dicom import services  # not in the web process before it is needed: it loads pydicom
    from datasets.dicom.report import Outcome
    from datasets.dicom.vault import VaultClosed

    try:
        report = services.deidentify_file(actor=actor, path=path, out=out, pixels_checked=looked)
    except VaultClosed as error:
        raise NotACell("not_deidentified", str(error)) from error
    if report.outcome is not Outcome.DONE:
        raise NotACell(report.reasons[0], " ".join(str(TEXTS[code]) for code in report.reasons))
    return report.pseudonym


def _cleaned(form: str, path: Path, out: Path) -> int:
    try:
        with desks.shared() as desk:
            return desk.clean(path, form, out)
    except Refused as error:
        raise NotACell(error.code, error.why) from error


def _measured(out: Path, pseudonym: str = "") -> Ready:
    with out.open("rb") as stream:
        return Ready(out, hashlib.file_digest(stream, "sha256").hexdigest(), out.stat().st_size, pseudonym)
