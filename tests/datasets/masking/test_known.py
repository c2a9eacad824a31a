"""Which columns say who the patient is, and what of their cells is looked for."""

from datetime import date, datetime

import pytest

from datasets.masking.known import identifies, told
from datasets.masking.texts import mask


@pytest.mark.parametrize(
    "name",
    ["name", "Patient Name", "first_name", "LastName", "family name", "patient_id", "MRN", "Phone", "mobile phone", "E-mail",
     "home_address", "Address line 2", "DOB", "date_of_birth", "birthDate", "SSN", "NHS number", "姓名", "患者姓名", "住院号",
     "门诊号", "身份证号", "手机号", "联系电话",
     "家庭住址", "出生日期", "病历号", "邮箱", "ＭＲＮ", "mobile", "phone1", "Telephone 1", "联系电话1",
     "姓名（中文）", "姓名拼音", "姓", "patientname", "FName", "MRN_ID", "NHSNumber", "住院号码", "病案号码", "門診號",
     "hospital_no", "case no", "id_number", "父亲姓名", "监护人",
     "emergency_contact_name"],
)  # fmt: skip
def test_columns_that_tell(name: str) -> None:
    assert identifies(name)


@pytest.mark.parametrize(
    "name",
    ["note", "age", "sex", "diagnosis", "drug name", "hospital name", "hospital_id", "cell", "cell count", "cell type",
     "residence", "birth weight", "telemetry", "id", "code", "email_reminder_sent", "籍贯", "年龄", "主诉", "诊断名称",
     "address_type", ""],
)  # fmt: skip
def test_columns_that_do_not(name: str) -> None:
    assert not identifies(name)


def test_what_cells_tell() -> None:
    assert told(["王小明", 123456.0, "4711", 4711, None, "N/A", "不详", True, "x", "P-0017"]) == ("王小明", "123456", "P-0017")
    assert told([date(1980, 5, 3), datetime(1980, 5, 3, 12), "1980-05-03T00:00:00"]) == ("1980-05-03",)
    assert told(["Peter", "Jones"]) == ("Peter", "Jones", "Peter Jones")
    assert told(["00471122; 9912345"]) == ("00471122", "9912345")


@pytest.mark.parametrize(
    ("cells", "text", "masked"),
    [
        # Capitals: overmasked at the beginning of a sentence rather than not masked.
        (["May", "White"], "White cells may rise; May White, or M. White, came in May.",
         "[NAME] cells may rise; [NAME], or [NAME], came in [NAME]."),
        (["Xiu", "He"], "He said: Xiu He, He Xiu, Xiu.", "He said: [NAME], [NAME], [NAME]."),
        (["Wu"], "Wu was seen.", "[NAME] was seen."),
        (["2024"], "Seen in 2024.", "Seen in 2024."),
        (["P001"], "p001 came, P0011 did not.", "[NUMBER] came, P0011 did not."),
        (["150000"], "platelets 150000", "platelets [NUMBER]"),  # the price: nothing tells this count from the patient's number
    ],
)  # fmt: skip
def test_usual_words_and_numbers(cells: list[str], text: str, masked: str) -> None:
    assert mask(text, told(cells)).text == masked


def test_a_name_in_a_text_without_capitals() -> None:
    assert mask("The patient jones denies pain", told(["Jones", "Peter"])).text == "The patient [NAME] denies pain"
    assert mask("His mother, white, came", told(["White"])).text == "His mother, white, came"  # a usual word
    assert mask("white came to the ward", told(["White"])).text == "[NAME] came to the ward"  # nothing has a capital


@pytest.mark.parametrize(
    ("cell", "text", "masked"),
    [
        ("5551234567.0", "call 555 123 4567", "call [NUMBER]"),
        (12345678.0, "no 12345678, not X12345678", "no [NUMBER], not X12345678"),
        ("12345", "no 0012345 and 00-12345", "no [NUMBER] and [NUMBER]"),
        ("0012345", "no 12345", "no [NUMBER]"),
        ("1980/5/3 0:00", "born 3 May 1980", "born [DATE]"),
        ("03/05/1980 00:00", "born 1980-05-03", "born [DATE]"),
        ("王小明(男)", "王小明来诊", "[姓名]来诊"),
        ("王小明 Wang Xiaoming", "王小明 (Wang Xiaoming)自述", "[姓名] ([姓名])自述"),
        ("王小明先生", "王小明来诊", "[姓名]来诊"),
        ("张三丰2", "张三丰来诊", "[姓名]来诊"),
        ("阿卜杜热合曼·麦麦提明江", "患者阿卜杜热合曼·麦麦提明江来诊", "患者[姓名]来诊"),
        ("欧阳娜", "欧阳女士来诊", "[姓名]来诊"),
        ("Jones", "患者Jones来诊，无不适主诉", "患者[姓名]来诊，无不适主诉"),
        ("O’Brien", "O'Brien and O’Brien", "[NAME] and [NAME]"),
        ("María del Carmen López de la Fuente", "Seen: López, María", "Seen: [NAME], [NAME]"),
    ],
)
def test_spellings_of_cells(cell: object, text: str, masked: str) -> None:
    assert mask(text, told([cell])).text == masked
