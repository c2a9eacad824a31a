"""Whole columns of cells made canonical at once.

Each different cell of a column is looked at once. The common ways of writing (plain numbers, ISO dates, texts without
anything to escape) are recognised by patterns that take only what `Source.value` would take unchanged, so that the fast
way and the careful one cannot differ; every other cell goes the careful way, one by one.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.utils import timezone
from numpy.typing import NDArray

from datasets.importers.convert import Bad, Fragments, Labels, Source
from datasets.models import Dataset, Kind, Role
from datasets.readers import missing
from datasets.records import MAX_CATEGORY, MAX_PATIENT_KEY, MAX_TEXT
from datasets.splitting import TEST, splits_for

FEW = 64  # so few different cells are quicker one by one
_SPACE = r"\t-\r\x1c-\x20\x{0085}\x{00a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
# What JSON escapes or stripping would change, and what a spreadsheet was kept from running.
_ODD = rf'["\\\x00-\x1f]|^[{_SPACE}]|[{_SPACE}]$|^$|^\x27[=+\-@]'
_WHOLE = r"^(?:0|-?[1-9][0-9]{0,14})$"
# At most 15 digits: the shortest text of the nearest float is then the text itself without its last zeros.
_DECIMAL = r"^-?(?:0|[1-9][0-9]{0,8})\.[0-9]{1,6}$"
_TINY = r"^-?0\.0000|^-0\.?0*$"  # Python writes 1e-05; minus zero is zero
_DAY = r"^(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])$"
_WORDS = pa.array(sorted(missing.WORDS), pa.string())


@dataclass
class Made:
    """A column's cells, canonical: '"name":value' fragments and texts (null: missing), and why some are refused."""

    fragments: pa.StringArray
    texts: pa.StringArray
    refused: dict[int, str]  # place → reason


