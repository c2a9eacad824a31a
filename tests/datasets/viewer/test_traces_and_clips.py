"""Signals by tiles of least and greatest, clips by seeking: what is sent is what is there, and no more of it is read."""

import struct
from pathlib import Path

import numpy as np
import pytest

from datasets.arrivals.found import Refused
from datasets.viewer import frames, looking
from datasets.viewer.clip import Clip
from datasets.viewer.trace import COLUMNS, Traces
from tests.datasets.given_series import put, wfdb


def tile(content: bytes) -> np.ndarray:
    magic, channels, columns = struct.unpack_from("<4sHH", content)
    assert magic == looking.TRACE
    return np.frombuffer(content, "<f4", offset=8).reshape(channels, columns, 2)


def test_no_peak_of_a_long_recording_is_lost_and_near_it_the_samples_are_sent(tmp_path: Path) -> None:
    values = np.zeros((2, 50 * COLUMNS))
    values[0, 31_234], values[1, 7] = 5.0, np.nan
    np.save(tmp_path / "long.npy", values)
    look = Traces(tmp_path / "long.npy")
    about = look.about()
    assert [plane.count for plane in about.planes] == [1, 2, 4, 8, 16, 32, 64] and about.signal is not None
    whole = tile(look.frame("trace0", 0))
    assert whole.shape == (2, COLUMNS, 2) and whole[0, :, 1].max() == 5.0 and whole[0, :, 0].max() == 0.0
    count, length = 64, values.shape[1] / 64
    near = tile(look.frame("trace6", int(31_234 // length)))
    first = round(values.shape[1] * int(31_234 // length) / count)
    assert near.shape[1] < COLUMNS and near[0, 31_234 - first, 1] == 5.0 == near[0, 31_234 - first, 0]
    assert np.isnan(tile(look.frame("trace6", 0))[1, 7]).all()
    frames._sendable(look.frame("trace0", 0))
    with pytest.raises(Refused):
        frames._sendable(look.frame("trace0", 0)[:-4])


def test_a_recording_with_units_is_drawn_on_ecg_paper(tmp_path: Path) -> None:
    about = Traces(put(tmp_path, wfdb()) / "p17.hea").about()
    assert about.signal is not None
    assert (about.signal.seconds, about.signal.timed, about.signal.millivolts) == (4.0, True, True)
    assert about.signal.channels == ("ii", "v5")


def clip(path: Path, count: int = 60) -> Path:
    """Frames whose brightness is their number; a key frame every twelve."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=20, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, dtype=np.uint8), format="rgb24")
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return path


def test_a_frame_of_a_clip_is_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from PIL import Image

    look = Clip(clip(tmp_path / "clip.mp4"))
    about = look.about()
    assert [(p.name, p.count) for p in about.planes] == [("clip", 60), ("strip", 12)] and about.rate == 20.0
    decoded: list[int] = []
    own = look._next
    monkeypatch.setattr(look, "_next", lambda: decoded.append(1) or own())

    def level(plane: str, index: int) -> float:
        return float(np.asarray(Image.open(io.BytesIO(look.frame(plane, index)))).mean())

    assert level("clip", 40) == pytest.approx(160, abs=6)
    assert len(decoded) <= 13  # from the key frame before it, not from the beginning
    assert level("clip", 41) == pytest.approx(164, abs=6) and len(decoded) <= 14
    assert level("clip", 3) == pytest.approx(12, abs=6)
    assert level("strip", 11) == pytest.approx(236, abs=8)
    look.close()
