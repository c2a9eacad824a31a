"""What stands where a patient's identifiers were: the tokens of masking, and the labels before them. Neither tells of an illness.

`datasets.masking` puts the tokens there, by these labels. A model that read them would learn how a record is laid out, and be
unsure of every text that is laid out otherwise.
"""

import re

NAME_LABELS = (
    "(?:患者|病人|患儿|孕妇|产妇|婴儿|新生儿|家属|联系人|受检者|就诊人)?姓\\s?名|患者|病人|受检者|联系人"
)
LATIN_NAME_LABELS = r"patient(?:['’]s)?\s(?:full\s)?name|full\sname|name\sof\spatient|name|patient|pt|next\sof\skin"
NUMBER_LABELS = (
    "住院(?:病案)?号|门诊号|门急诊号|病案号|病历号|就诊卡号|就诊号|登记号|检查号|影像号|样本号|标本号|条码号|医保卡?号|社保卡?号|"
    "身份证号?码?|证件号码?|护照号?|患者编号|病人编号|患者id|病人id|id号|"
    r"mrn|m\.r\.n\.|(?:medical\s)?record\s(?:no|number|#)\.?|hospital\s(?:no|number|id)\.?|patient\s(?:id|no|number)\.?|"
    r"nhs\s(?:no|number)\.?|ssn|social\ssecurity\s(?:no|number)\.?|accession\s(?:no|number|#)\.?|passport\s(?:no|number)\.?|"
    r"case\s(?:no|number)\.?|insurance\s(?:no|number|id)\.?|health\s(?:card|id)(?:\s(?:no|number))?\.?"
)
PHONE_LABELS = (
    r"(?:联系|家庭|家属|手机|移动)?电\s?话(?:号码)?|手机号?码?|联系方式|"
    r"(?<![a-z])(?:(?:(?:tele)?phone|tel)\.?|mobile)\s?(?:number|no\.|no(?=\s{0,3}[:：=]))|"
    r"(?<![a-z])contact\snumber|(?:tele)?phone\.?|tel\.?|mobile|cell"
)
ADDRESS_LABELS = (
    r"(?:家庭|现|户籍|户口|联系|通讯|单位)?(?:地\s?址|住址)|工作单位|籍贯|户籍|"
    r"(?:home\s)?address|lives\sat|residence"
)  # fmt: skip
BIRTH_LABELS = r"出生(?:日期|年月日?)?|生日|d\.?o\.?b\.?|date\sof\sbirth|birth\s?date|born(?:\son)?"
TOKENS = {
    "name": ("[NAME]", "[姓名]"),
    "number": ("[NUMBER]", "[证件号]"),
    "phone": ("[PHONE]", "[电话]"),
    "address": ("[ADDRESS]", "[地址]"),
    "date": ("[DATE]", "[日期]"),
    "email": ("[EMAIL]", "[邮箱]"),
}
LONGEST_LABEL = 40  # characters before a token in which its label is looked for
_KIND = {token: kind for kind, tokens in TOKENS.items() for token in tokens}
_TOKEN = re.compile("|".join(map(re.escape, _KIND)))
_ALSO_WORDS = frozenset(["pt", "cell"])  # prolonged PT, white cell: of a finding as often as labels


def _before(labels: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z\-])(?P<label>{labels})\s{{0,3}}(?P<colon>[:：=]?)\s{{0,3}}#?$", re.IGNORECASE)


_BEFORE = {
    "name": _before(f"{NAME_LABELS}|{LATIN_NAME_LABELS}"),
    "number": _before(NUMBER_LABELS),
    "phone": _before(PHONE_LABELS),
    "address": _before(ADDRESS_LABELS),
    "date": _before(BIRTH_LABELS),
    "email": _before(r"e-?mail(?:\saddress)?|(?:电子)?邮箱"),
}


def without_identifiers(text: str) -> str:
    """The text without tokens of masked identifiers, and without a label of the same kind right before each: in English only
    one with a colon, as “mobile” or “born” may belong to a finding."""
    if "[" not in text:
        return text
    pieces, place = [], 0
    for token in _TOKEN.finditer(text):
        first = max(place, token.start() - LONGEST_LABEL)
        pieces.append(text[place : first + _label_at(text[first : token.start()], _KIND[token[0]])])
        place = token.end()
    return " ".join([*pieces, text[place:]])


def _label_at(before: str, kind: str) -> int:
    """Where in the text before a token its label begins; its end where there is none."""
    found = _BEFORE[kind].search(before)
    if found is None:
        return len(before)
    english = found["label"][-1].isascii()
    if english and (not found["colon"] or found["label"].lower() in _ALSO_WORDS):
        return len(before)
    return found.start()
