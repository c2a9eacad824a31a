"""From a document to the plain text that may be stored for training."""

from collections.abc import Sequence
from pathlib import Path

from datasets.arrivals.looks import documents
from datasets.masking import texts


def write(path: Path, form: str, out: Path, known: Sequence[str]) -> dict[str, int]:
    """The document's text in UTF-8, identifiers masked; how many of each kind. Raises Refused."""
    masked = texts.mask(documents.text_of(path, form), known)
    out.write_text(masked.text, encoding="utf-8")
    return masked.counts


def preview(path: Path, form: str, known: Sequence[str], most: int) -> tuple[list[tuple[str, str]], bool]:
    """Pieces of the beginning (text, what would be masked or ""), and whether there is more. Raises Refused."""
    text = documents.text_of(path, form)
    shown = text[:most]
    spans = texts.find(shown, known)
    return [(piece, str(span.what) if span else "") for piece, span in texts.parts(shown, spans)], len(
        text
    ) > most
