"""The preview of a file: what was found out about it and its columns, its first rows, and what will change."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import Organisation
from datasets import sniffing
from datasets.cells import preview as cells_preview
from datasets.cells.folders import FolderTable
from datasets.joining import preview as joining_preview
from datasets.masking import preview as masking
from datasets.masking.known import identifies
from datasets.models import Column, Dataset, Kind, Role
from datasets.readers import headers
from datasets.readers.base import Cell, ReadError
from datasets.readers.excel import ExcelTable
from datasets.readers.table import open_table
from datasets.records import FILE_KINDS

SAMPLE_ROWS = 5_000
SHOWN = 20
CELL = 120


@dataclass
class Settings:
    """How the person wants a file read; empty is: found out."""

    encoding: str = ""
    delimiter: str = ""
    member: str = ""
    sheet: str = ""
    header: bool | None = None


def settings_of(options: dict[str, Any]) -> Settings:
    return Settings(**options.get("settings", {}))


def build(
    path: Path, settings: Settings, dataset: Dataset | None = None, organisation: Organisation | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options, preview) of a file: options is how it is read again, exactly so. Raises ReadError.

    `organisation`: whose DICOM that has arrived the cells may name.
    """
    with open_table(path, asdict(settings)) as table:
        rows: list[list[Cell]] = []
        for batch in table.batches(size=1_000):
            rows += batch.rows
            if len(rows) >= SAMPLE_ROWS:
                break
        estimate = table.row_estimate()
        options = dict(table.described)
        raw, skip, warnings = headers.find(rows, sheet=options["format"] == "xlsx", header=settings.header)
        formulas, merged = table.lost(skip) if isinstance(table, ExcelTable) else (Counter(), 0)
        if isinstance(table, FolderTable):
            warnings += cells_preview.of_folders(table)
    data = [r for r in rows[skip:] if headers.filled(r)]
    if options["format"] == "xlsx" and data:
        raw += [""] * (max(map(len, data)) - len(raw))
    while (
        raw and not raw[-1] and not any(len(r) >= len(raw) and headers.text_of(r[len(raw) - 1]) for r in data)
    ):
        raw.pop()
    if not raw:
        raise ReadError("empty", _("No column was found in the file."))
    names, renamed = headers.name_columns(raw)
    if not data:
        raise ReadError("empty", _("The file has a header but no rows below it."))
    warnings += renamed + _guessed(options) + _others(options, settings) + _lost(names, formulas, merged)
    fitting = [r for r in data if len(r) == len(raw)] if options["format"] in ("csv", "tsv") else data
    cells = [[r[i] if i < len(r) else None for r in fitting] for i in range(len(raw))]
    if ragged := len(data) - len(fitting):
        text = _(
            "%(count)d of the rows looked at have more or fewer cells than the header: they are refused."
        )
        warnings.append(headers.warning("ragged_rows", text % {"count": ragged}))
    columns = _columns(names, raw, cells)
    complete = len(rows) < SAMPLE_ROWS
    files = {}
    if options.get("files"):
        files = {"files": cells_preview.describe(path, options, columns, cells, complete=complete)}
    if organisation is not None:
        joining_preview.describe(organisation, columns, cells, dataset)
    changes = _match(columns, dataset) if dataset is not None else {"new": [], "missing": [], "changed": []}
    options |= {"skip": skip, "width": len(raw), "settings": asdict(settings)}
    preview = {
        **{k: v for k, v in options.items() if k != "settings"},
        **_written(columns),
        "columns": columns,
        "rows": [
            [_shown(r[i] if i < len(r) else None) for i in range(len(raw))] for r in islice(data, SHOWN)
        ],
        "row_estimate": len(data) if complete else max(len(data), estimate),
        "row_estimate_exact": complete,
        "warnings": warnings + [{**w, "column": c["name"]} for c in columns for w in c["warnings"]],
        "changes": changes,
        "masking": masking.describe(columns, data),
        **files,
    }
    return options, _without_nul(preview)


def masking_of(path: Path, options: dict[str, Any], columns: list[dict[str, Any]]) -> dict[str, Any]:
    """What will be masked with these columns, whose kinds or roles a person has changed. Raises ReadError."""
    with open_table(path, options) as table:
        first = next(iter(table.batches(options["skip"], masking.ROWS)), None)
    found: dict[str, Any] = _without_nul(masking.describe(columns, first.rows if first is not None else []))
    return found


def _columns(names: list[str], raw: list[str], cells: list[list[Cell]]) -> list[dict[str, Any]]:
    columns = []
    for place, name in enumerate(names):
        found = sniffing.describe(name, cells[place])
        columns.append({**found, "source_name": raw[place], "place": place, "include": True, "fixed": False})
    sniffing.guess_roles(columns, cells)
    for column in columns:
        _identify(column)
    return columns


