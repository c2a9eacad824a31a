"""What is known of a record's patient: which columns tell it, and which of their cells are looked for in the record's texts."""

import re
from collections.abc import Iterable
from datetime import date
from typing import Any

from datasets.masking.ways import TITLES, fold
from datasets.readers import missing

WHOSE = r"(?:(?:patient|subject|person|pt|pat|client|contact|mother|father|next of kin|emergency contact|guardian)(?:'?s)? ?)?"
NUMBER = r"(?: (?:no|nr|number))?"
# Not "cell", "residence", "hospital id", 籍贯: such columns more often hold a finding, a place or a site.
COLUMN = re.compile(
    rf"{WHOSE}(?:(?:first|last|family|given|middle|full|maiden|birth|f|l) ?)?name|surname|forename|next of kin"
    rf"|{WHOSE}(?:home |mobile |cell |work )?(?:tele)?phone{NUMBER}"
    rf"|{WHOSE}(?:tel|mobile|cell) (?:no|nr|number)|{WHOSE}(?:tel|mobile)"
    rf"|{WHOSE}(?:home |street |postal |mailing )?address(?: line)?"
    rf"|{WHOSE}e ?mail(?: address)?|{WHOSE}(?:dob|birth ?da(?:y|te)|date of birth)"
    rf"|(?:patient|subject|person|pt) ?(?:id|no|nr|number|code|identifier)|mrn(?: id)?|m r n|medical record{NUMBER}"
    rf"|(?:nhs|nhi|ssn){NUMBER}|social security{NUMBER}|(?:hospital|case) (?:no|nr|number)|id number"
    rf"|(?:passport|insurance|health card|national id|identity card){NUMBER}|accession{NUMBER}"
    "|(?:患者|病人|产妇|婴儿|家属|联系人|受检者|就诊人|父亲|母亲|监护人|配偶)?姓 ?名(?:拼音)?|姓|名"
    "|(?:患者|病人)(?:编号|id|标识)?|联系人|监护人"
    "|住院(?:病案)?号码?|[门門](?:急)?[诊診][号號]码?|病[案历歷][号號]码?|就诊卡?号|登记号"
    "|检查号|影像号|[样标]本号|条码号|[医社]保卡?号|住院[号號]"
    "|(?:居民)?身份[证證][号號]?码?|证件号码?|护照号?"
    "|(?:联系|聯絡|家庭|家属|手机|移动)?[电電] ?[话話](?:号码)?|手机号?码?|手機|联系方式"
    "|(?:家庭|现|户口|户籍|联系|通讯)?(?:地 ?址|住址)|工作单位"
    "|出生(?:日期|年月日?)?|生日|(?:电子)?邮[件箱]|电子邮[件箱]|微信号?"
)
ONE_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]+(?:['’\-][^\W\d_\u3400-\u9fff]+)*")
FEWEST_DIGITS = 5  # of a bare number: a shorter one is also a year, a dose or a count of cells
LONGEST = 100
HAN, TITLE = re.compile(r"[\u3400-\u9fff]"), re.compile(rf"(?<=..)(?:{TITLES})$")
WHOLE = re.compile(r"\d+\.0+")
TIME = re.compile(r"[T ]\d{1,2}:\d\d.*$")


def identifies(name: str) -> bool:
    """Whether a column of this name tells who the patient is: a name, a number, a birth date, an address."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name.strip())
    plain = re.sub(r"[\s_\-./]+", " ", re.sub(r"[(（\[].*$", "", fold(words))).strip()
    return COLUMN.fullmatch(re.sub(r"(?<=\D) ?\d{1,2}$", "", plain)) is not None


def told(cells: Iterable[Any]) -> tuple[str, ...]:
    """What the cells of a record's identifying columns tell, in a form that `texts.find` looks for."""
    # A cell may hold several, as the numbers of a FHIR patient.
    parts = (part for cell in cells for part in (re.split(r"[;；|\n]", cell) if isinstance(cell, str) else (cell,)))
    values = [value for part in parts for value in _spelled(part)]
    single = [value for value in values if ONE_WORD.fullmatch(value)]
    if len(single) > 1:  # first and last name in columns of their own
        values.append(" ".join(single))
    return tuple(dict.fromkeys(values))


def _spelled(cell: Any) -> list[str]:
    if missing.spelling(cell) is not None or isinstance(cell, bool):
        return []
    if isinstance(cell, date):
        return [cell.isoformat()[:10]]
    text = str(cell).strip()[:LONGEST]
    if WHOLE.fullmatch(text):  # a number that was a float on its way
        text = text.partition(".")[0]
    text = TIME.sub("", text)
    if len(text) < 2 or (text.isdigit() and len(text) < FEWEST_DIGITS):
        return []
    return _names(text) or [text]


def _names(text: str) -> list[str]:
    """The names of a cell that has them beside others: "王小明(男)", "王小明 Wang Xiaoming", "王小明先生", "张三丰2"."""
    if not HAN.search(text) or re.search(r"\d{3}", text) or re.fullmatch(r"[\u3400-\u9fff·•]{2,4}", text):
        return []
    runs = [TITLE.sub("", run) for run in re.findall(r"[\u3400-\u9fff·•]+", text)]
    found = [run for run in runs if 2 <= len(run) <= 4 or "·" in run]
    latin = " ".join(re.findall(r"[^\W\d_\u3400-\u9fff]{2,}", text))
    return [*found, latin] if found and latin else found
