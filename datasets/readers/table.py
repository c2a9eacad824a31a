"""The one way in: open whatever the file is as a table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.cells import archive
from datasets.cells.folders import FolderTable
from datasets.readers import containers
from datasets.readers.delimited import DelimitedTable
from datasets.readers.excel import ExcelTable
from datasets.readers.parquet import ParquetTable

AnyTable = DelimitedTable | ExcelTable | ParquetTable | FolderTable
READERS: dict[str, Callable[[Path, dict[str, Any]], DelimitedTable | ExcelTable | ParquetTable]] = {
    "text": DelimitedTable,
    "xlsx": ExcelTable,
    "parquet": ParquetTable,
}


@contextmanager
def open_table(path: Path, options: dict[str, Any]) -> Iterator[AnyTable]:
    """The table in a file, unpacked if need be. Options: encoding, delimiter, member, sheet. Raises ReadError.

    A zip of files has a table beside them, or is one itself: see `datasets.cells.archive`.
    """
    member = str(options.get("member") or "")
    layout = archive.layout_of(path, member)
    if layout.way == "folders":
        yield FolderTable(path, options)
    elif layout.way == "table":
        own = next(m for m in archive.members(path) if m.name == layout.table)
        with archive.unpacked(own) as unpacked, _read(unpacked, "", options) as table:
            table.described |= {"compression": "zip", "files": "table", "table": own.name, "member": own.base}
            table.described["members"] = [name.rsplit("/", 1)[-1] for name in layout.tables]
            yield table
    else:
        with _read(path, member, options) as table:
            yield table


@contextmanager
def _read(path: Path, member: str, options: dict[str, Any]) -> Iterator[AnyTable]:
    with containers.opened(path, member) as (form, inner, found):
        table = READERS[form](inner, options)
        table.described.update(found)
        yield table
