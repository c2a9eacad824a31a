"""DICOM before it is kept: without what tells who the patient is, or not at all."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accounts.actor import Actor
from datasets import temporary
from datasets.cells.kinds import NotACell
from datasets.dicom.codes import TEXTS


@contextmanager
def deidentified(*, actor: Actor, path: Path) -> Iterator[tuple[Path, str, int, str]]:
    """(path, sha256, size, pseudonym) of what may be kept, while the block lasts: the file by the Basic Profile of PS3.15.

    Raises NotACell where it can't be de-identified with certainty, its picture may show who the patient is, or the server
    has no key for patients' data. Nothing is kept then.
    """
    from datasets.dicom import services  # not in the web process before it is needed: it decodes pictures
    from datasets.dicom.report import Outcome
    from datasets.dicom.vault import VaultClosed

    with temporary.folder("deidentified-") as folder:
        out = folder / "file.dcm"
        try:
            report = services.deidentify_file(actor=actor, path=path, out=out)
        except VaultClosed as error:
            raise NotACell("not_deidentified", str(error)) from error
        if report.outcome is not Outcome.DONE:
            raise NotACell(report.reasons[0], " ".join(str(TEXTS[code]) for code in report.reasons))
        with out.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        yield out, sha256, out.stat().st_size, report.pseudonym
