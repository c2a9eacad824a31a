"""What a ZIP file is: a workbook, a Word document, or an archive of files."""

import zipfile
from pathlib import Path

from datasets.arrivals.found import Found, Refused, Shape
from datasets.arrivals.looks import documents, texts
from datasets.arrivals.unpack import BAD_ZIP, directory_within_limits


def look(path: Path, form: str) -> Found:
    """Told by the members' names that the formats prescribe. Raises Refused."""
    directory_within_limits(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except BAD_ZIP as error:
        raise Refused(
            "truncated" if isinstance(error, zipfile.BadZipFile) else "damaged", format="ZIP"
        ) from error
    if "[Content_Types].xml" in names:
        if any(name.startswith("xl/") for name in names):
            return texts.look_table(path, "xlsx")
        if any(name.startswith("word/") for name in names):
            return documents.look_docx(path, "docx")
    if not names:
        raise Refused("empty")
    return Found(Shape.ARCHIVE, "zip", {"files": sum(not name.endswith("/") for name in names)})
