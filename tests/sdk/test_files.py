"""What the SDK sends of a series' folder, a WFDB header, and lists of folders."""

import zipfile
from pathlib import Path

import pytest

import ai_mass as am
from ai_mass.files import like_a_file, table_as_upload, together


def names(stream: object) -> list[str]:
    with zipfile.ZipFile(stream) as archive:  # type: ignore[call-overload]
        return archive.namelist()


def test_a_folder_of_slices_and_a_header_with_its_samples_come_as_one_zip(tmp_path: Path) -> None:
    for name in ("series/a/1.dcm", "series/a/2.dcm", "series/.DS_Store", "100.hea", "100.dat", "100.atr", "other.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "100.hea").write_text("100 1 250 10\n100.dat 16 200 0 0 0 0 0 II\n# age 59\n")
    name, stream = together(tmp_path / "series")
    with stream:
        assert (name, names(stream)) == ("series.zip", ["a/1.dcm", "a/2.dcm"])
    name, stream = together(tmp_path / "100.hea")
    with stream:
        assert (name, names(stream)) == ("100.zip", ["100.dat", "100.hea"])
    name, stream = together(tmp_path / "100.dat")
    with stream:
        assert (name, stream.read()) == ("100.dat", b"x")
    assert like_a_file(f"{tmp_path}/series/") and like_a_file("study.zip") and not like_a_file("chest pain and/or cough")
    with pytest.raises(am.AIMassError, match=r"nobody\.hea"):
        together(tmp_path / "nobody.hea")


def test_a_list_of_files_may_hold_folders(tmp_path: Path) -> None:
    (tmp_path / "p1" / "s1").mkdir(parents=True)
    (tmp_path / "p1" / "s1" / "1.dcm").write_bytes(b"x")
    (tmp_path / "table.csv").write_text("scan,label\np1,a\n")
    name, stream = table_as_upload("table.csv", (tmp_path / "table.csv").open("rb"), [tmp_path / "p1"])
    with stream:
        assert (name, names(stream)) == ("table.zip", ["table.csv", "p1/s1/1.dcm"])
