"""What the columns of an upload are: kinds, roles, ways of writing, and what looks wrong, from a bounded sample."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
from django.utils import timezone
from django.utils.translation import gettext as _

from datasets.masking.known import identifies
from datasets.models import Kind, Role
from datasets.readers import dates, missing, numbers
from datasets.readers.base import Cell
from datasets.readers.formulas import as_meant
from engine.schema import FILE_KINDS, PATIENT_NAMES, TARGET_NAMES, looks_like_identifier
from engine.schema import Kind as EngineKind

SHARE = (
    0.9  # of the cells that must be numbers (dates) for a column to be one; the rest is reported and refused
)
FEW_CLASSES = 10
NEVER_NEGATIVE = re.compile(
    r"\b(age|height|weight|bmi|count|platelets?)\b|年龄|身高|体重|血小板", re.IGNORECASE
)
AGE = re.compile(r"\bage\b|年龄", re.IGNORECASE)
PLANNED = re.compile(r"next|plan|due|follow|expir|appointment|预约|随访|计划|到期", re.IGNORECASE)
NAME_TAG = re.compile(
    r"(^|[\s_\-.])(id|no|nr|index|code|uuid|name|phone|address|email)($|[\s_\-.])|姓名|编号|号码|电话|身份证|地址",
    re.IGNORECASE,
)
ANY_ID = ("id", "编号", "case_id")
WORD, HAN = re.compile(r"\S*[^\W\d_\u3400-\u9fff]{2}\S*"), re.compile(r"[\u3400-\u9fff]")
MORE_PATIENT = re.compile(
    r"^(patient|subject|pt|person)[\s_\-]?(id|no|nr|number|code|key)?$|^(患者|病人)(id|编号|号|标识)?$|^(病历|住院|门诊|病案)号$",
    re.IGNORECASE,
)
MORE_TARGET = re.compile(
    r"^(target|label|outcome|diagnosis|class|death_event|died|mortality|readmitted|诊断结果|诊断|标签|结局|结果|分类|是否死亡)$",
    re.IGNORECASE,
)


def describe(name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """One column as the preview shows it: kind, ways of writing, examples, missing spellings, warnings."""
    spellings = Counter(s for s in map(missing.spelling, cells) if s is not None)
    written = [c for c in cells if missing.spelling(c) is None]
    present = [as_meant(c) for c in written]
    found: dict[str, Any] = {
        "name": name,
        "role": Role.FEATURE,
        "decimal": ".",
        "thousands": "",
        "date_order": "ymd",
        "warnings": [],
    }
    found["missing"] = sum(spellings.values())
    found["missing_spellings"] = dict(spellings.most_common(8))
    found["examples"] = list(dict.fromkeys(str(c)[:80] for c in present))[:5]
    found["minimum"] = found["maximum"] = None
    found["keep_words"] = False
    _kind(found, present)
    _report_missing(found, spellings)
    _report_apostrophes(found, written, present)
    return found


def warn(found: dict[str, Any], code: str, message: str) -> None:
    found["warnings"].append({"code": code, "message": message})


def _kind(found: dict[str, Any], present: list[Cell]) -> None:
    texts = [c.strip() for c in present if isinstance(c, str)]
    others = len(present) - len(texts)
    dated = sum(isinstance(c, date) for c in present)
    number_texts = [t for t in texts if numbers.look_like_number(t) or numbers.INFINITE.fullmatch(t)]
    if not present:
        found["kind"], found["role"] = Kind.CATEGORY, Role.IGNORE
        warn(found, "empty_column", _("No value in the rows looked at: this column is ignored."))
    elif len(number_texts) + others - dated >= SHARE * len(present) and not dated:
        found["kind"] = Kind.NUMBER
        _number(found, present, number_texts)
    elif dated >= SHARE * len(present) or _are_dates(texts, dated, len(present)):
        found["kind"] = Kind.DATE
        _date(found, present, texts)
    elif _are_files(texts, len(present)):
        found["kind"], found["role"] = Kind.TEXT, Role.IGNORE
        warn(
            found,
            "file_names",
            _("These are names of files, which a table cannot bring with it: this column is ignored."),
        )
    else:
        _words(found, present)


def _are_dates(texts: list[str], dated: int, total: int) -> bool:
    sample = texts[:300]
    return (
        bool(sample)
        and sum(dates.look_like_date(t) for t in sample) / len(sample) * len(texts) + dated >= SHARE * total
    )


def _are_files(texts: list[str], total: int) -> bool:
    endings = tuple(e for group in FILE_KINDS.values() for e in group)
    return len(texts) == total and all(t.lower().endswith(endings) for t in texts)


def _number(found: dict[str, Any], present: list[Cell], texts: list[str]) -> None:
    seen = numbers.evidence(texts)
    found["decimal"], found["thousands"] = seen.format()
    if seen.contradictory:
        text = _(
            "Some numbers have a decimal comma, others a decimal point: choose which is right; the other rows are refused."
        )
        warn(found, "mixed_numbers", text)
    elif not seen.decided:
        text = _(
            "“%(example)s” can be read in two ways: choose whether the comma is the decimal sign or separates thousands."
            " Until then such rows are refused."
        )
        warn(found, "ambiguous_number", text % {"example": seen.ambiguous[0]})
    elif (found["decimal"], found["thousands"]) != (".", ""):
        text = _("Numbers are read with “%(decimal)s” as decimal sign and “%(thousands)s” between thousands.")
        warn(
            found,
            "number_format",
            text % {"decimal": found["decimal"], "thousands": found["thousands"] or _("nothing")},
        )
    if found["thousands"] == "," and seen.ambiguous:
        text = _(
            "“%(example)s” is read as thousands, because other numbers of this column have a decimal point or several groups."
        )
        warn(found, "thousands", text % {"example": seen.ambiguous[0]})
    typed = sum(not isinstance(c, str) for c in present)
    if typed and texts:
        warn(
            found,
            "numbers_as_text",
            _("%(count)d numbers are stored as text; they are read as numbers.") % {"count": len(texts)},
        )
    parsed = [
        numbers.parse(c, found["decimal"], found["thousands"]) if isinstance(c, str) else float(c)  # type: ignore[arg-type]
        for c in present
    ]
    bad = [
        str(c)[:40]
        for c, v in zip(present, parsed, strict=True)
        if v is None and not numbers.look_like_number(str(c).strip())
    ]
    if bad:
        text = _("%(count)d values are not numbers, such as “%(example)s”: their rows are refused.")
        warn(found, "not_numbers", text % {"count": len(bad), "example": bad[0]})
    finite = [v for v in parsed if v is not None and abs(v) != float("inf")]
    if NEVER_NEGATIVE.search(found["name"].replace("_", " ")):
        found["minimum"] = 0
        found["maximum"] = 130 if AGE.search(found["name"].replace("_", " ")) else None
    impossible = [v for v in finite if _outside(v, found)]
    if impossible:
        text = _(
            "%(count)d values are impossible, such as %(example)g: their rows are refused. Change the limits if they are wrong."
        )
        warn(found, "impossible_values", text % {"count": len(impossible), "example": impossible[0]})


def _outside(value: float, found: dict[str, Any]) -> bool:
    low, high = found["minimum"], found["maximum"]
    return (low is not None and value < low) or (high is not None and value > high)


def _date(found: dict[str, Any], present: list[Cell], texts: list[str]) -> None:
    found["date_order"], ambiguous = dates.order_of(texts)
    found["future"] = bool(PLANNED.search(found["name"]))
    if not found["date_order"]:
        example = ambiguous[0] if ambiguous else texts[0]
        text = _(
            "“%(example)s” can be read in two ways: choose the order of day and month. Until then such rows are refused."
        )
        warn(found, "ambiguous_date", text % {"example": example[:40]})
    today = timezone.localdate().isoformat()
    isos = [
        dates.parse(c, found["date_order"]) if isinstance(c, str) else c.isoformat()
        for c in present
        if isinstance(c, str | date)
    ]
    ahead = [i for i in isos if i is not None and i[:10] > today]
    if ahead and not found["future"]:
        text = _(
            "%(count)d dates are in the future, such as %(example)s: their rows are refused."
            " Allow future dates if they are right."
        )
        warn(found, "future_dates", text % {"count": len(ahead), "example": ahead[0][:10]})


def _words(found: dict[str, Any], present: list[Cell]) -> None:
    texts = [str(c).strip() for c in present]
    distinct = len(set(texts))
    average = sum(map(len, texts)) / len(texts)
    category = average <= 60 and distinct <= max(20, 0.05 * len(texts)) and max(map(len, texts)) <= 200
    category = category and not (distinct > len(texts) / 2 and _long(set(texts)) >= distinct / 2)  # sentences, though few
    found["kind"] = Kind.CATEGORY if category else Kind.TEXT
    folded = Counter(t.casefold() for t in set(texts))
    if category and (alike := [t for t, n in folded.items() if n > 1]):
        text = _(
            "Some categories differ only in capital letters, such as “%(example)s”: they are kept apart."
        )
        warn(found, "case_variants", text % {"example": alike[0][:40]})


def _long(texts: set[str]) -> int:
    """How many have at least five words, or ten Han characters."""
    return sum(len(WORD.findall(text)) + len(HAN.findall(text)) / 2 >= 5 for text in texts)


def _report_missing(found: dict[str, Any], spellings: Counter[str]) -> None:
    words = [w for w in spellings if w]
    if not words:
        return
    shown = ", ".join(f"“{w}”" for w in words[:6])
    warn(found, "missing_words", _("Read as missing: %(words)s.") % {"words": shown})
    if found["kind"] in (Kind.CATEGORY, Kind.TEXT) and any(w.lower() in missing.MAYBE_VALUES for w in words):
        text = _("If a word such as “%(word)s” is an answer here, tick “keep words as values”.")
        warn(
            found, "maybe_value", text % {"word": next(w for w in words if w.lower() in missing.MAYBE_VALUES)}
        )
    if any(w.lower() in missing.ERRORS for w in words):
        warn(found, "error_cells", _("Some cells hold a spreadsheet's error; they are read as missing."))


def _report_apostrophes(found: dict[str, Any], written: Sequence[Cell], present: Sequence[Cell]) -> None:
    disarmed = [str(w).strip() for w, p in zip(written, present, strict=True) if w is not p]
    if disarmed:
        text = _(
            "%(count)d cells begin with an apostrophe, such as “%(example)s”, so that a spreadsheet does not take them for"
            " formulas: they are read without it."
        )
        warn(found, "apostrophes", text % {"count": len(disarmed), "example": disarmed[0][:40]})


def guess_roles(columns: list[dict[str, Any]], cells: Sequence[Sequence[Cell]]) -> None:
    """Choose at most one target and one patient column by name; name tags are ignored."""
    target = next(
        (
            c
            for c in columns
            if _named(c, TARGET_NAMES, MORE_TARGET) and c["kind"] in (Kind.NUMBER, Kind.CATEGORY, Kind.TEXT)
        ),
        None,
    )
    if target is not None and target["role"] != Role.IGNORE:
        target["role"] = Role.TARGET
        _few_classes(target, cells[columns.index(target)])
    possible = [c for c in columns if c is not target and _could_be_patient(c, cells[columns.index(c)])]
    # Beside "mrn" or 住院号 a mere "id" is the row's.
    patient = next((c for c in possible if c["name"].strip().lower() not in ANY_ID), next(iter(possible), None))
    if patient is not None:
        patient["role"] = Role.PATIENT
        patient["kind"] = Kind.CATEGORY if patient["kind"] == Kind.TEXT else patient["kind"]
        patient["minimum"] = patient["maximum"] = None
    for column, values in zip(columns, cells, strict=True):
        if column["role"] == Role.FEATURE and NAME_TAG.search(column["name"]):
            series = pd.Series([c for c in values if missing.spelling(c) is None], dtype=object)
            if looks_like_identifier(series, EngineKind(column["kind"])) or "姓名" in column["name"]:
                column["role"] = Role.IGNORE
                warn(
                    column,
                    "name_tag",
                    _("Different in nearly every row: a name tag to learn nothing from, so it is ignored."),
                )


def _named(column: dict[str, Any], names: frozenset[str], pattern: re.Pattern[str]) -> bool:
    name = column["name"].strip().lower()
    return name in names or bool(pattern.search(name))


def _could_be_patient(column: dict[str, Any], cells: Sequence[Cell]) -> bool:
    if (
        not _named(column, PATIENT_NAMES, MORE_PATIENT)
        or column["kind"] == Kind.DATE
        or column["role"] == Role.IGNORE
    ):
        return False
    present = [str(c) for c in cells if missing.spelling(c) is None]
    # "mrn" or 住院号 is the patient's, however many rows each has; a mere "id" or "patient" may be something else.
    least = 2 if identifies(column["name"]) else 0.1 * len(present)
    return len(set(present)) >= least and max(map(len, present)) <= 100


def _few_classes(column: dict[str, Any], cells: Sequence[Cell]) -> None:
    """A target of a few whole numbers names classes, it does not measure."""
    if column["kind"] != Kind.NUMBER:
        return
    values = {
        numbers.parse(c, ".", "") if isinstance(c, str) else c for c in cells if missing.spelling(c) is None
    }
    if len(values) <= FEW_CLASSES and all(
        isinstance(v, int | float) and float(v).is_integer() for v in values
    ):
        column["kind"] = Kind.CATEGORY
        text = _(
            "The target has %(count)d whole numbers as values: they are taken as classes. Choose “number” if it is a measurement."
        )
        warn(column, "target_classes", text % {"count": len(values)})
