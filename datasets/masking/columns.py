"""Which columns of a data set are masked, which tell whom to mask, and the masking of one record's values."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets.masking import texts
from datasets.masking.known import told
from datasets.models import Column, Kind, Role


def is_masked(column: Column) -> bool:
    """Whether texts of this column are masked: all but labels and what itself says who the patient is."""
    return column.kind == Kind.TEXT and column.role not in (Role.TARGET, Role.PATIENT) and not column.identifies


def tells(column: Column) -> bool:
    """Whether the cells of this column are looked for in the record's texts."""
    return column.role == Role.PATIENT or (column.identifies and column.role != Role.TARGET)


def values(
    columns: Sequence[Column],
    record: Mapping[str, Any],
    only: Sequence[Column] | None = None,
    known: Sequence[str] = (),
) -> dict[str, Any]:
    """A record of canonical values with its texts masked, as a row of a table would have been.

    `only`: these columns alone. `known`: identifiers that the sender told of and that are not kept.
    """
    masked = [column for column in (columns if only is None else only) if is_masked(column)]
    if not masked:
        return dict(record)
    own = told([*(record.get(column.name) for column in columns if tells(column)), *known])
    found = {column.name: record.get(column.name) for column in masked}
    return {**record, **{name: texts.mask(text, own).text for name, text in found.items() if isinstance(text, str)}}
