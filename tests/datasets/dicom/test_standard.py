"""The tables against an independent source, against their published counts, and against being edited by hand."""

import hashlib
from collections import Counter

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c

from datasets.dicom import standard

CODES = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z", "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
}  # fmt: skip


def test_the_basic_profile_is_what_dicom_anonymizer_took_from_the_standard() -> None:
    theirs = {
        (tag[0] << 16) | tag[1]: code
        for name, code in CODES.items()
        for tag in getattr(dicomfields_2026c, name)
        if len(tag) == 2
    }
    assert {tag: rule.basic for tag, rule in standard.rules().items()} == theirs
    ranges = [tag for name in CODES for tag in getattr(dicomfields_2026c, name) if len(tag) > 2]
    assert {hex(tag[0])[2:4] for tag in ranges} == set(standard.WHOLE_GROUPS)


def test_the_counts_are_those_of_the_published_table() -> None:
    """657 rows of 2026d, of which the private attributes are one and (0040,B03B) or its like another."""
    assert len(standard.rules()) == 652
    assert Counter(rule.basic for rule in standard.rules().values()) == {
        "X": 412, "D": 93, "U": 55, "Z": 42, "X/D": 23, "X/Z": 11, "X/Z/D": 8, "Z/D": 6, "X/Z/U*": 2,
    }  # fmt: skip


def test_rows_that_were_read_in_the_table_itself() -> None:
    rows = standard.rules()
    assert (rows[0x00080020].basic, rows[0x00080020].dates) == ("Z", "C")
    assert (rows[0x00080018].basic, rows[0x00080018].uids) == ("U", "K")
    assert (rows[0x300A00B2].basic, rows[0x300A00B2].device) == ("X/Z", "K")
    assert (rows[0x00102110].basic, rows[0x00102110].patient) == ("X", "C")
    assert (rows[0x300C0127].device, rows[0x300C0127].dates) == ("K", "C")
    assert (rows[0x00181203].basic, rows[0x00181203].device) == ("Z", "K")
    assert rows[0x00101010].patient == rows[0x00100040].patient == rows[0x00101030].patient == "K"


def test_the_safe_private_attributes_are_all_of_the_table() -> None:
    table = standard.safe_private()
    assert len(table) == 479 and len({creator for creator, _group, _element in table}) == 20
    assert sum(1 for vr in table.values() if not vr) == 5
    assert table["SIEMENS MR HEADER", 0x0019, 0x0C] == "IS"
    assert table["Philips Imaging DD 001", 0x2001, 0x7D] == "OW/OB"


def test_nobody_edits_the_tables_by_hand() -> None:
    """A new edition is generated and checked as the ADR says; then these sums change with it."""
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in standard.TABLES.glob("*.tsv")}
    assert sums == {"e1_1.tsv": "8287292a405b64e9", "e3_10_1.tsv": "5e41543073915e95"}