class ColumnMaker:
    """Makes one column's cells canonical."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.memo, self.labels = Fragments(source), Labels(source)
        self.named = source.column.role in (Role.PATIENT, Role.TARGET)  # its texts are asked for
        self.today = timezone.localdate().isoformat()

    def make(self, cells: pa.StringArray) -> Made:
        """The cells of one batch."""
        encoded = cells.dictionary_encode()
        different, places = encoded.dictionary, encoded.indices
        texts, plain = self._plain(different)
        fragments = self._fragments(texts)
        careful = np.flatnonzero(~plain)
        bad: dict[int, str] = {}
        if len(careful):
            raw = different.take(pa.array(careful)).to_pylist()
            made: list[Any] = [self.memo[cell] for cell in raw]
            bad = {int(i): str(m) for i, m in zip(careful, made, strict=True) if type(m) is Bad}
            made = [None if type(m) is Bad else m for m in made]
            mask = pa.array(~plain)
            fragments = pc.replace_with_mask(fragments, mask, pa.array(made, pa.string()))
            if self.named:
                own = [None if m is None else self.labels[c] for c, m in zip(raw, made, strict=True)]
                texts = pc.replace_with_mask(texts, mask, pa.array(own, pa.string()))
            self.memo.trim()
        refused: dict[int, str] = {}
        if bad:
            wrong = pc.is_in(places, value_set=pa.array(list(bad), places.type))
            indices = places.to_numpy()
            refused = {int(i): bad[int(indices[i])] for i in np.flatnonzero(wrong.to_numpy(False))}
        return Made(fragments.take(places), texts.take(places) if self.named else texts, refused)

    def _fragments(self, texts: pa.StringArray) -> pa.StringArray:
        mark = "" if self.source.column.kind == Kind.NUMBER else '"'
        return pc.binary_join_element_wise(self.memo.start + mark, texts, mark, "")

    def _plain(self, cells: pa.StringArray) -> tuple[pa.StringArray, NDArray[np.bool_]]:
        """(canonical texts, for which of them that is certain)."""
        column = self.source.column
        if len(cells) <= FEW:
            return cells, np.zeros(len(cells), dtype=bool)
        if column.kind == Kind.NUMBER:
            return self._numbers(cells)
        if column.kind == Kind.DATE:
            sure = pc.match_substring_regex(cells, _DAY)
            if not self.source.future:
                sure = pc.and_(sure, pc.less_equal(cells, self.today))
            return cells, sure.to_numpy(False)
        if column.kind not in (Kind.CATEGORY, Kind.TEXT):
            return cells, np.zeros(len(cells), dtype=bool)
        limit = MAX_TEXT if column.kind == Kind.TEXT else MAX_CATEGORY
        limit = MAX_PATIENT_KEY if column.role == Role.PATIENT else limit
        odd = pc.or_(pc.match_substring_regex(cells, _ODD), pc.is_in(pc.utf8_lower(cells), value_set=_WORDS))
        sure = pc.and_not(pc.less_equal(pc.utf8_length(cells), limit), odd)
        if column.kind == Kind.TEXT and self.named:  # a label is cut
            sure = pc.and_(sure, pc.less_equal(pc.utf8_length(cells), MAX_CATEGORY))
        return cells, sure.to_numpy(False)

    def _numbers(self, cells: pa.StringArray) -> tuple[pa.StringArray, NDArray[np.bool_]]:
        if self.source.decimal not in (".", "") or self.source.thousands:
            return cells, np.zeros(len(cells), dtype=bool)
        decimal = pc.and_not(
            pc.match_substring_regex(cells, _DECIMAL), pc.match_substring_regex(cells, _TINY)
        )
        if pc.any(decimal).as_py():
            trimmed = pc.ascii_rtrim(pc.ascii_rtrim(cells, characters="0"), characters=".")
            cells = pc.if_else(decimal, trimmed, cells)
        sure = pc.or_(decimal, pc.match_substring_regex(cells, _WHOLE))
        column = self.source.column
        if column.minimum is not None or column.maximum is not None:
            value = pc.cast(pc.if_else(sure, cells, "0"), pa.float64())
            if column.minimum is not None:
                sure = pc.and_(sure, pc.greater_equal(value, float(column.minimum)))
            if column.maximum is not None:
                sure = pc.and_(sure, pc.less_equal(value, float(column.maximum)))
        return cells, sure.to_numpy(False)


def blank(columns: list[pa.StringArray]) -> NDArray[np.bool_]:
    """Which rows hold nothing but white space."""
    empty: Any = None
    for column in columns:
        own = pc.match_substring_regex(column, rf"^[{_SPACE}]*$")
        empty = own if empty is None else pc.and_(empty, own)
        if not pc.any(empty).as_py():
            break
    found: NDArray[np.bool_] = empty.to_numpy(False)
    return found


def hashes_of(dataset: Dataset, bodies: pa.StringArray) -> bytes:
    """The row hashes (`records.row_hash`) of canonical bodies, 32 hex digits each, one after the other."""
    salt = dataset.split_salt.encode()
    whole = pc.binary_join_element_wise("{", bodies, "}", "").cast(pa.binary()).to_pylist()
    return b"".join([blake2b(b, key=salt, digest_size=16).digest() for b in whole]).hex().encode()


def tests_of(dataset: Dataset, keys: pa.StringArray, hashes: bytes) -> NDArray[np.bool_]:
    """Which rows belong to the locked test: by their patient's key, or by their own hash where there is none."""
    encoded = keys.dictionary_encode()
    sides = np.array(splits_for(dataset, encoded.dictionary.to_pylist()) == TEST, dtype=bool)
    test: NDArray[np.bool_] = sides[encoded.indices.to_numpy()]
    alone = np.flatnonzero(pc.equal(keys, "").to_numpy(False))
    if len(alone):
        own = [hashes[32 * i : 32 * i + 32].decode() for i in alone.tolist()]
        test[alone] = splits_for(dataset, own) == TEST
    return test
