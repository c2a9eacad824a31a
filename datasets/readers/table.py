"""The one way in: open whatever the file is as a table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.readers import containers
from datasets.readers.delimited import DelimitedTable
from datasets.readers.excel import ExcelTable
from datasets.readers.parquet import ParquetTable

AnyTable = DelimitedTable | ExcelTable | ParquetTable
READERS: dict[str, Callable[[Path, dict[str, Any]], AnyTable]] = {
    "text": DelimitedTable,
    "xlsx": ExcelTable,
    "parquet": ParquetTable,
}


@contextmanager
def open_table(path: Path, options: dict[str, Any]) -> Iterator[AnyTable]:
    """The table in a file, unpacked if need be. Options: encoding, delimiter, member, sheet. Raises ReadError."""
    with containers.opened(path, str(options.get("member") or "")) as (form, inner, found):
        table = READERS[form](inner, options)
        table.described.update(found)
        yield table
