"""Folders of this host: what is new is found whatever its time says, and nothing outside is reached."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from datasets.importing.base import Faulty, FileFault, SourceError
from datasets.importing.files import fetched
from datasets.importing.network import Network
from datasets.importing.sources import again, files, source_class
from tests.datasets.importing.conftest import drained, files_of, held, refused, source, taken

pytestmark = pytest.mark.once


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "shared" / "inbox"
    folder.mkdir(parents=True)
    return folder


def granted(folder: Path) -> Network:
    """As to an organisation that may read the folder "shared" which this one lies in."""
    shared = next((each for each in (folder, *folder.parents) if each.name == "shared"), folder)
    return Network(folders=(str(shared),), organisation="7c9e6679")


def put(path: Path, content: bytes = b"x", age: float = 3600.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def of(folder: Path, **given: Any) -> Any:
    return source("folder", granted(folder), folder=str(folder), **{"subfolders": True, **given})


def test_check_preview_first_then_nothing_then_the_new(inbox: Path) -> None:
    put(inbox / "b.csv", b"b", 200)
    put(inbox / "sub" / "a.DCM", b"aa", 300)
    assert of(inbox).check() == "Found 2 files (3\xa0bytes)."
    assert of(inbox).preview().files == ["sub/a.DCM", "b.csv"]
    pieces, cursor = drained(of(inbox))
    assert files_of(pieces) == {"sub/a.DCM": b"aa", "b.csv": b"b"}
    assert drained(of(inbox), cursor) == ([], cursor)
    put(inbox / "older.csv", b"copied with its old time", 10**7)  # before all that was taken
    put(inbox / "b.csv", b"changed", 100)
    pieces, cursor = drained(of(inbox), cursor)
    assert files_of(pieces) == {"older.csv": b"copied with its old time", "b.csv": b"changed"}
    (inbox / "older.csv").unlink()
    put(inbox / "last.csv")
    pieces, cursor = drained(of(inbox), cursor)
    assert list(files_of(pieces)) == ["last.csv"]
    assert len(files.unpacked(cursor["taken"])) == 3  # what is gone is forgotten


def test_pieces_are_bounded_and_it_goes_on_where_it_was_cut_off(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILES", 3)
    monkeypatch.setattr(files, "BYTES", 50)
    for number in range(8):
        put(inbox / f"{number}.bin", bytes(20), 1000 - number)
    first, second, *_rest = of(inbox).pieces({})
    assert [file.name for file in first.files] == ["0.bin", "1.bin"]
    rest, _cursor = drained(of(inbox), second.cursor)
    assert [file.name for piece in rest for file in piece.files] == ["4.bin", "5.bin", "6.bin", "7.bin"]


def test_what_is_still_written_waits(inbox: Path) -> None:
    put(inbox / "done.csv")
    put(inbox / "growing.csv", age=5)
    for name in (".hidden", "x.csv.part", "y.TMP"):
        put(inbox / name)
    preview = of(inbox).preview()
    assert preview.files == ["done.csv"]
    assert preview.notes == ["1 file was changed less than a minute ago and waits for the next run."]
    pieces, cursor = drained(of(inbox))
    assert [file.name for piece in pieces for file in piece.files] == ["done.csv"]
    put(inbox / "growing.csv", b"grown")
    assert files_of(drained(of(inbox), cursor)[0]) == {"growing.csv": b"grown"}


def test_a_file_that_goes_or_changes_meanwhile_fails_alone(inbox: Path) -> None:
    for name in ("a", "b", "c"):
        put(inbox / name)
    (piece,) = of(inbox).pieces({})
    (inbox / "a").unlink()
    put(inbox / "b", b"longer")
    gone, changed, fine = piece.files
    for file in (gone, changed):
        with pytest.raises(FileFault), file.open():
            pass
    with fine.open() as stream:
        assert stream.read() == b"x"
    with pytest.raises(FileFault), fine.open():  # changes under the reader's hands
        put(inbox / "c", b"xyz")


def test_names_and_kinds(inbox: Path, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 10
    put(inbox / "ok.dcm")
    put(inbox / "large.dcm", bytes(11))
    put(inbox / "line\nbreak.dcm")
    put(Path(os.fsdecode(os.fsencode(inbox) + b"/\xff.dcm")))
    put(inbox / "other.txt")
    os.mkfifo(inbox / "pipe.dcm")
    pieces, cursor = drained(of(inbox, pattern="*.dcm *.csv"))
    assert [file.name for piece in pieces for file in piece.files] == ["ok.dcm"]
    faults = {fault.where: fault.reason for piece in pieces for fault in piece.faulty}
    assert set(faults) == {"large.dcm", "line�break.dcm", "�.dcm"}
    assert "10" in faults["large.dcm"]
    assert drained(of(inbox, pattern="*.dcm *.csv"), cursor)[0] == []  # told of once
    assert [
        file for piece in drained(of(inbox, subfolders=False, pattern="x"))[0] for file in piece.files
    ] == []


def test_nothing_outside_is_reached(inbox: Path, tmp_path: Path, settings: Any) -> None:
    secret = put(tmp_path / "secret" / "key.csv", b"secret")
    put(inbox / "sub" / "real.csv")
    (inbox / "link.csv").symlink_to(secret)
    (inbox / "folder").symlink_to(secret.parent)
    os.link(put(inbox / "x"), inbox / "hard.csv")
    pieces, _cursor = drained(of(inbox))
    assert {file.name for piece in pieces for file in piece.files} == {"sub/real.csv", "x", "hard.csv"}
    (piece,) = of(inbox).pieces({})
    real = next(file for file in piece.files if file.name == "sub/real.csv")
    (inbox / "sub").rename(inbox / "moved")  # swapped for a link between the listing and the reading
    (inbox / "sub").symlink_to(secret.parent)
    put(secret.parent / "real.csv", b"secret")
    with pytest.raises(FileFault), real.open():
        pass
    for folder in (
        "/etc",
        str(inbox / ".." / ".." / "secret"),
        str(tmp_path),
        f"{tmp_path}/shared2",
        "relative",
    ):
        said = refused("folder", granted(inbox), folder=folder)["folder"][0]
        assert "AIMASS_IMPORT_FOLDERS" in said and "7c9e6679" in said
    escaped = of(inbox / "folder")  # below by its name, and a link
    with pytest.raises(SourceError) as caught:
        escaped.check()
    assert (caught.value.code, caught.value.passing) == ("not_found", True)
    made = source_class("folder")(of(inbox).settings, Network())  # the administrator has thought better of it
    with pytest.raises(SourceError) as caught:
        drained(made)
    assert caught.value.code == "forbidden"


def test_a_folder_that_is_too_full_or_not_there(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 2)
    for name in "abc":
        put(inbox / name)
    with pytest.raises(SourceError) as caught:
        of(inbox).check()
    assert caught.value.code == "too_many"
    with pytest.raises(SourceError) as caught:
        of(inbox / "missing").check()
    assert caught.value.passing


def test_what_could_not_be_read_comes_again(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILES", 2)
    for number, name in enumerate("abc"):
        put(inbox / name, name.encode(), 300 - number)
    with held(inbox / "a"):
        came, faulty, cursor = taken(of(inbox))
        assert came == {"b": b"b", "c": b"c"}
        assert [(fault.where, fault.again) for fault in faulty] == [("a", True)]
        assert faulty[0].reason.endswith("It is tried again in the next run.")
    came, faulty, cursor = taken(of(inbox), cursor)
    assert (came, faulty) == ({"a": b"a"}, [])
    assert list(cursor) == ["taken"]
    assert taken(of(inbox), cursor) == ({}, [], cursor)


def test_what_is_never_readable_is_given_up_and_told(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox / "a")
    monkeypatch.setattr(again, "TRIES", 2)
    cursor: Any = {}
    with held(inbox / "a"):
        cursor = taken(of(inbox), cursor)[2]
        _came, faulty, cursor = taken(of(inbox), cursor)
        assert faulty[0].again  # often enough, and not for long enough
        monkeypatch.setattr(again, "DAYS", 0)
        _came, faulty, cursor = taken(of(inbox), cursor)
        assert not faulty[0].again and "given up" in faulty[0].reason
        assert taken(of(inbox), cursor) == ({}, [], cursor)
    put(inbox / "a", b"new")
    assert taken(of(inbox), cursor)[0] == {"a": b"new"}


def test_a_disk_that_can_not_be_read_is_not_ours_that_can_not_be_written(settings: Any) -> None:
    path = Path("/sys/devices/virtual/net/lo/speed")  # a file of 4,096 bytes whose reading fails
    if not path.exists():
        pytest.skip("no such file here")
    settings.IMPORT_FOLDERS = [str(path.parent)]
    found, failed = path.stat(), list[Faulty]()
    with fetched(
        of(path.parent).remote(files.Entry("speed", found.st_size, found.st_mtime), {}), failed
    ) as copy:
        assert copy is None
    assert failed[0].again and failed[0].reason.startswith("It can't be read (Invalid argument).")


def test_a_time_in_the_future_is_no_reason_to_wait_for_ever(inbox: Path) -> None:
    put(inbox / "ahead.csv", b"first", -3600)
    assert "in the future" in of(inbox).preview().notes[0]
    came, faulty, cursor = taken(of(inbox))
    assert (came, faulty) == ({}, [])
    assert taken(of(inbox), cursor)[0] == {}  # a second later it may still be growing
    put(inbox / "ahead.csv", b"grown", -7200)
    came, faulty, cursor = taken(of(inbox), minute_later(cursor))
    assert came == {} and "keeps changing" in faulty[0].reason
    came, faulty, cursor = taken(of(inbox), minute_later(cursor))
    assert (came, faulty) == ({"ahead.csv": b"grown"}, [])
    assert taken(of(inbox), minute_later(cursor))[0] == {}


def minute_later(cursor: Any) -> Any:
    return {
        **cursor,
        "ahead": {key: [mark, since - 61] for key, (mark, since) in cursor.get("ahead", {}).items()},
    }
