"""Identifiers that nobody told of: what stands behind a label, and what its form alone gives away. Patterns of folded text."""

import re
from datetime import date
from typing import NamedTuple

from engine.identifiers import (
    ADDRESS_LABELS,
    BIRTH_LABELS,
    LATIN_NAME_LABELS,
    NAME_LABELS,
    NUMBER_LABELS,
    PHONE_LABELS,
)

HAN = "\u3400-\u9fff"
COLON = r"\s{0,3}[:：=]\s{0,3}"
# What follows a name without a space in Chinese records.
AFTER_NAME = "(?=$|[^\u3400-\u9fff·]|性别|年龄|出生|身份|住院|门诊|科室|床号|电话|联系|民族|职业|婚姻|籍贯|病案|病历|男|女)"
DATE = r"\d{1,4}\s?[-/.年]\s?\d{1,2}\s?[-/.月]\s?\d{1,4}日?|\d{8}|\d{1,2}\s[a-z]{3,9}\.?,?\s\d{4}|[a-z]{3,9}\.?\s\d{1,2},?\s\d{4}"


class Needs(NamedTuple):
    """What a folded text must hold for a pattern to match at all: a sign, and one of the words of its labels."""

    sign: str
    words: tuple[str, ...] = ()


COLONS, DIGIT, DIGITS, AT = "colon", "digit", "eleven digits", "at"
NUMBERED = (
    "号", "身份证", "证件", "护照", "患者id", "病人id", "mrn", "m.r.n", "record", "hospital", "patient", "nhs", "ssn", "social",
    "accession", "passport", "case", "insurance", "health",
)  # fmt: skip
NAMED = Needs(COLONS, ("姓", "患者", "病人", "受检者", "联系人"))
LABELLED: tuple[tuple[str, re.Pattern[str], Needs], ...] = (
    (
        "name",
        re.compile(rf"(?:{NAME_LABELS}){COLON}(?P<value>[{HAN}]{{2,4}}?|[{HAN}]{{2,8}}·[{HAN}]{{1,8}}){AFTER_NAME}"),
        NAMED,
    ),
    (
        "name",
        re.compile(rf"(?:{NAME_LABELS}){COLON}(?P<value>[a-z][a-z'’\-]+(?:[ ,]{{1,2}}[a-z][a-z'’\-]+){{0,3}})"),
        NAMED,
    ),
    (
        "name",
        re.compile(
            rf"\b(?:{LATIN_NAME_LABELS}){COLON}"
            r"(?P<value>(?:(?:mr|mrs|ms|miss|dr)\.?\s)?(?:[^\W\d_]\.|[^\W\d_][^\W\d_.'’\-]*)"
            r"(?:(?:,[ \t]?|[ \t])(?:[^\W\d_]\.|[^\W\d_][^\W\d_.'’\-]*)){0,3})"
        ),
        Needs(COLONS, ("name", "patient", "pt", "kin")),
    ),
    (
        "number",
        re.compile(
            rf"(?:{NUMBER_LABELS})(?:{COLON}|\s{{0,2}}(?:is\s|为|是)?#?)(?P<value>[a-z]{{0,6}}[\- ]?\d[\da-z\-]{{2,29}})"
        ),
        Needs(DIGIT, NUMBERED),
    ),
    (
        "phone",
        re.compile(rf"(?:{PHONE_LABELS})(?:{COLON}|\s{{0,2}}(?:is\s|为|是)?)(?P<value>\+?[(\d][\d\s()\-]{{5,20}}\d)"),
        Needs(DIGIT, ("话", "手机", "联系方式", "phone", "tel", "mobile", "cell", "contact")),
    ),
    (
        "address",
        re.compile(rf"(?:{ADDRESS_LABELS}){COLON}(?P<value>[^\n。；;]{{2,120}})"),
        Needs(COLONS, ("址", "单位", "籍贯", "户籍", "address", "lives", "residence")),
    ),
    (
        "date",
        re.compile(rf"(?:{BIRTH_LABELS})(?:{COLON}|\s{{0,3}}(?:is\s|为|是|于)?)(?P<value>{DATE})"),
        Needs(DIGIT, ("出生", "生日", "dob", "d.o", "d.ob", "do.b", "birth", "born")),
    ),
)  # fmt: skip
PATTERNS: tuple[tuple[str, re.Pattern[str], Needs], ...] = (
    ("number", re.compile(r"(?<![\da-z])[1-9]\d{5}(?:18|19|20)\d{9}[\dx](?![\da-z])"), Needs(DIGITS)),
    ("number", re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"), Needs(DIGIT)),
    ("phone", re.compile(r"(?<![\d.])(?:\+?86[\- ]?)?1[3-9]\d[\- ]?\d{4}[\- ]?\d{4}(?![\d.]\d|\d)"), Needs(DIGITS)),
    ("phone", re.compile(r"(?<![\d.])\+\d{1,3}[\- ]\(?\d{1,4}\)?(?:[\- ]?\d{2,4}){2,4}(?!\d)"), Needs(DIGIT, ("+",))),
    ("phone", re.compile(r"(?<![\d.\-])0\d{2,3}-\d{7,8}(?![\d\-])"), Needs(DIGIT, ("-",))),  # a landline in China
    ("phone", re.compile(r"(?<![\d.\-])(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?![\d\-])"), Needs(DIGIT, ("-",))),  # North America
    ("email", re.compile(r"(?<![\w.+\-])[\w.+\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,4}"), Needs(AT)),
)  # fmt: skip
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def valid(what: str, found: str) -> bool:
    """A 身份证 has a check digit (GB 11643) and a date that exists; other forms speak for themselves."""
    if what != "number" or len(found) != 18 or not found[:17].isdigit():
        return True
    try:
        date(int(found[6:10]), int(found[10:12]), int(found[12:14]))
    except ValueError:
        return False
    rest = sum(int(digit) * weight for digit, weight in zip(found, WEIGHTS, strict=False)) % 11
    return "10x98765432"[rest] == found[17]
