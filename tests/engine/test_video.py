"""Video: clips of every format read frame by frame, golden values of the features, and a column in a table."""

import io
import os
import resource
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

import engine
from engine.transformers.video import FRAMES, VideoTransformer
from engine.video import features as f
from engine.video import readers
from engine.video.clip import HELD, KEPT, SIDE, SMALL, Clip, Sampler, choose, clip_of_frames, normal_flow
from engine.video.readers import read_video


def moving_square(frames: int = 50, side: int = 96, speed: float = 1.0, at: int = 8) -> np.ndarray:
    """(frames, side, side, 3): a bright square that moves to the right on grey."""
    clip = np.full((frames, side, side, 3), 60, dtype=np.uint8)
    for k in range(frames):
        x = int(at + speed * k) % (side - 16)
        clip[k, 40:56, x : x + 16] = 220
    return clip


def write(path: Path | io.BytesIO, frames: np.ndarray, codec: str, rate: int = 25, form: str | None = None) -> None:
    with av.open(path, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.bit_rate = 2_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


FORMATS = {"mp4": "mpeg4", "avi": "mjpeg", "mov": "mpeg4", "mkv": "mpeg4", "mpeg": "mpeg2video", "gif": "gif"}


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_clip(ending: str, tmp_path: Path) -> None:
    frames = moving_square()
    write(tmp_path / f"x.{ending}", frames, FORMATS[ending])
    clip, expected = read_video(tmp_path / f"x.{ending}"), clip_of_frames(iter(frames), 25.0)
    assert not clip.cut and len(clip.motion) in (48, 49)
    assert clip.rate == pytest.approx(25.0, rel=0.02) and clip.seconds == pytest.approx(2.0, rel=0.05)
    assert clip.frames.shape == (KEPT, 128, 128, 3)
    first = clip.frames[0].astype(int) - expected.frames[0].astype(int)
    assert np.abs(first).mean() < 12  # GIF has 256 colours, video its losses
    if ending != "gif":  # whose dots, in place of colours that it has not, move too
        assert clip.motion.mean() == pytest.approx(expected.motion.mean(), rel=0.4)


def test_a_clip_of_any_length_is_read_with_few_frames_held() -> None:
    sampler = Sampler()
    held = 0
    for k in range(6000):
        small = np.full((48, 48), k % 7, dtype=np.float32)
        sampler.add(np.zeros((128, 128, 3), np.uint8) if sampler.wants else None, small, k / 25)
        held = max(held, len(sampler.frames))
    clip = sampler.clip(25.0)
    assert held <= 2 * HELD and len(clip.frames) == KEPT
    assert clip.times[0] == 0 and clip.times[-1] > 200  # of 240 seconds
    assert np.all(np.diff(clip.times) > 0)


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    """200 frames of 1280 x 720 would be 550 MB."""
    frame = np.zeros((720, 1280, 3), np.uint8)
    write(tmp_path / "x.avi", np.broadcast_to(frame, (200, 720, 1280, 3)), "mpeg4")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = read_video(tmp_path / "x.avi")
    assert clip.seconds == pytest.approx(8.0, rel=0.01)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 150


def test_what_happens_for_a_moment_is_among_the_kept_frames() -> None:
    """An object that is there in 4 of 120 frames."""
    frames = np.full((120, 64, 64), 50, dtype=np.uint8)
    frames[71:75, 20:44, 20:44] = 250
    clip = clip_of_frames(iter(frames), 10.0)
    inside = (clip.times >= 7.05) & (clip.times < 7.5)
    assert clip.frames[inside][0, 64, 64, 0] == 250
    assert np.flatnonzero(inside)[0] in choose(clip.moved, FRAMES)
    tensor = VideoTransformer([engine.ColumnSpec("clip", engine.Kind.VIDEO)], {}).sketch(clip)
    assert (tensor[:, 0, 32, 32] == 250).any() and (tensor[:, 0, 32, 32] == 50).sum() >= 8


def test_frames_are_chosen_evenly_and_by_motion() -> None:
    assert choose(np.zeros(5), 8).tolist() == [0, 1, 2, 3, 4]
    still = choose(np.zeros(100), 10)
    assert len(still) == 10 and still[0] == 0 and still[-1] == 99 and np.diff(still).max() < 30
    moved = np.zeros(100)
    moved[[40, 41, 60]] = 9.0
    assert {40, 41, 60, 0, 99} <= set(choose(moved, 10).tolist())


def test_broken_clips_are_refused_and_truncated_ones_read_as_far_as_they_go(tmp_path: Path) -> None:
    whole = io.BytesIO()
    write(whole, moving_square(100), "mpeg2video", form="mpeg")
    data = whole.getvalue()
    (tmp_path / "half.mpeg").write_bytes(data[: len(data) // 2])
    half = read_video(tmp_path / "half.mpeg")
    assert 20 < len(half.motion) < 80
    rng = np.random.default_rng(0)
    for k in range(20):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 200):
            broken[place] = rng.integers(256)
        (tmp_path / "b.mpeg").write_bytes(bytes(broken))
        try:
            assert len(read_video(tmp_path / "b.mpeg").frames)
        except ValueError as error:
            assert getattr(error, "code", "").startswith("video_"), k
    for junk in (b"", b"\x00" * 5000, b"GIF89a", data[:50], b"\x00\x00\x00\x18ftypmp42" + b"x" * 500):
        (tmp_path / "j.mp4").write_bytes(junk)
        with pytest.raises(ValueError, match=r"clip|moving"):
            read_video(tmp_path / "j.mp4")


@pytest.mark.parametrize("text", [
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{path}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile '{path}'\n",
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n",
])  # fmt: skip
def test_a_playlist_in_disguise_opens_no_other_file(text: str, tmp_path: Path) -> None:
    write(tmp_path / "secret.mp4", moving_square(10), "mpeg4")
    (tmp_path / "x.mp4").write_text(text.format(path=tmp_path / "secret.mp4"))
    with pytest.raises(ValueError, match="clip"):
        read_video(tmp_path / "x.mp4")


def test_a_dicom_cine_is_read_in_colour_with_its_own_clock() -> None:
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    path = Path(get_testdata_file("examples_ybr_color.dcm"))
    clip = read_video(path)
    assert clip.rate == pytest.approx(30.0, rel=1e-3) and len(clip.motion) == 29
    whole = dcmread(path).pixel_array
    assert whole.shape == (30, 240, 320, 3)
    assert f.grey(clip.frames[0]).mean() == pytest.approx(_rgb(path)[0].mean() / 255, abs=0.02)


def _rgb(path: Path) -> np.ndarray:
    from pydicom.pixels import pixel_array

    return np.asarray(pixel_array(path)).astype(float) @ np.array([0.299, 0.587, 0.114])


# Features


def named(clip: Clip) -> dict[str, float]:
    return dict(zip(f.NAMES, f.describe(clip).tolist(), strict=True))


def test_the_motion_of_known_frames_is_their_mean_difference() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (20, 48, 48), dtype=np.uint8)  # as large as motion is measured: nothing is resized
    clip = clip_of_frames(iter(frames), 5.0)
    expected = np.abs(np.diff(frames.astype(float), axis=0)).mean((1, 2))
    assert clip.motion == pytest.approx(expected)
    assert clip.light == pytest.approx(frames.mean((1, 2)), abs=1e-3)
    found = named(clip)
    assert found["motion_mean"] == pytest.approx(expected.mean())
    assert found["motion_most"] == pytest.approx(expected.max())
    assert (found["seconds"], found["still"]) == (4.0, 0.0)


@pytest.mark.parametrize("speed", [0.25, 0.5, 1.0])
def test_the_flow_of_a_moving_wave_is_its_speed(speed: float) -> None:
    x = np.arange(48)

    def at(t: float) -> np.ndarray:
        return np.broadcast_to(128 + 100 * np.sin(2 * np.pi * (x - speed * t) / 16), (48, 48)).astype(np.float32)

    assert normal_flow(at(0.0), at(1.0)) == pytest.approx(speed, rel=0.25)
    assert normal_flow(at(0.0), at(0.0)) == 0.0


def test_the_period_of_a_beating_light_is_found() -> None:
    t = np.arange(200) / 25.0
    frames = (120 + 60 * np.sin(2 * np.pi * 1.25 * t))[:, None, None] * np.ones((1, 48, 48))
    found = named(clip_of_frames(iter(frames.astype(np.uint8)), 25.0))
    assert found["light_period"] == pytest.approx(0.8, abs=0.041)
    assert found["light_periodicity"] > 0.7


def test_change_is_where_things_move() -> None:
    frames = np.full((30, 96, 96), 80, dtype=np.uint8)
    frames[::2, 70:90, 5:25] = 200  # below on the left
    found = named(clip_of_frames(iter(frames), 10.0))
    changes = [found[f"change_{k}"] for k in range(9)]
    assert int(np.argmax(changes)) == 6 and sorted(changes)[-2] < 0.1 * max(changes)


def test_patterns_are_those_counted_by_hand() -> None:
    """Local binary patterns by the definition, point by point."""
    g = np.random.default_rng(3).integers(0, 5, (12, 12)).astype(float)
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    counts = [0] * 10
    for i in range(1, 11):
        for j in range(1, 11):
            bits = [g[i + a, j + b] >= g[i, j] for a, b in ring]
            turns = sum(bits[k] != bits[k - 1] for k in range(8))
            counts[sum(bits) if turns <= 2 else 9] += 1
    assert f.patterns(g) == pytest.approx(np.array(counts) / 100)


def test_rings_and_directions_tell_stripes_apart() -> None:
    x = np.arange(128)
    stripes = (127 + 120 * np.sin(2 * np.pi * x / 8)).astype(np.uint8)
    upright = np.repeat(np.broadcast_to(stripes, (128, 128))[..., None], 3, axis=2)
    look = dict(zip(f.LOOK, f.look(upright), strict=True))
    lying = dict(zip(f.LOOK, f.look(upright.transpose(1, 0, 2)), strict=True))
    assert look["ring_2"] == pytest.approx(1.0, abs=0.01)  # a period of 8 pixels: 0.125 of 0.125 to 0.25
    assert look["direction_0"] + look["direction_5"] > 0.99
    assert lying["direction_3"] + lying["direction_2"] > 0.99
    assert look["q50"] == pytest.approx(np.median(upright) / 255, abs=0.02)


# Real clips and a table


def test_real_ultrasound_clips_of_every_format() -> None:
    root = os.environ.get("AIMASS_SHARED_DATA")
    if root is None or not (Path(root) / "pocus_lung_us_video_ccby").is_dir():
        pytest.skip("AIMASS_SHARED_DATA is not set")
    folder = Path(root) / "pocus_lung_us_video_ccby" / "videos"
    by_format = {path.suffix.lower(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    assert {".mp4", ".mov", ".mpeg"} <= set(by_format)
    for path in by_format.values():
        clip = read_video(path)
        assert len(clip.frames) == KEPT and not clip.cut and 1 < clip.seconds < 60
        assert np.isfinite(f.describe(clip)).mean() > 0.95


def clips(n: int, seed: int) -> pd.DataFrame:
    """In the sick, the square moves three times as quickly."""
    rng = np.random.default_rng(seed)
    sick = rng.random(n) < 0.5
    cells: list[np.ndarray | None] = []
    for each in sick:
        frames = moving_square(20, 48, 3.0 if each else 1.0, int(rng.integers(0, 20)))[..., 0]
        cells.append((frames + rng.integers(0, 20, frames.shape)).clip(0, 255).astype(np.uint8))
    cells[3] = None
    return pd.DataFrame({"clip": pd.Series(cells, dtype=object), "sex": rng.choice(["f", "m"], n),
                         "y": np.where(sick, "sick", "well")})  # fmt: skip


@pytest.mark.slow  # decodes and describes 80 clips
def test_how_quickly_something_moves_is_learned_and_stored(tmp_path: Path) -> None:
    recipe = engine.Recipe(target="y", columns={"clip": "video"}, candidates=("linear",), time_budget=3.0)
    model = engine.fit(clips(50, 0), recipe)
    test = clips(30, 1)
    there = test["clip"].notna().to_numpy()
    assert (model.predict(test).value == test["y"])[there].mean() > 0.9
    again = engine.load(engine.save(model, tmp_path / "m"))
    assert np.array_equal(again.predict(test).probabilities, model.predict(test).probabilities)
    given = model.predict(test)  # the surest of the right ones: writing a clip as a file loses a little of it
    row = int(np.argmax(np.where((given.value == test["y"]) & there, given.probabilities.max(axis=1), 0.0)))
    write(tmp_path / "x.avi", np.repeat(test["clip"][row][..., None], 3, axis=3), "mjpeg")
    found = again.predict(pd.DataFrame({"clip": ["x.avi", "gone.avi"], "sex": ["f", "m"]}), files=tmp_path)
    assert found.value[0] == test["y"][row]
    assert [w["code"] for w in found.warnings[1]] == ["file_missing"]


def test_the_encoder_keeps_augmented_clips_in_shape_and_ignores_frames_that_are_not_there() -> None:
    import torch

    from engine.networks import ENCODERS

    network = ENCODERS[engine.Kind.VIDEO]
    batch = torch.rand(3, 6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    batch[0, 4:] = 0.0
    once, again = (network.augment(batch, torch.Generator().manual_seed(5), {"augmentation": 1.0}) for _ in range(2))
    assert once.shape == batch.shape and torch.equal(once, again) and not torch.equal(once, batch)
    assert not once[0, 4:].any() and once.min() >= 0 and once.max() <= 1
    module = network.build((6, 1, 32, 32), 8).eval()
    assert torch.allclose(module(batch)[:1], module(batch[:1, :4]), atol=1e-5)
    assert torch.isfinite(module(torch.zeros(1, 6, 1, 32, 32))).all()


def test_one_scaler_for_all_frames_gives_what_a_scaler_for_each_gives() -> None:
    """Also where size and format change in mid-stream."""
    random = np.random.default_rng(0)
    reduced = readers.Reducer()
    for size, form in (((90, 120), "rgb24"), ((90, 120), "gray"), ((64, 64), "rgb24"), ((90, 120), "rgb24")):
        shape = size if form == "gray" else (*size, 3)
        frame = av.VideoFrame.from_ndarray(random.integers(0, 256, shape, dtype=np.uint8), format=form)
        frame = frame.reformat(format="yuv420p") if form == "rgb24" else frame
        picture, small = reduced(frame, True)
        wanted = frame.to_ndarray(width=SIDE, height=SIDE, format="rgb24", interpolation="AREA")
        np.testing.assert_array_equal(picture, wanted)
        np.testing.assert_array_equal(
            small, frame.to_ndarray(width=SMALL, height=SMALL, format="gray", interpolation="AREA")
        )
        assert reduced(frame, False)[0] is None
