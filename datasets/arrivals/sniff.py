"""What a file is: its content says, never its name; and whether the reader that will use it can really open it.

`identify` is for a process that may be ended: readers of pictures, video and DICOM are written in C, and a file made to do
harm can make them fail. The job looks from a process of its own (see `datasets.arrivals.desk`).
"""

import stat
import warnings
from collections.abc import Callable
from pathlib import Path

from datasets.arrivals import signatures
from datasets.arrivals.found import Found, Refused, Shape
from datasets.arrivals.looks import dicom, documents, pictures, signals, texts, videos, volumes, zips

__all__ = ["Beside", "Found", "Refused", "Shape", "identify"]

Beside = Callable[
    [str], Path | None
]  # a name in the same folder as the file → where that file's content lies
LOOKS: dict[str, Callable[[Path, str], Found]] = {
    **dict.fromkeys(("png", "jpeg", "tiff", "bmp", "webp"), pictures.look),
    **dict.fromkeys(("mp4", "mov", "avi", "mkv", "mpeg", "gif"), videos.look),
    **dict.fromkeys(("edf", "bdf"), signals.look_edf),
    "dicom": dicom.look,
    "nifti": volumes.look,
    "gzip": volumes.look_gzip,
    "zip": zips.look,
    "parquet": texts.look_table,
    "pdf": documents.look_pdf,
}
TWO_FACED = {
    ("dicom", "tiff"): "dicom",
    ("tiff", "dicom"): "dicom",
}  # PS3.10 section 7.1 allows it, scanners write it


def identify(path: Path, beside: Beside | None = None) -> Found:
    """What the file is, opened by the reader that will use it. Raises Refused, whatever is wrong with it.

    `beside` finds the samples that a WFDB header names; without it a header is refused as "incomplete".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of much that is no reason to refuse
        try:
            return _identify(Path(path), beside)
        except Refused:
            raise
        except MemoryError as error:
            raise Refused("took_too_much") from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Refused("damaged", format="?") from error


def _identify(path: Path, beside: Beside | None) -> Found:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Refused("not_a_file")
    if not status.st_size:
        raise Refused("empty")
    head, tail = _ends(path, status.st_size)
    claims = signatures.claims(head)
    form = _one(claims, head, tail)
    if form is None:
        return _unclaimed(path, head, beside)
    if form == "tar":
        raise Refused("archive_format", format="TAR")
    if form == "ole":
        raise Refused("old_office")
    try:
        return LOOKS[form](path, form)
    except (Refused, MemoryError):
        raise
    except Exception as error:  # readers raise many kinds for damaged files
        raise Refused("damaged", format=form.upper()) from error


def _ends(path: Path, size: int) -> tuple[bytes, bytes]:
    with path.open("rb") as stream:
        head = stream.read(signatures.HEAD)
        stream.seek(max(0, size - signatures.TAIL))
        return head, stream.read(signatures.TAIL)


def _one(claims: list[str], head: bytes, tail: bytes) -> str | None:
    """The one format that is claimed. Raises Refused ("polyglot") for two."""
    if tuple(claims) in TWO_FACED:
        claims = [TWO_FACED[claims[0], claims[1]]]
    if "dicom" in claims and (refused := signatures.plainly_refused(head)) is not None:
        raise Refused("polyglot", first="DICOM", second=refused[1])  # the preamble may hold a program
    others = []
    if "zip" not in claims and signatures.zip_at_end(tail):
        others.append("zip")
    if "pdf" not in claims and claims and b"%PDF-" in head[:1024]:
        others.append("pdf")
    both = [*claims, *others]
    if len(both) > 1:
        raise Refused("polyglot", first=both[0].upper(), second=both[1].upper())
    if others:  # a self-unpacking archive, or a text with an archive behind it
        raise Refused("polyglot", first="?", second=others[0].upper())
    return claims[0] if claims else None


def _unclaimed(path: Path, head: bytes, beside: Beside | None) -> Found:
    if (refused := signatures.plainly_refused(head)) is not None:
        raise Refused(refused[0], format=refused[1])
    if dicom.without_preamble(head):
        return dicom.look(path, "dicom")
    return texts.look(path, beside)
