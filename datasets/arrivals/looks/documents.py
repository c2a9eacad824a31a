"""PDF and Word documents: their text, within limits. Nothing else of them is kept (no scripts, links or embedded files)."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.arrivals.found import Found, Refused, Shape
from datasets.storage import limit_text

MOST_CHARACTERS = 5_000_000
MOST_PAGES = 5_000
MOST_UNPACKED = 200 * 1024 * 1024  # of a Word document, all parts
MOST_XML = 50 * 1024 * 1024  # of the part that holds the text
LARGEST_PDF = 500 * 1024 * 1024


def look_pdf(path: Path, form: str) -> Found:
    """Opened, and the first page with text found. Raises Refused ("no_text" for a scan)."""
    reader = _pdf(path)
    pages = len(reader.pages)
    if pages > MOST_PAGES:
        raise Refused("too_large", limit=f"{MOST_PAGES} p.")
    characters = sum(len(piece) for piece in _pages(reader))
    if not characters:
        raise Refused("no_text")
    return Found(Shape.TEXT, "pdf", {"pages": pages, "characters": characters})


def look_docx(path: Path, form: str) -> Found:
    """Raises Refused."""
    characters = sum(len(piece) for piece in _paragraphs(path))
    if not characters:
        raise Refused("no_text")
    return Found(Shape.TEXT, "docx", {"characters": characters})


def text_of(path: Path, form: str) -> str:
    """The text of a document of the formats txt, pdf and docx, at most MOST_CHARACTERS. Raises Refused."""
    if form == "pdf":
        return "\n\n".join(_pages(_pdf(path)))
    if form == "docx":
        return "\n".join(_paragraphs(path))
    from datasets.readers import encodings

    encoding, _certain = encodings.detect(path)
    return path.read_text(encoding=encoding).replace("\r\n", "\n").replace("\r", "\n")


def _pdf(path: Path) -> Any:
    from pypdf import PdfReader
    from pypdf.errors import PdfReadError, PyPdfError

    if path.stat().st_size > LARGEST_PDF:
        raise Refused("too_large", limit=limit_text(LARGEST_PDF))
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 2048))
        if b"%%EOF" not in stream.read():
            raise Refused("truncated")
    try:
        reader = PdfReader(path, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refused("encrypted")
        _ = len(reader.pages)
    except (PdfReadError, PyPdfError, RecursionError) as error:
        raise Refused("damaged", format="PDF") from error
    return reader


def _pages(reader: Any) -> Iterator[str]:
    from pypdf.errors import PyPdfError

    total = 0
    for page in reader.pages:
        try:
            piece = str(page.extract_text() or "").strip()
        except (PyPdfError, RecursionError) as error:
            raise Refused("damaged", format="PDF") from error
        total += len(piece)
        if total > MOST_CHARACTERS:
            raise Refused("too_large", limit=f"{MOST_CHARACTERS:,}")
        if piece:
            yield piece


def _paragraphs(path: Path) -> Iterator[str]:
    """Paragraphs and the cells of tables, in the document's order."""
    import docx
    from docx.table import Table

    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        text = [i.file_size for i in infos if i.filename.endswith(".xml")]
        if sum(i.file_size for i in infos) > MOST_UNPACKED or max(text, default=0) > MOST_XML:
            raise Refused("too_large_unpacked")
        if any(i.flag_bits & 1 for i in infos):
            raise Refused("encrypted")
        if archive.testzip() is not None:
            raise Refused("damaged", format="DOCX")
    with path.open("rb") as stream:
        document = docx.Document(stream)
        total = 0
        for block in document.iter_inner_content():
            pieces = _cells(block) if isinstance(block, Table) else [block.text]
            for piece in pieces:
                total += len(piece)
                if total > MOST_CHARACTERS:
                    raise Refused("too_large", limit=f"{MOST_CHARACTERS:,}")
                if piece.strip():
                    yield piece.strip()


def _cells(table: Any) -> Iterator[str]:
    for row in table.rows:
        yield "\t".join(dict.fromkeys(cell.text.strip() for cell in row.cells))
