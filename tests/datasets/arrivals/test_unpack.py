"""Archives made to do harm: each member gets its answer, the rest goes on, memory stays bounded."""

import io
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from datasets.arrivals.found import Refused
from datasets.arrivals.unpack import Limits, members
from tests.datasets.arrivals.samples import packed

MB = 2**20


def answers(path: Path, limits: Limits | None = None) -> dict[str, str]:
    """name → "bytes that came out" or the code."""
    found = {}
    for number, member in enumerate(members(path, limits or Limits())):
        try:
            with member.open() as stream:
                said = str(sum(len(piece) for piece in iter(lambda: stream.read(65536), b"")))
        except Refused as why:
            said = why.code
        name = member.name if member.name not in found else f"{member.name} ({number})"
        found[name] = said
    return found


def archive(folder: Path, content: bytes) -> Path:
    path = folder / "archive"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../../etc/passwd", "unsafe_name"), ("/etc/passwd", "unsafe_name"), ("a/../../b", "unsafe_name"),
        ("C:\\Windows\\x", "unsafe_name"), ("..\\x", "unsafe_name"), ("~/x", "unsafe_name"), ("x" * 600, "name_too_long"),
        ("__MACOSX/._a", "system_file"), ("a/.DS_Store", "system_file"), ("Thumbs.db", "system_file"),
    ],
)  # fmt: skip
def test_names(name: str, code: str, tmp_path: Path) -> None:
    found = answers(archive(tmp_path, packed({name: b"evil", "good": b"good"})))
    assert list(found.values()) == [code, "4"]
    assert all(not shown.startswith("/") for shown in found)


