"""The spellings of a missing value."""

from typing import Any

WORDS = frozenset(
    {
        "na", "n/a", "#n/a", "#na", "nan", "null", "none", "nil", "<na>", "nat", "?", "??", "？", "-", "--", "---", "—", "－",
        ".", "empty", "missing", "unknown", "not available", "#null!", "#ref!", "#value!", "#div/0!", "#name?", "#num!",
        "不详", "未知", "无", "未查", "未测", "缺失", "空",
    }
)  # fmt: skip
# These may also be a real answer ("allergies: none"), so the preview says so where a column of categories has them.
MAYBE_VALUES = frozenset({"none", "无", "unknown", "未知", "-", "nil", "empty"})
ERRORS = frozenset({"#n/a", "#na", "#null!", "#ref!", "#value!", "#div/0!", "#name?", "#num!"})


def spelling(raw: Any) -> str | None:
    """The missing word that a cell holds ("" for an empty one), None when it holds a value."""
    if raw is None:
        return ""
    if isinstance(raw, str):
        text = raw.strip()
        return text if not text or text.lower() in WORDS else None
    return "nan" if isinstance(raw, float) and raw != raw else None