def _identify(column: dict[str, Any]) -> None:
    """Whether it says who the patient is; if so it is not kept by itself, but for the patient's key and dates."""
    column["identifies"] = (
        identifies(column["name"])
        and column["role"] != Role.TARGET
        and column["kind"] not in FILE_KINDS
    )
    if column["identifies"] and column["kind"] != Kind.DATE and column["role"] != Role.PATIENT:
        column["role"], column["include"] = Role.IGNORE, False
        column["warnings"] = [w for w in column["warnings"] if w["code"] != "name_tag"]
        text = _("Says who the patient is: not kept unless you tick it. What it holds is masked in the texts of the same row.")
        sniffing.warn(column, "tells_who", text)


def _written(columns: list[dict[str, Any]]) -> dict[str, str]:
    """The ways of writing numbers, where all columns that show one agree."""
    shown = {(c["decimal"], c["thousands"]) for c in columns if c["kind"] == "number"} - {(".", "")}
    decimal, thousands = next(iter(shown)) if len(shown) == 1 else (".", "") if not shown else ("", "")
    return {"decimal": decimal, "thousands": thousands}


def _guessed(options: dict[str, Any]) -> list[dict[str, Any]]:
    if options.get("encoding_certain", True):
        return []
    text = _("The encoding looks like %(name)s. If letters look wrong below, choose another one.")
    return [headers.warning("encoding_guessed", text % {"name": options["encoding"].upper()})]


def _others(options: dict[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """Which of several sheets or tables of a zip file was taken without being asked for."""
    found = []
    if len(options.get("sheets", [])) > 1 and not settings.sheet:
        text = _("The workbook has %(count)d sheets; this is “%(name)s”. Another one can be chosen below.")
        found.append(("several_sheets", text % {"count": len(options["sheets"]), "name": options["sheet"]}))
    if len(options.get("members", [])) > 1 and not settings.member:
        text = _("The zip file holds %(count)d files; this is “%(name)s”. Another one can be chosen below.")
        found.append(("several_files", text % {"count": len(options["members"]), "name": options["member"]}))
    return [headers.warning(code, text) for code, text in found]


def _lost(names: list[str], formulas: Mapping[int, int], merged: int) -> list[dict[str, Any]]:
    """Cells of a workbook that look filled on the screen and are read as missing."""
    text = _(
        "%(count)d formulas have no stored result and are read as missing. Open the file in a spreadsheet program, save it,"
        " and upload it again."
    )
    found = [
        headers.warning("uncalculated_formulas", text % {"count": formulas[place]}, names[place])
        for place in sorted(formulas)
        if place < len(names)
    ]
    if merged:
        text = _(
            "%(count)d ranges of cells are merged: the value is read in the first cell, the others are read as missing."
            " Split the cells and fill them if each row has the value."
        )
        found.append(headers.warning("merged_cells", text % {"count": merged}))
    return found


def _match(columns: list[dict[str, Any]], dataset: Dataset) -> dict[str, list[Any]]:
    """Take kinds and roles from the data set where the names agree; tell what is new, missing and changed."""
    exact = {c.name: c for c in dataset.columns.all()}
    folded = {" ".join(name.casefold().split()): c for name, c in exact.items()}
    used: set[str] = set()
    changes: dict[str, list[Any]] = {"new": [], "missing": [], "changed": []}
    names = {c["name"] for c in columns}
    for column in columns:
        name = column["name"]
        known = exact.get(name)
        if (
            known is None
            and (alike := folded.get(" ".join(name.casefold().split()))) is not None
            and alike.name not in names
        ):
            known = alike
        if known is None or known.name in used:
            column["include"], column["role"] = (
                False,
                "feature" if column["role"] in ("target", "patient") else column["role"],
            )
            changes["new"].append(name)
            continue
        used.add(known.name)
        _take_over(column, known, changes)
    changes["missing"] = [n for n in exact if n not in used]
    return changes


def _take_over(column: dict[str, Any], known: Column, changes: dict[str, list[Any]]) -> None:
    inferred, empty = column["kind"], any(w["code"] == "empty_column" for w in column["warnings"])
    textual = {"category", "text"}
    if column.get("of_uids") and known.kind in FILE_KINDS:
        inferred = known.kind  # what has not arrived yet looks like a text
    if (
        inferred != known.kind
        and not empty
        and not {inferred, known.kind} <= textual
        and known.kind != "text"
    ):
        from_number = (
            inferred == "number" and known.kind == "category"
        )  # codes: 0 and 1 are categories as well
        if not from_number:
            changes["changed"].append({"name": known.name, "kind": known.kind, "found": inferred})
    column |= {"name": known.name, "kind": known.kind, "role": known.role, "fixed": True,
               "minimum": known.minimum, "maximum": known.maximum, "identifies": known.identifies, "include": True,
               "warnings": [w for w in column["warnings"] if w["code"] != "tells_who"]}  # fmt: skip


def _shown(cell: Cell) -> str:
    return "" if cell is None else str(cell)[:CELL]


def _without_nul(value: Any) -> Any:
    """PostgreSQL's JSON takes no NUL."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {k: _without_nul(v) for k, v in value.items()}
    return [_without_nul(v) for v in value] if isinstance(value, list) else value