def test_links_and_devices(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, mode in (("link", stat.S_IFLNK), ("pipe", stat.S_IFIFO), ("device", stat.S_IFCHR)):
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode | 0o777) << 16
            made.writestr(info, "/etc/passwd")
        made.writestr("good", b"good")
    assert answers(archive(tmp_path, out.getvalue())) == {"link": "link", "pipe": "link", "device": "link", "good": "4"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in (("a", b"1"), ("a", b"22"), ("A", b"333"), ("./a", b"4444"), ("b", b"55555")):
            made.writestr(name, content)
    found = list(answers(archive(tmp_path, out.getvalue())).values())
    assert found == ["1", "duplicate_name", "duplicate_name", "duplicate_name", "5"]


def test_a_member_that_unpacks_to_too_much_is_stopped_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = archive(tmp_path, packed({"bomb": bytes(100 * MB), "good": b"good"}))
    assert answers(path, Limits(free=MB, ratio=100)) == {"bomb": "bomb", "good": "4"}
    assert answers(path, Limits(member=10 * MB)) == {"bomb": "too_large", "good": "4"}
    assert answers(path, Limits(total=10 * MB)) == {"bomb": "total", "good": "total"}


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """David Fifield's way to petabytes: many directory entries for one content."""
    whole = bytearray(packed({"aaaa": b"x" * 1000, "bbbb": b"y" * 1000, "cccc": b"z" * 10}))
    second = whole.rfind(b"PK\x01\x02", 0, whole.rfind(b"PK\x01\x02"))
    whole[second + 42 : second + 46] = struct.pack("<I", 0)  # where its content is said to begin
    found = answers(archive(tmp_path, bytes(whole)))
    assert found == {"aaaa": "overlap", "bbbb": "overlap", "cccc": "10"}


@pytest.mark.parametrize("size", [10, 5000])
def test_wrong_size_in_both_headers(size: int, tmp_path: Path) -> None:
    whole = bytearray(packed({"lies": b"x" * 1000, "good": b"good"}))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = whole.find(mark) + place
        whole[at : at + 4] = struct.pack("<I", size)
    assert answers(archive(tmp_path, bytes(whole))) == {"lies": "wrong_size", "good": "4"}


def test_headers_that_disagree(tmp_path: Path) -> None:
    whole = bytearray(packed({"lies": b"x" * 1000, "good": b"good"}))
    whole[22:26] = struct.pack("<I", 999)
    assert answers(archive(tmp_path, bytes(whole))) == {"lies": "wrong_size", "good": "4"}


def test_content_that_was_changed(tmp_path: Path) -> None:
    whole = packed({"a": b"hello there", "good": b"good"}, zipfile.ZIP_STORED).replace(b"hello there", b"jello there")
    assert answers(archive(tmp_path, whole)) == {"a": "checksum", "good": "4"}


def test_encrypted_and_strangely_compressed(tmp_path: Path) -> None:
    whole = bytearray(packed({"locked": b"x" * 100, "odd": b"y" * 100, "good": b"good"}))
    first = whole.find(b"PK\x01\x02")
    whole[first + 8] |= 1
    second = whole.find(b"PK\x01\x02", first + 4)
    whole[second + 10 : second + 12] = struct.pack("<H", 9)  # Deflate64
    assert answers(archive(tmp_path, bytes(whole))) == {"locked": "encrypted", "odd": "compression", "good": "4"}


def test_nested_once_and_no_more(tmp_path: Path) -> None:
    third = packed({"deepest": b"x"})
    second = packed({"deep": b"xx", "third.zip": third})
    found = answers(archive(tmp_path, packed({"second.zip": second, "top": b"xxx"})))
    assert found == {"second.zip/deep": "2", "second.zip/third.zip": "nested", "top": "3"}


def test_a_broken_archive_in_an_archive(tmp_path: Path) -> None:
    found = answers(archive(tmp_path, packed({"broken.zip": packed({"a": b"x"})[:-30], "good": b"good"})))
    assert found == {"broken.zip": "truncated", "good": "4"}


def test_office_files_are_files(tmp_path: Path) -> None:
    from tests.datasets.arrivals.samples import docx, workbook

    book, document = workbook(), docx()
    found = answers(archive(tmp_path, packed({"b.xlsx": book, "d.docx": document})))
    assert found == {"b.xlsx": str(len(book)), "d.docx": str(len(document))}


def test_a_directory_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = archive(tmp_path, packed({str(n): b"" for n in range(200)}))
    with pytest.raises(Refused) as refused:
        list(members(path, Limits(files=100)))
    assert refused.value.code == "too_many_files"
    whole = bytearray(path.read_bytes())
    whole[-12:-10] = struct.pack("<H", 1)  # the number of files is a lie, the length is not
    whole[-14:-12] = struct.pack("<H", 1)
    with pytest.raises(Refused):
        list(members(archive(tmp_path, bytes(whole)), Limits(directory=1000)))


MEASURE = """
import resource, sys
from pathlib import Path
import django
django.setup()
from datasets.arrivals.unpack import members
from datasets.arrivals.found import Refused
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, count = peak(), 0
for member in members(Path(sys.argv[1])):
    count += 1
    try:
        with member.open() as stream:
            while stream.read(65536):
                pass
    except Refused:
        pass
print(count, round(peak() - before))
"""


def measured(path: Path) -> tuple[int, int]:
    """(members, MB of memory above what the interpreter needs) in a process of its own."""
    import os

    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "aimass_site.settings", "SECRET_KEY": "x"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, env=environment, check=True
    )
    count, memory = done.stdout.split()[-2:]
    return int(count), int(memory)


@pytest.mark.slow  # writes and reads 100,000 files
def test_100000_tiny_files_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as made:
        for number in range(100_000):
            made.writestr(f"folder/{number}.txt", b"x")
    count, memory = measured(path)
    assert count == 100_000 and memory < 200, memory


def test_a_gigabyte_of_zeros_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, made.open("zeros", "w") as stream:
        for _piece in range(300):
            stream.write(bytes(MB))
    count, memory = measured(path)
    assert count == 1 and memory < 30, memory


