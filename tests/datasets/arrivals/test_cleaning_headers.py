"""Recordings, volumes and clips lose the patient's name, and not one sample, voxel or frame."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.arrivals import cleaning
from datasets.arrivals.found import Refused
from datasets.cells import store
from tests.conftest import actor
from tests.datasets.arrivals import samples
from tests.datasets.arrivals.test_arrivals import outcomes, send

WHO = b"Wang Xiaoming 4711"


def edf(folder: Path, kind: str = "edf") -> bytes:
    """Two hours of a day in a patient's life, with notes, as EDF+ or BDF+."""
    import datetime

    import edfio

    make: Any = {"edf": edfio.EdfSignal, "bdf": edfio.BdfSignal}[kind]
    signal = make(np.sin(np.arange(1000) / 9), 100, label="ECG")
    about: dict[str, Any] = {
        "patient": edfio.Patient(code="4711", sex="M", birthdate=datetime.date(1960, 2, 3), name="Wang_Xiaoming"),
        "recording": edfio.Recording(startdate=datetime.date(2026, 3, 14), investigator_technician_code="Wang_Xiaoming"),
        "starttime": datetime.time(9, 30), "annotations": [edfio.EdfAnnotation(1.5, None, "Wang Xiaoming moves")],
    }  # fmt: skip
    made = {"edf": edfio.Edf, "bdf": edfio.Bdf}[kind]([signal], **about)
    made.write(folder / f"made.{kind}")
    return (folder / f"made.{kind}").read_bytes()


def nifti(version: int, order: str = "<") -> bytes:
    import nibabel
    from nibabel.nifti1 import Nifti1Extension

    kind: Any = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version]
    header = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)(endianness=order)
    header.set_data_dtype(np.int16)
    image = kind(np.arange(720, dtype=np.int16).reshape(8, 9, 10), np.diag([1.0, 2.0, 3.0, 1.0]), header)
    image.header["descrip"] = image.header["aux_file"] = image.header["intent_name"] = WHO[:15]
    image.header.extensions.append(Nifti1Extension("comment", WHO * 3))
    return bytes(image.to_bytes())


def clip(form: str, sound: bool = True) -> bytes:
    """A second of moving noise with sound, a title, a place and a time, as a phone makes it."""
    import av

    out, dice = io.BytesIO(), np.random.default_rng(1)
    with av.open(out, "w", format=form) as container:
        container.metadata.update({"title": WHO.decode(), "location": "+52.5+13.4/", "comment": WHO.decode()})
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        voice: Any = container.add_stream("mp2" if form == "avi" else "aac", rate=32000) if sound else None
        for _number in range(25):
            frame = av.VideoFrame.from_ndarray(dice.integers(0, 255, (48, 64, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
        for start in range(0, 32000 if sound else 0, 1024):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.int16), format="s16", layout="mono")
            tone.sample_rate, tone.pts = 32000, start
            container.mux(voice.encode(tone))
        container.mux(voice.encode() if sound else [])
    return out.getvalue()


def cleaned(content: bytes, form: str, folder: Path) -> tuple[bytes, int]:
    source, out = folder / f"in.{form}", folder / f"out.{form}"
    source.write_bytes(content)
    out.unlink(missing_ok=True)
    count = cleaning.clean(source, form, out)
    assert out.exists() == bool(count)
    return (out.read_bytes(), count) if count else (content, 0)


@pytest.mark.parametrize("kind", ["edf", "bdf"])
def test_a_recording_keeps_its_samples_and_nothing_of_the_patient(kind: str, tmp_path: Path) -> None:
    import edfio

    before = edf(tmp_path, kind)
    after, count = cleaned(before, kind, tmp_path)
    assert count >= 3 and b"Wang" in before and b"Wang" not in after and b"4711" not in after and b"1960" not in after
    read: Any = edfio.read_edf if kind == "edf" else edfio.read_bdf
    (tmp_path / f"was.{kind}").write_bytes(before)
    was, now = read(tmp_path / f"was.{kind}"), read(tmp_path / f"out.{kind}")
    assert np.array_equal(now.signals[0].data, was.signals[0].data) and now.signals[0].label == "ECG"
    assert (now.patient.name, now.patient.code, now.recording.investigator_technician_code) == ("X", "X", "X")
    assert now.annotations == () and now.duration == was.duration and now.starttime.hour == 0
    assert len(after) == len(before) and cleaned(after, kind, tmp_path)[1] == 0


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_volume_keeps_its_voxels_and_its_place(version: int, order: str, packed: bool, tmp_path: Path) -> None:
    import nibabel

    before = nifti(version, order)
    form = "nifti.gz" if packed else "nifti"
    after, count = cleaned(gzip.compress(before) if packed else before, form, tmp_path)
    again = cleaned(after, form, tmp_path)[1]
    after = gzip.decompress(after) if packed else after
    assert count == 4 and again == 0 and b"Wang" in before and b"Wang" not in after and len(after) == len(before)
    kind: Any = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version]
    was, now = kind.from_bytes(before), kind.from_bytes(after)
    assert np.array_equal(np.asarray(was.dataobj), np.asarray(now.dataobj)) and np.array_equal(was.affine, now.affine)
    assert list(now.header.extensions) == []


