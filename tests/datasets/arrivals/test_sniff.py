"""What a file is, its content says; what is wrong with it is said by a code."""

from pathlib import Path

import pytest

from datasets.arrivals.found import Found, Refused
from datasets.arrivals.sniff import identify
from tests.datasets.arrivals import samples


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, bytes]]:
    return samples.good(tmp_path_factory.mktemp("made"))


def looked(folder: Path, content: bytes, name: str = "a file.exe") -> Found:
    path = folder / name
    path.write_bytes(content)
    return identify(path)


def test_everything_that_is_taken_is_told_by_its_content(
    good: dict[str, tuple[str, str, bytes]], tmp_path: Path
) -> None:
    wrong = {}
    for name, (kind, form, content) in good.items():
        try:
            found = looked(tmp_path, content)
        except Refused as why:
            wrong[name] = (why.code, why.__cause__)
            continue
        if (found.kind, found.format) != (kind, form):
            wrong[name] = (found.kind, found.format)
    assert not wrong


def test_everything_bad_is_refused_with_its_code(tmp_path: Path) -> None:
    wrong = {}
    for name, content, codes in samples.bad():
        try:
            found = looked(tmp_path, content)
        except Refused as why:
            if why.code not in codes or len(why.why) < 20 or "%(" in why.why or "?" in why.why.replace("(?", ""):
                wrong[name] = (why.code, why.why)
            continue
        if found.kind not in codes:
            wrong[name] = ("taken as", found.kind, found.format)
    assert not wrong


@pytest.mark.parametrize("name", ["dicom slice", "edf", "csv"])
def test_every_cut_of_a_file_is_answered(good: dict[str, tuple[str, str, bytes]], name: str, tmp_path: Path) -> None:
    """A file that was cut anywhere is refused, or is a shorter text or table."""
    kind, _form, content = good[name]
    content = content[:-200] if name == "dicom slice" else content  # it ends with padding that no one misses
    for length in range(20, len(content), max(1, len(content) // 60)):
        try:
            found = looked(tmp_path, content[:length])
        except Refused:
            continue
        assert kind == "table" and found.kind in ("table", "text"), (name, length, found)


def test_recording_needs_its_samples_beside_it(tmp_path: Path) -> None:
    header, samples_of = samples.wfdb()
    path = tmp_path / "whatever"
    path.write_bytes(header)
    data = tmp_path / "somewhere else"
    data.write_bytes(samples_of)
    found = identify(path, {"r1.dat": data}.get)
    assert (found.kind, found.format, found.facts["seconds"]) == ("signal", "wfdb", 2.0)
    data.write_bytes(samples_of[:-10])
    with pytest.raises(Refused, match="cut off"):
        identify(path, {"r1.dat": data}.get)
    data.write_bytes(samples_of * 2)
    with pytest.raises(Refused, match="claims a size"):
        identify(path, {"r1.dat": data}.get)


def test_fits_says_which_column_a_file_can_fill(good: dict[str, tuple[str, str, bytes]], tmp_path: Path) -> None:
    fits = {
        name: [kind for kind in ("image", "volume", "video", "signal", "text") if looked(tmp_path, good[name][2]).fits(kind)]
        for name in ("png", "dicom slice", "dicom cine", "edf", "pdf", "csv")
    }
    assert fits == {
        "png": ["image"], "dicom slice": ["image", "volume"], "dicom cine": ["video"], "edf": ["signal"], "pdf": ["text"],
        "csv": [],
    }  # fmt: skip
    assert looked(tmp_path, b"time,ecg\n0,1.5\n0.01,1.7\n0.02,1.6\n").fits("signal")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a,b\n1,2\n3,4\n", "table"),
        ("note;label\n\"long; text, with commas\";ill\n\"another\";well\n", "table"),
        ("Pain in the chest, since two days, no fever.\nNo cough, no dyspnoea, eats.\nStable, to be seen again soon.\n", "text"),
        ("患者头痛三天，无发热，无咳嗽。\n血压正常，心率正常，呼吸平稳。\n", "text"),
        ("One line without more", "text"),
        ("value\n1.5\n1.7\n1.9\n", "table"),
    ],
)
def test_table_or_note(text: str, kind: str, tmp_path: Path) -> None:
    assert looked(tmp_path, text.encode()).kind == kind


@pytest.mark.slow  # opens all of the files that pydicom ships, the broken ones too
def test_all_of_pydicoms_files_are_answered() -> None:
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    outcomes = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                outcomes.append(identify(path).kind)
            except Refused as why:
                outcomes.append(why.code)
    assert len(outcomes) > 150 and outcomes.count("slice") > 40 and outcomes.count("image") > 35


def test_real_clips_are_told(shared_data: Path) -> None:
    clips = [p for p in (shared_data / "pocus_lung_us_video_ccby" / "videos").rglob("*") if p.is_file()]
    assert {identify(path).kind for path in clips} == {"video"}
