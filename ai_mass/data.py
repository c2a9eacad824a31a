"""What people hand over (a path, a data frame, lists, dictionaries, texts) made into what the API takes."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ai_mass.errors import AIMassError
from ai_mass.files import existing, folder_as_upload


def is_frame(data: Any) -> bool:
    """Whether it looks like a pandas (or polars) data frame, without importing either."""
    return hasattr(data, "columns") and (hasattr(data, "to_csv") or hasattr(data, "write_csv"))


def as_upload(data: Any, name: str = "data") -> tuple[str, BinaryIO]:
    """(file name, binary stream) of a path, a data frame or a list of dictionaries. Raises AIMassError."""
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        if path.is_dir():
            return folder_as_upload(path)
        return existing(path).name, path.open("rb")
    if is_frame(data):
        text = data.to_csv(index=False) if hasattr(data, "to_csv") else data.write_csv()
        return f"{name}.csv", io.BytesIO(text.encode())
    if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
        return f"{name}.csv", io.BytesIO(csv_of(data).encode())
    raise AIMassError("Give a path to a file, a data frame or a list of dictionaries.")


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV text of a list of dictionaries; the columns are all keys in order of first appearance."""
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def cell(value: Any) -> Any:
    """One cell as JSON and CSV can carry it: numpy scalars become Python's, missing values None, dates ISO text."""
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in {"NaT", "<NA>"}:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value


def json_cell(value: Any, where: str) -> Any:
    """`cell`, refused when JSON cannot carry it (an infinite number, bytes, a set). Raises AIMassError that says where."""
    plain = cell(value)
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AIMassError(f"{where} is {value!r:.60}: give a finite number, a text, true or false, or None.") from error
    return plain


def as_rows(inputs: Any) -> list[Any]:
    """The inputs one by one, as they were given."""
    if is_frame(inputs):
        return list(inputs.to_dict("records") if hasattr(inputs, "to_csv") else inputs.to_dicts())
    if isinstance(inputs, str | Path | Mapping):
        return [inputs]
    if isinstance(inputs, Iterable):
        return list(inputs)
    raise AIMassError("Give a list of texts, paths or dictionaries, or a data frame.")


def as_records(inputs: Any) -> list[dict[str, Any] | str]:
    """Records for diagnoses: texts stay texts, dictionaries and data-frame rows become plain dictionaries."""
    rows = as_rows(inputs)
    records: list[dict[str, Any] | str] = []
    for index, row in enumerate(rows):
        if isinstance(row, str):
            records.append(row)
        elif isinstance(row, Mapping):
            records.append({str(key): json_cell(value, f"Input {index}, “{key}”") for key, value in row.items()})
        else:
            raise AIMassError(
                f"Input {index} is {type(row).__name__}: give a text or a dictionary of column and value."
            )
    return records
