"""A patient's identifiers are found however they are written, and nothing that is not one is lost."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.masking.labels import LABELLED, PATTERNS
from datasets.masking.texts import SIGNS, find, mask, parts, tokens_of
from datasets.masking.ways import What, fold

RECORD = """患者姓名：王小明 性别：男 年龄：56岁 住院号：ZY0012345 身份证号：11010519491231002X 手机：138 0013 8000
家庭住址：北京市朝阳区建国路88号院3号楼2单元501；联系电话：010-65881234。出生日期：1949年12月31日
王 小 明自述头痛三天，王先生否认高血压。1949-12-31出生。体温36.5，白细胞 12.3，血压 130/80。邮箱 wang@example.com"""


def test_a_chinese_record() -> None:
    masked = mask(RECORD, ["王小明", "1949-12-31"])
    assert masked.text == (
        "患者姓名：[姓名] 性别：男 年龄：56岁 住院号：[证件号] 身份证号：[证件号] 手机：[电话]\n"
        "家庭住址：[地址]；联系电话：[电话]。出生日期：[日期]\n"
        "[姓名]自述头痛三天，[姓名]否认高血压。[日期]出生。体温36.5，白细胞 12.3，血压 130/80。邮箱 [邮箱]"
    )
    assert masked.counts == {"name": 3, "number": 2, "phone": 2, "address": 1, "date": 2, "email": 1}


@pytest.mark.parametrize(
    "written",
    [
        "Hans-Peter Müller", "MULLER, Hans Peter", "hans peter muller", "H. Müller", "Müller H.", "Mr. Müller",
        "Hans\nPeter Müller", "Ｍüller", "Peter",
    ],
)  # fmt: skip
def test_a_name_in_every_usual_way(written: str) -> None:
    masked = mask(f"Then {written} said so.", ["Hans-Peter Müller"]).text
    assert "ller" not in masked.lower() and "hans" not in masked.lower() and "peter" not in masked.lower()


@pytest.mark.parametrize("written", ["王小明", "王 小 明", "王\n小明", "王·小明", "王先生", "王女士", "王某"])
def test_a_chinese_name_in_every_usual_way(written: str) -> None:
    assert mask(f"由{written}陈述。", ["王小明"]).text == "由[姓名]陈述。"


@pytest.mark.parametrize(
    "written",
    ["1980-05-03", "3.5.1980", "03/05/1980", "5/3/1980", "19800503", "1980年5月3日", "1980/05/03", "3 May 1980", "May 3, 1980",
     "3rd of May 1980", "3. May 1980", "03-May-1980", "03/05/80", "１９８０年５月３日"],
)  # fmt: skip
@pytest.mark.parametrize("told", ["1980-05-03", "3 May 1980", "1980年5月3日"])
def test_a_date_in_every_usual_way(written: str, told: str) -> None:
    token = "[日期]" if "年" in written else "[DATE]"
    assert mask(f"Born {written}, well.", [told]).text == f"Born {token}, well."


@pytest.mark.parametrize("written", ["00471122", "0047-1122", "0047 1122", "00.47.11.22", "0047\n1122", "００４７１１２２"])
def test_a_number_with_any_separators(written: str) -> None:
    assert mask(f"file {written} here", ["0047-1122"]).text == "file [NUMBER] here"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("身份证 11010519491231002X 。", "身份证 [证件号] 。"),
        ("编号11010519491231002X", "编号[证件号]"),
        ("数值 110105194912310021 不是", "数值 110105194912310021 不是"),  # its check digit is wrong
        ("手机13800138000。", "手机[电话]。"),
        ("姓名：欧阳小明，男", "姓名：[姓名]，男"),
        ("患者姓名：阿依古丽·买买提 女", "患者姓名：[姓名] 女"),
        ("病案号 A-99123 入院", "病案号 [证件号] 入院"),
        ("MRN: 4711-22 seen", "MRN: [NUMBER] seen"),
        ("Patient name: John A. Smith\nAge 50", "Patient name: [NAME]\nAge 50"),
        ("Patient: denies pain", "Patient: denies pain"),
        ("DOB: 3/5/1980, male", "DOB: [DATE], male"),
        ("write to a.b@c-d.org now", "write to [EMAIL] now"),
        ("SSN 078-05-1120", "SSN [NUMBER]"),
        ("Tel. No.: 555 123 4567", "Tel. No.: [PHONE]"),
        ("Tel no: 555 123 4567", "Tel no: [PHONE]"),
        ("Tel.No.: 555 123 4567", "Tel.No.: [PHONE]"),
        ("Mobile number 0555 123 456", "Mobile number [PHONE]"),
        ("contact number 5551234567", "contact number [PHONE]"),
        ("Phone. 555 123 4567", "Phone. [PHONE]"),
        ("Telephone.: 010 6588 1234", "Telephone.: [PHONE]"),
        ("孕妇姓名：李梅，停经 8 周", "孕妇姓名：[姓名]，停经 8 周"),
        ("call 010-65881234 or (555) 123-4567, 555-123-4567", "call [PHONE] or [PHONE], [PHONE]"),
    ],
)
def test_what_nobody_told_of_but_its_label_or_form_gives_away(text: str, masked: str) -> None:
    assert mask(text).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "White blood cells 12.3 ×10^9/L, platelets 250, blood pressure 130/80, pulse 72.",
        "Chest CT of 3 May 2021: a nodule of 12 mm in the right upper lobe, SUV 4.5.",
        "白细胞 12.3×10^9/L，血压 130/80 mmHg，复查日期 2021年5月3日，剂量 1500 mg。",
        "孕妇：停经8周。产妇：顺产，3500 g。患儿：发热3天。",
        "Remained mobile. No 2024 01 05 scan. Last contact no 2023 12 14. Came from a motel no 12345678.",
        "Glucose 5.5 mmol/L; creatinine 88.4 umol/L; sodium 140, potassium 4.1; 13812345 IU.",
    ],
)
def test_findings_stay(text: str) -> None:
    assert mask(text, ["Hans Müller", "王小明", "4711-22", "1980-05-03"]).text == text


def test_a_usual_word_that_is_also_a_name_is_masked_only_with_a_capital() -> None:
    assert mask("White came. His white blood cells rose.", ["John White"]).text == "[NAME] came. His white blood cells rose."


def test_an_address_and_its_parts() -> None:
    told = ["12 Long Street, Springfield 62704", "北京市朝阳区建国路88号"]
    assert mask("Lives in 12 long street; 15 Long Lane", told[:1]).text == "Lives in [ADDRESS]; 15 Long Lane"
    assert "建国路" not in mask("住在北京市朝阳区建国路 88 号附近。", told[1:]).text


def test_overlapping_finds_are_masked_once() -> None:
    spans = find("姓名：王小明 王小明", ["王小明", "小明"])
    assert [(s.start, s.end, s.what, s.known) for s in spans] == [(3, 6, What.NAME, True), (7, 10, What.NAME, True)]


def test_pieces_make_up_the_text_again() -> None:
    spans = find(RECORD, ["王小明"])
    assert "".join(piece for piece, _span in parts(RECORD, spans)) == RECORD
    masked = mask(RECORD, ["王小明"])
    assert "".join(piece for piece, _what in tokens_of(masked.text)) == masked.text
    assert sum(bool(what) for _piece, what in tokens_of(masked.text)) == len(masked.spans)


@pytest.mark.parametrize(
    ("text", "masked"),
    [  # tokens of ours, or of another tool that went before
        ("Address: 12 High Street, London, seen by [NAME] today", "Address: [ADDRESS][NAME][ADDRESS]"),
        ("Address: [NAME], 12 High Street, London", "Address: [NAME][ADDRESS]"),
        ("Address: [ADDRESS] and the patient is well", "Address: [ADDRESS] and the patient is well"),
    ],
)
def test_tokens_that_are_there_already(text: str, masked: str) -> None:
    assert mask(text).text == masked


def test_what_is_told_cannot_be_a_pattern() -> None:
    assert mask("a.*b (c+ [d", ["(a+)+$", ".*", "[", "\\", "a{9999}"]).text == "a.*b (c+ [d"


def test_time_grows_with_the_length_alone() -> None:
    """A pattern that tries again from each place would take 100 times as long for ten times the text. (This thread's own time:
    what else the machine does is not in it.)"""

    def seconds(text: str) -> float:
        began = time.thread_time()
        mask(text, ["Hans Peter Müller", "0047-1122", "1980-05-03", "王小明"])
        return time.thread_time() - began

    tokens = ("[NAME] a@b.cd ", "(555) 555-", "+1 23 ")
    for piece in (*tokens, "1" * 50, "a." * 25, "姓名：", "patient: A ", "@" * 50, "王" * 50, "Peter " * 8, "- " * 25):
        short, long = seconds(piece * 100), seconds(piece * 1000)
        assert long < 60 * max(short, 0.01), piece


@pytest.mark.parametrize("which", range(len(LABELLED) + len(PATTERNS)))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_not_searched_for_could_not_have_matched(which: int, data: st.DataObject) -> None:
    """Every text that a pattern matches holds the sign and one of the words without which it is passed over."""
    _what, pattern, needs = (*LABELLED, *PATTERNS)[which]
    folded = fold(data.draw(st.from_regex(pattern)))
    if pattern.search(folded):
        assert SIGNS[needs.sign](folded) is not None
        assert not needs.words or any(word in folded for word in needs.words)
