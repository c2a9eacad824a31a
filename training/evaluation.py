"""Scoring a version on new labelled records. They are read, scored and forgotten: never stored as training data."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets import temporary
from datasets.cells.folder import unpacked_into
from datasets.readers import headers
from datasets.readers.base import ReadError
from datasets.readers.table import open_table
from datasets.records import FILE_KINDS
from jobs.clean import clean_json
from training import artefacts, overlap, problems
from training.errors import EvaluationRefused
from training.models import ModelVersion

MAX_BYTES = 50 * 1024**2
MAX_ROWS = 100_000
HEADER_ROWS = 50


def evaluate(
    *,
    actor: Actor,
    version: ModelVersion,
    table: pd.DataFrame,
    field: str = "file",
    files: Path | None = None,
) -> dict[str, Any]:
    """The engine's report, without predictions, with n_records and n_patients. Audited. Raises EvaluationRefused.

    `files`: the folder in which the files that the table names lie.
    `seen_in_training`: how many of the rows the version has learned from (see `overlap.learned_from`).
    """
    import engine

    target = version.model.target
    if table.empty:
        raise EvaluationRefused("empty", _("There are no records to score."), field)
    if target not in table.columns:
        raise EvaluationRefused(
            "column_missing",
            _("The column of the true answers, “%(column)s”, is missing.") % {"column": target},
            field,
        )
    try:
        report = engine.evaluate(artefacts.load_fitted(version), table, files=files).to_dict()
    except engine.ArtefactError as error:
        raise EvaluationRefused(
            "model-unavailable", _("This version's files cannot be loaded."), "version"
        ) from error
    except engine.EngineError as error:
        raise EvaluationRefused(error.code, problems.from_error(error)["message"], field) from error
    del report["predictions"]
    seen = overlap.learned_from(actor, version, table)
    audit.record(
        actor,
        "version.evaluated",
        version,
        records=report["n"],
        patients=report["patients"],
        seen_in_training=seen,
    )
    known = {c["name"] for c in version.schema.get("columns", []) if c.get("role") == "feature"}
    missing = sorted(known - set(table.columns))
    answer: dict[str, Any] = clean_json(
        report
        | {
            "n_records": report["n"],
            "n_patients": report["patients"],
            "missing_columns": missing,
            "seen_in_training": seen,
        }
    )
    return answer


def from_records(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A table of JSON records; what is not a text, number, true/false or null is refused."""
    rows = list(records)
    for index, row in enumerate(rows):
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                value = None
            if not isinstance(value, str | int | float | bool | None):
                text = _("Record %(index)d, “%(column)s”: give a text, a number, true, false or null.")
                raise EvaluationRefused(
                    "invalid", text % {"index": index, "column": str(name)[:100]}, "records"
                )
            if isinstance(value, int) and abs(value) > 10**300:
                raise EvaluationRefused(
                    "invalid", _("Record %(index)d: a number is too large.") % {"index": index}, "records"
                )
    return pd.DataFrame(rows, dtype=object)


@contextmanager
def from_file(file: "UploadedFile[Any]", version: ModelVersion) -> Iterator[tuple[pd.DataFrame, Path | None]]:
    """(a table from a file in any format that an upload may have, the folder of the files that a zip brings with it).

    Both are gone after the block. Raises EvaluationRefused.
    """
    if (file.size or 0) > MAX_BYTES:
        raise EvaluationRefused(
            "too-large", _("The file is larger than %(mb)d MB.") % {"mb": MAX_BYTES // 1024**2}
        )
    with temporary.folder("evaluating-") as folder:
        path = folder / "table"
        with path.open("wb") as out:
            for chunk in file.chunks():
                out.write(chunk)
        try:
            table = read(path)
            columns = version.schema.get("columns", [])
            own = {c["name"]: c["kind"] for c in columns if c["kind"] in FILE_KINDS and c["name"] in table}
            yield (unpacked_into(path, table, own, folder / "cells"), folder / "cells") if own else (table, None)
        except ReadError as error:
            raise EvaluationRefused(error.code, str(error)) from error
        except ValueError as error:  # a file that a cell names and that is not there
            raise EvaluationRefused("file_missing", str(error)) from error


def read(path: Path) -> pd.DataFrame:
    """All rows of a file under its header. Raises ReadError, EvaluationRefused."""
    rows: list[list[Any]] = []
    with open_table(path, {}) as table:
        for batch in table.batches():
            rows += batch.rows
            if len(rows) > MAX_ROWS + HEADER_ROWS:
                raise EvaluationRefused(
                    "too-large", _("The file has more than %(rows)d rows.") % {"rows": MAX_ROWS}
                )
        sheet = table.described.get("format") != "text" and "delimiter" not in table.described
    names, first, _warnings = headers.find(rows[:HEADER_ROWS], sheet=sheet)
    width = len(names)
    body = [
        (row + [None] * width)[:width] for row in rows[first:] if any(cell not in (None, "") for cell in row)
    ]
    return pd.DataFrame(body, columns=names, dtype=object)
