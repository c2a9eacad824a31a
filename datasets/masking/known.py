"""What is known of a record's patient: which columns tell it, and which of their cells are looked for in the record's texts."""

import re
from collections.abc import Iterable
from datetime import date
from typing import Any

from datasets.masking.ways import fold
from datasets.readers import missing

WHOSE = r"(?:(?:patient|subject|person|pt|pat|client|contact|mother|father|next of kin)(?:'?s)? )?"
NUMBER = r"(?: (?:no|nr|number))?"
# Not "cell", "residence", "hospital id", 籍贯: such columns more often hold a finding, a place or a site.
COLUMN = re.compile(
    rf"{WHOSE}(?:(?:first|last|family|given|middle|full|maiden|birth) ?)?name|surname|forename|next of kin"
    rf"|{WHOSE}(?:home |mobile |cell |work )?(?:tele)?phone{NUMBER}|{WHOSE}(?:tel|mobile|cell) (?:no|nr|number)|{WHOSE}tel"
    rf"|{WHOSE}(?:home |street |postal |mailing )?address(?: (?:line ?)?\d)?"
    rf"|{WHOSE}e ?mail(?: address)?|{WHOSE}(?:dob|birth ?da(?:y|te)|date of birth)"
    rf"|(?:patient|subject|person|pt) ?(?:id|no|nr|number|code|identifier)|mrn|m r n|medical record{NUMBER}"
    rf"|(?:nhs|nhi|ssn){NUMBER}|social security{NUMBER}"
    rf"|(?:passport|insurance|health card|national id|identity card){NUMBER}|accession{NUMBER}"
    "|(?:患者|病人|产妇|婴儿|家属|联系人|受检者|就诊人)?姓 ?名|(?:患者|病人)(?:编号|id|标识)?|联系人"
    "|住院(?:病案)?号|门(?:急)?诊号|病[案历]号|就诊卡?号|登记号|检查号|影像号|[样标]本号|条码号|[医社]保卡?号|(?:居民)?身份证号?码?|证件号码?|护照号?"
    "|(?:联系|家庭|家属|手机|移动)?电 ?话(?:号码)?|手机号?码?|联系方式|(?:家庭|现|户口|户籍|联系|通讯)?(?:地 ?址|住址)|工作单位"
    "|出生(?:日期|年月日?)?|生日|(?:电子)?邮[件箱]|电子邮[件箱]|微信号?"
)
ONE_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]+(?:['’\-][^\W\d_\u3400-\u9fff]+)*")
FEWEST_DIGITS = 5  # of a bare number: a shorter one is also a year, a dose or a count of cells
LONGEST = 300


def identifies(name: str) -> bool:
    """Whether a column of this name tells who the patient is: a name, a number, a birth date, an address."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.strip())
    return COLUMN.fullmatch(re.sub(r"[\s_\-./]+", " ", fold(words)).strip()) is not None


def told(cells: Iterable[Any]) -> tuple[str, ...]:
    """What the cells of a record's identifying columns tell, in a form that `texts.find` looks for."""
    # A cell may hold several, as the numbers of a FHIR patient.
    parts = (part for cell in cells for part in (re.split(r"[;；|\n]", cell) if isinstance(cell, str) else (cell,)))
    values = [value for part in parts if (value := _spelled(part))]
    single = [value for value in values if ONE_WORD.fullmatch(value)]
    if len(single) > 1:  # first and last name in columns of their own
        values.append(" ".join(single))
    return tuple(values)


def _spelled(cell: Any) -> str:
    if missing.spelling(cell) is not None or isinstance(cell, bool):
        return ""
    if isinstance(cell, date):
        return cell.isoformat()[:10]
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = str(cell).strip()[:LONGEST]
    if (time := re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ]\d\d:.*", text)) is not None:
        text = time[1]
    if text.isdigit() and len(text) < FEWEST_DIGITS:
        return ""
    return text if len(text) > 1 else ""