def test_the_name_that_a_packed_volume_was_packed_under_goes_too(tmp_path: Path) -> None:
    out = io.BytesIO()
    with gzip.GzipFile("Wang_Xiaoming.nii", "wb", fileobj=out, mtime=0) as stream:
        stream.write(samples.nifti())
    after, count = cleaned(out.getvalue(), "nifti-gz", tmp_path)
    assert count == 1 and b"Wang" in out.getvalue() and b"Wang" not in after
    assert gzip.decompress(after) == samples.nifti()


@pytest.mark.parametrize("form", ["mp4", "mov", "avi", "matroska"])
def test_a_clip_keeps_its_frames_and_loses_names_and_sound(form: str, tmp_path: Path) -> None:
    import av

    before = clip(form)
    after, count = cleaned(before, form, tmp_path)
    assert count >= 3 and WHO in before and WHO not in after and b"+52.5" not in after

    def frames(content: bytes) -> list[Any]:
        with av.open(io.BytesIO(content)) as container:
            return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]

    with av.open(io.BytesIO(after)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    was, now = frames(before), frames(after)
    assert len(was) == len(now) == 25 and all(np.array_equal(a, b) for a, b in zip(was, now, strict=True))
    assert cleaned(after, form, tmp_path) == (after, 0), "what is clean stays byte for byte"
    assert cleaned(before, form, tmp_path)[0] == after, "the same clip is the same file again"


@pytest.mark.parametrize("content", [b"", b"\0" * 348, samples.nifti()[:100]], ids=["empty", "zeros", "cut"])
def test_a_volume_that_says_nothing_sensible_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="could not be taken out"):
        cleaned(content, "nifti", tmp_path)


@pytest.mark.django_db
def test_what_arrives_is_stored_clean(dana: Any, run_jobs: Any, tmp_path: Path) -> None:
    volumes = {"b.nii": nifti(1), "c.nii.gz": gzip.compress(nifti(2))}
    sent = send(dana, {"a.edf": edf(tmp_path), **volumes, "d.mp4": clip("mp4"), "e.mov": clip("mov")})
    run_jobs()
    assert list(outcomes(sent).values()) == ["imported"] * 5
    for row in sent.files.select_related("file"):
        assert row.masked["metadata"] >= 1 and row.file is not None
        with stored(row.file) as stream:
            content = stream.read()
        assert WHO not in (gzip.decompress(content) if row.name.endswith("gz") else content)


def stored(file: Any) -> Any:
    from django.core.files.storage import default_storage

    return default_storage.open(file.path)


@pytest.mark.django_db
def test_a_cell_is_stored_clean_too(dana: Any, tmp_path: Path) -> None:
    for name, content in {"a.edf": edf(tmp_path), "c.nii.gz": gzip.compress(nifti(1)), "d.mp4": clip("mp4")}.items():
        path = tmp_path / name
        path.write_bytes(content)
        cell = store.keep(actor=actor(dana), path=path, sha256="0" * 64, size=len(content), name=name)
        with stored(cell.file) as stream:
            kept = stream.read()
        assert WHO not in (gzip.decompress(kept) if name.endswith("gz") else kept) and b"Wang" not in kept
