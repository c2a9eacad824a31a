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
     "家庭住址", "出生日期", "病历号", "邮箱", "ＭＲＮ"],
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
    assert told([date(1980, 5, 3), datetime(1980, 5, 3, 12), "1980-05-03T00:00:00"]) == ("1980-05-03",) * 3
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
    assert mask("seen: jones, well", told(["Jones"])).text == "seen: [NAME], well"
    assert mask("Seen: jones, well", told(["Jones"])).text == "Seen: jones, well"
