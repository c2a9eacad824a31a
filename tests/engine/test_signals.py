"""Signals: files of every format, golden values of the features both ways, resampling, and a column in a table."""

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import signal, stats

import engine
from engine.signals import features as f
from engine.signals.layout import Layout, laid_out, settle, view_of
from engine.signals.readers import read_signal
from engine.signals.recording import Recording, SignalError, make_recording
from engine.signals.resampling import at_rate, fill_gaps, resample

RATE = 100.0


def wave(frequency: float, seconds: float = 10.0, rate: float = RATE, phase: float = 0.3) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate + phase)


def named(values: np.ndarray, rate: float = RATE) -> dict[str, float]:
    values = np.atleast_2d(values)
    return dict(zip(f.feature_names(len(values)), f.describe(values, rate).tolist(), strict=True))


@pytest.fixture
def noisy() -> np.ndarray:
    return np.random.default_rng(1).normal(2.0, 3.0, 1500).cumsum() / 20 + wave(3.0, 15.0)


# Features


def test_statistics_are_those_of_scipy(noisy: np.ndarray) -> None:
    found = named(noisy)
    assert found["1.mean"] == pytest.approx(np.mean(noisy))
    assert found["1.sd"] == pytest.approx(np.std(noisy))
    assert found["1.skewness"] == pytest.approx(stats.skew(noisy))
    assert found["1.kurtosis"] == pytest.approx(stats.kurtosis(noisy))
    assert found["1.q25"] == pytest.approx(np.percentile(noisy, 25))
    assert found["1.rms"] == pytest.approx(np.linalg.norm(noisy) / np.sqrt(len(noisy)))
    assert found["1.slope"] == pytest.approx(stats.linregress(np.arange(1500) / RATE, noisy).slope)
    assert found["seconds"] == 15.0


def test_the_spectrum_is_that_of_welch_by_hand(noisy: np.ndarray) -> None:
    """Hann windows, half overlapping, the mean taken out of each: Welch 1967, written out."""
    n = f.segment_length(len(noisy))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    parts = [noisy[k : k + n] for k in range(0, len(noisy) - n + 1, n // 2)]
    power = np.mean([np.abs(np.fft.rfft((part - part.mean()) * window)) ** 2 for part in parts], axis=0)
    density = power / (RATE * (window**2).sum())
    density[1:-1] *= 2
    frequency, density = np.fft.rfftfreq(n, 1 / RATE)[1:], density[1:]
    share = density / density.sum()
    found = named(noisy)
    assert found["1.centroid"] == pytest.approx((share * frequency).sum())
    assert found["1.dominant"] == pytest.approx(frequency[density.argmax()])
    assert found["1.log_power"] == pytest.approx(np.log10(density.sum() * frequency[0]))
    assert found["1.spectral_entropy"] == pytest.approx(stats.entropy(share) / np.log(len(share)))
    assert found["1.octave_7"] == pytest.approx(share[frequency >= 25].sum())
    assert found["1.octave_0"] == pytest.approx(share[frequency < 50 / 128].sum())
    assert sum(found[f"1.octave_{k}"] for k in range(8)) == pytest.approx(1.0)


@pytest.mark.parametrize("frequency", [0.7, 2.0, 5.0, 17.0])
def test_a_known_frequency_is_found_in_every_way(frequency: float) -> None:
    found = named(3.0 * wave(frequency, 20.0))
    assert found["1.dominant"] == pytest.approx(frequency, abs=0.2)
    assert found["1.crossings"] == pytest.approx(2 * frequency, abs=0.1)
    assert found["1.period"] == pytest.approx(1 / frequency, abs=0.011)
    assert found["1.peak_rate"] == pytest.approx(frequency, abs=0.1)
    assert found["1.interval_mean"] == pytest.approx(1 / frequency, abs=0.005)
    assert 10 ** found["1.log_power"] == pytest.approx(4.5, rel=0.06)  # the power of a sine is half its square
    assert found["1.sd"] == pytest.approx(3 / np.sqrt(2), rel=0.01)


def test_a_sines_mobility_is_its_angular_frequency_and_its_complexity_is_one() -> None:
    found = named(wave(2.0, 10.0, 1000.0), 1000.0)
    assert found["1.mobility"] == pytest.approx(2 * np.pi * 2, rel=1e-3)
    assert found["1.complexity"] == pytest.approx(1.0, abs=1e-3)


def test_permutation_entropy_is_that_of_counted_patterns(noisy: np.ndarray) -> None:
    x = noisy[:200]
    order = {pattern: 0 for pattern in permutations(range(4))}
    for k in range(197):
        order[tuple(int(i) for i in np.argsort(x[k : k + 4]))] += 1
    expected = stats.entropy([count for count in order.values() if count]) / np.log(24)
    assert f.permutation_entropy(x) == pytest.approx(expected)
    assert f.permutation_entropy(np.arange(50.0)) == 0.0


def test_the_autocorrelation_is_that_of_its_definition(noisy: np.ndarray) -> None:
    x = noisy - noisy.mean()
    expected = [(x[k:] * x[: len(x) - k]).sum() / (x * x).sum() for k in range(750)]
    assert f.autocorrelation(noisy) == pytest.approx(expected, abs=1e-9)


def test_beats_and_their_variability_are_those_that_were_planted() -> None:
    """Beats at known times: 0.8 s and 0.9 s by turns, so the deviation is 0.05 s and the successive difference 0.1 s."""
    times = np.cumsum([0.8, 0.9] * 12)
    x = np.zeros(2200)
    x[np.rint(times * 100).astype(int)] = 1.0
    x = np.convolve(x, signal.windows.gaussian(21, 3), mode="same")
    found = named(x)
    assert found["1.peak_rate"] == pytest.approx(len(times) / 22.0)
    assert found["1.interval_mean"] == pytest.approx(np.diff(times).mean(), abs=1e-6)
    assert found["1.interval_sd"] == pytest.approx(np.std(np.diff(times)), abs=1e-6)
    assert found["1.interval_rmssd"] == pytest.approx(0.1, abs=1e-6)


def test_a_burst_is_the_loudest_place() -> None:
    x = np.random.default_rng(0).normal(size=1600)
    x[1000:1100] *= 10
    found = named(x)
    assert found["1.loudest_at"] == pytest.approx((10 + 0.5) / 16)
    assert found["1.loudest"] > 2 > named(np.random.default_rng(0).normal(size=1600))["1.loudest"]


def test_channels_are_correlated_as_numpy_says() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 500))
    x[1] += 2 * x[0]
    found, expected = named(x), np.corrcoef(x)
    assert found["correlation_1_2"] == pytest.approx(expected[0, 1])
    pairs = expected[np.triu_indices(3, 1)]
    assert found["correlation_least"] == pytest.approx(pairs.min())
    assert found["correlation_mean"] == pytest.approx(pairs.mean())


@pytest.mark.parametrize("channels", [1, 2, 6, 7, 12, 13, 40])
def test_there_is_a_name_for_every_feature(channels: int) -> None:
    values = np.random.default_rng(0).normal(size=(channels, 400))
    assert len(f.describe(values, RATE)) == len(f.feature_names(channels)) == f.feature_count(channels)


def test_a_flat_an_empty_and_a_tiny_signal_have_features_too() -> None:
    for values in (np.ones((1, 50)), np.array([[1.0, 2.0]]), np.array([[np.nan] * 9, [1.0] * 9])):
        assert len(f.describe(values, 1.0)) == f.feature_count(len(values))


# Gaps and rates


def test_what_lies_above_half_the_new_rate_is_gone_and_the_rest_is_left() -> None:
    both = wave(3.0, 20.0, 500.0) + wave(110.0, 20.0, 500.0)
    less = resample(both[None], 500.0, 100.0)[0]
    assert len(less) == 2000
    inner = slice(100, -100)
    assert less[inner] == pytest.approx(wave(3.0, 20.0, 100.0)[inner], abs=0.01)
    naive = both[::5]
    assert np.abs(naive - wave(3.0, 20.0, 100.0)).max() > 0.9  # without the filter 110 Hz comes back as 10 Hz


@pytest.mark.parametrize("new", [48.0, 64.0, 99.7, 250.0, 3.0001])
def test_any_rate_is_met(new: float) -> None:
    slow = wave(0.4, 60.0)
    found = resample(slow[None], RATE, new)[0]
    times = np.arange(len(found)) / new
    inner = (times > 3) & (times < 55)
    assert found[inner] == pytest.approx(np.sin(2 * np.pi * 0.4 * times + 0.3)[inner], abs=0.02)


def test_a_very_long_recording_is_brought_down_in_steps() -> None:
    assert resample(np.ones((1, 500_000)), 1000.0, 0.5).shape == (1, 250)


def test_gaps_are_bridged_and_stay_gaps() -> None:
    x = np.array([[np.nan, 1.0, np.nan, 3.0, np.nan], [np.nan] * 5])
    assert fill_gaps(x).tolist() == [[1, 1, 2, 3, 3], [0, 0, 0, 0, 0]]
    values = wave(2.0, 10.0)[None].copy()
    values[0, 300:400] = np.nan
    less = at_rate(Recording(values, RATE, ("",)), 50.0)
    assert less.gaps[0, 151:199].all() and not less.gaps[0, :149].any() and not less.gaps[0, 201:].any()
    assert named(values)["1.gaps"] == pytest.approx(0.1)


# Files

WFDB_16 = bytes.fromhex("e60012fe0080ff7f0000ceff")  # 230, -494 | invalid, 32767 | 0, -50
WFDB_HEADER = "r 2 360 3\nr.dat 16 200/mV 16 0 230 0 0 MLII\nr.dat 16 100(-50)/uV 16 0 -494 0 0 V5\n"


def test_a_wfdb_record_of_format_16(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(WFDB_16)
    (tmp_path / "r.hea").write_text(WFDB_HEADER)
    for name in ("r.hea", "r.dat"):
        found = read_signal(tmp_path / name)
        assert (found.rate, found.names) == (360.0, ("mlii", "v5"))
        assert found.values[0].tolist() == pytest.approx([1.15, np.nan, 0.0], nan_ok=True)
        assert found.values[1].tolist() == pytest.approx([-0.00444, 0.32817, 0.0])


def test_a_wfdb_record_of_format_212(tmp_path: Path) -> None:
    """Two samples of 12 bits in three bytes, as signal(5) lays them out."""
    samples = [1, -1, 2047, -2047, 100, -2048]
    data = bytearray()
    for a, b in zip(samples[::2], samples[1::2], strict=True):
        a, b = a % 4096, b % 4096
        data += bytes([a & 255, (a >> 8) | ((b >> 8) << 4), b & 255])
    (tmp_path / "r.dat").write_bytes(bytes(data))
    (tmp_path / "r.hea").write_text("r 1 250\nr.dat 212 1/mV 12\n")
    found = read_signal(tmp_path / "r.hea").values[0]
    assert found.tolist() == pytest.approx([1, -1, 2047, -2047, 100, np.nan], nan_ok=True)


@pytest.mark.parametrize("line", ["../r.dat 16", "/etc/passwd 16", "r.dat 999", "r.dat 16 200/mV\nr.dat 212", "r.txt 16"])
def test_a_wfdb_header_opens_nothing_but_its_own_samples(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "r.dat").write_bytes(WFDB_16)
    (folder / "r.dat").write_bytes(WFDB_16)
    (folder / "r.hea").write_text(f"r {1 + line.count(chr(10))} 360\n{line}\n")
    with pytest.raises(SignalError):
        read_signal(folder / "r.hea")


def test_an_edf_file_with_two_rates_and_one_with_interruptions(tmp_path: Path) -> None:
    import edfio

    quick, slow = wave(5.0, 10.0, 256.0), wave(0.5, 10.0, 32.0)
    edfio.Edf(
        [
            edfio.EdfSignal(1000 * quick, 256, label="EEG Fpz-Cz", physical_dimension="uV"),
            edfio.EdfSignal(slow, 32, label="resp"),
        ],
        annotations=[edfio.EdfAnnotation(1.0, None, "x")],
    ).write(tmp_path / "c.edf")
    found = read_signal(tmp_path / "c.edf")
    assert (found.values.shape, found.rate, found.names) == ((2, 2560), 256.0, ("fpz-cz", "resp"))
    assert found.values[0] == pytest.approx(quick, abs=1e-3)  # microvolts became millivolts
    assert found.values[1, 300:-300] == pytest.approx(wave(0.5, 10.0, 256.0)[300:-300], abs=0.01)
    data = (tmp_path / "c.edf").read_bytes().replace(b"EDF+C", b"EDF+D")
    for k in range(5, 10):  # the second half was recorded 20 seconds later
        data = data.replace(b"+%d\x14\x14\x00\x00" % k, b"+%d\x14\x14\x00" % (k + 20))
    (tmp_path / "d.edf").write_bytes(data)
    later = read_signal(tmp_path / "d.edf")
    assert later.seconds == 30.0
    assert later.gaps[0].nonzero()[0].tolist() == list(range(5 * 256, 25 * 256))
    assert later.values[0, 25 * 256 :] == pytest.approx(quick[5 * 256 :], abs=1e-3)


def test_dicoms_ecg_is_read_in_millivolts() -> None:
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    path = Path(get_testdata_file("waveform_ecg.dcm"))
    found = read_signal(path)
    assert (found.values.shape, found.rate, found.seconds) == ((12, 10_000), 1000.0, 10.0)
    assert found.names == ("i", "ii", "iii", "avr", "avl", "avf", *(f"v{k}" for k in range(1, 7)))
    group = dcmread(path).WaveformSequence[0]
    raw = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)
    assert found.values[1] == pytest.approx(raw[:, 1] * 1.25 / 1000)
    i, ii, iii = found.values[:3]
    assert np.abs(i + iii - ii).max() < 0.02  # Einthoven's law: lead II is the sum of I and III
    above = np.flatnonzero((ii[1:] > 0.8) & (ii[:-1] <= 0.8)) / 1000.0  # the rise of every R wave, by a threshold
    features = named(found.values, 1000.0)
    assert len(above) == 10
    assert features["2.interval_mean"] == pytest.approx(np.diff(above).mean(), abs=0.005)
    assert features["2.peak_rate"] * 60 == 60.0  # ten beats in ten seconds


TABLES = {
    "plain.csv": ("0.5\n1.5\n0.5\n-1\n", None, [[0.5, 1.5, 0.5, -1]]),
    "named.csv": ("ii,v1\n1,2\n3,4\n5,6\n", None, [[1, 3, 5], [2, 4, 6]]),
    "timed.csv": ("time_ms,ii\n0,1\n4,2\n8,3\n12,4\n", 250.0, [[1, 2, 3, 4]]),
    "gap.tsv": ("t\tx\n0\t1\n0.5\t2\n1\t3\n2.5\t4\n3\t5\n", 2.0, [[1, 2, 3, np.nan, np.nan, 4, 5]]),
    "comment.csv": ("# rate: 128 Hz\nx\n1\n2\n3\n", 128.0, [[1, 2, 3]]),
    "german.csv": ("Zeit;x\n0,0;1,5\n0,1;2,5\n0,2;3,5\n", None, [[0, 0.1, 0.2], [1.5, 2.5, 3.5]]),
    "index.csv": ("index,x\n0,5\n1,6\n2,8\n3,7\n", None, [[5, 6, 8, 7]]),
    "space.txt": ("0.00 7\n0.25 8\n0.50 9\n0.75 8\n", 4.0, [[7, 8, 9, 8]]),
    "date.csv": ("datetime,hr\n2016-11-24 13:58:58.00,1\n2016-11-24 13:58:58.25,2\n2016-11-24 13:58:58.50,3\n", 4.0,
                 [[1, 2, 3]]),
    "missing.csv": ("x,y\n1,\n,2\n3,4\n5,6\n", None, [[1, np.nan, 3, 5], [np.nan, 2, 4, 6]]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_text_table(name: str, tmp_path: Path) -> None:
    text, rate, values = TABLES[name]
    (tmp_path / name).write_text(text)
    found = read_signal(tmp_path / name)
    assert found.rate_known == (rate is not None)
    assert found.rate == pytest.approx(rate or 1.0)
    assert found.values == pytest.approx(np.array(values), nan_ok=True)
    assert read_signal(tmp_path / name, 300.0).rate == pytest.approx(rate or 300.0)


def test_a_coarse_clock_does_not_lose_samples(tmp_path: Path) -> None:
    """Times in whole milliseconds that stand still for a few samples: as in heartpy's data3.csv."""
    times = np.repeat(np.arange(0, 1000, 40), 4)
    pd.DataFrame({"timer_ms": times, "hr": np.arange(100.0)}).to_csv(tmp_path / "x.csv", index=False)
    found = read_signal(tmp_path / "x.csv")
    assert found.rate == pytest.approx(100.0)
    assert found.values[0] == pytest.approx(np.arange(100.0), abs=1e-6)


def test_arrays_and_npy_files(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(500, 3))
    np.save(tmp_path / "x.npy", x)
    assert np.array_equal(read_signal(tmp_path / "x.npy").values, x.T)
    assert np.array_equal(read_signal(x.T, 5.0).values, x.T)
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SignalError):
        read_signal(tmp_path / "o.npy")


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"\x93NUMPY\x01\x00", b"0       " + b" " * 248, b"a,b\nx,y\n", b"\xff" * 99])
@pytest.mark.parametrize("ending", ["csv", "edf", "hea", "dcm", "npy", "dat"])
def test_what_is_no_signal_is_refused_and_nothing_else_happens(data: bytes, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(data)
    with pytest.raises(SignalError):
        read_signal(path)


def test_a_name_that_could_be_a_patients_is_not_kept() -> None:
    names = make_recording(np.ones((3, 9)), 1.0, ("Lead II", "Wáng Xiǎo-Míng", "ECG V1 (chest)")).names
    assert names == ("ii", "", "v1")


# A column's layout


def test_a_layout_fits_recordings_of_different_rates_lengths_and_orders_of_channels() -> None:
    a = Recording(np.stack([wave(2.0, 8.0, 500.0), 5 + wave(3.0, 8.0, 500.0)]), 500.0, ("ii", "v1"))
    b = Recording(np.stack([5 + wave(3.0, 10.0, 100.0), wave(2.0, 10.0, 100.0)]), 100.0, ("v1", "ii"))
    layout = settle([a, b])
    assert (layout.rate, layout.seconds, layout.steps) == (100.0, 10.0, 1000)
    assert dict(zip(layout.names, layout.centre, strict=True)) == pytest.approx({"ii": 0.0, "v1": 5.0}, abs=0.05)
    assert Layout.from_dict(layout.to_dict()) == layout
    one, two = (view_of(laid_out(each, layout), layout) for each in (a, b))
    assert one.shape == two.shape == (2, 1000)
    assert one[:, 20:780] == pytest.approx(two[:, 20:780], abs=0.05)
    assert not one[:, 800:].any()


# A table with a column of signals


def patients_with_waves(n: int, seed: int) -> pd.DataFrame:
    """The sick have a rhythm of 3 Hz, the others of 5 Hz; a tenth has no recording."""
    rng = np.random.default_rng(seed)
    sick = rng.random(n) < 0.5
    cells: list[np.ndarray | None] = []
    for each in sick:
        t = np.arange(int(rng.integers(400, 700))) / RATE
        cells.append(np.sin(2 * np.pi * (3 if each else 5) * t + rng.uniform(0, 6)) + rng.normal(0, 1.0, len(t)))
    for row in np.flatnonzero(rng.random(n) < 0.1):
        cells[row] = None
    return pd.DataFrame({
        "age": rng.normal(60, 10, n), "ecg": pd.Series(cells, dtype=object), "y": np.where(sick, "sick", "well"),
    })  # fmt: skip


@pytest.fixture(scope="module")
def wave_model() -> engine.Fitted:
    recipe = engine.Recipe(
        target="y", rates={"ecg": RATE}, columns={"ecg": "signal"}, candidates=("linear",), time_budget=3.0
    )
    return engine.fit(patients_with_waves(90, 0), recipe)


def test_the_rhythm_is_learned_and_missing_cells_are_no_trouble(wave_model: engine.Fitted) -> None:
    test = patients_with_waves(80, 1)
    there = test["ecg"].notna().to_numpy()
    right = wave_model.predict(test).value == test["y"]
    assert right[there].mean() > 0.97
    report = wave_model.predict(test[~there])
    assert np.all((report.probabilities > 0.02) & (report.probabilities < 0.98))
    (reasons,) = engine.explain(wave_model, test[there].head(1))
    assert reasons.contributions[0]["column"] == "ecg"


def test_files_below_a_folder_are_the_same_as_arrays(wave_model: engine.Fitted, tmp_path: Path) -> None:
    test = patients_with_waves(6, 3).dropna().reset_index(drop=True)
    for i, cell in enumerate(test["ecg"]):
        np.save(tmp_path / f"{i}.npy", cell)
    named_files = test.assign(ecg=[f"{i}.npy" for i in range(len(test))])
    expected = wave_model.predict(test).probabilities
    assert np.array_equal(wave_model.predict(named_files, files=tmp_path).probabilities, expected)
    (tmp_path / "0.npy").write_bytes(b"broken")
    warned = wave_model.predict(named_files, files=tmp_path).warnings
    assert [w["code"] for w in warned[0]] == ["file_unreadable"] and not warned[1]
    outside = wave_model.predict(named_files.assign(ecg="../x.npy"), files=tmp_path).warnings
    assert outside[0][0]["code"] == "file_refused"


def test_a_model_of_signals_is_the_same_in_a_fresh_process(wave_model: engine.Fitted, tmp_path: Path) -> None:
    engine.save(wave_model, tmp_path / "m")
    test = patients_with_waves(5, 4)
    test.to_pickle(tmp_path / "t.pkl")
    code = (
        "import sys, engine, pandas as pd; m = engine.load(sys.argv[1]);"
        "print(m.predict(pd.read_pickle(sys.argv[2])).probabilities[:, 0].tolist()); print('torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m"), str(tmp_path / "t.pkl")],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    numbers, torch = run.stdout.splitlines()
    assert np.array_equal(np.array(eval(numbers)), wave_model.predict(test).probabilities[:, 0])
    assert torch == "False"


def test_a_rate_is_part_of_the_recipe() -> None:
    recipe = engine.Recipe(target="y", rates={"ecg": 250})
    assert engine.Recipe.from_dict(recipe.to_dict()) == recipe
    old = {k: v for k, v in recipe.to_dict().items() if k != "rates"}
    assert engine.Recipe.from_dict(old).rates == {}
    for wrong in (0, -1, "fast", True, float("nan")):
        with pytest.raises(engine.EngineError, match="rates"):
            engine.Recipe(target="y", rates={"ecg": wrong})
    with pytest.raises(engine.EngineError, match="no column"):
        engine.fit(pd.DataFrame({"x": range(30), "y": [0, 1] * 15}), engine.Recipe(target="y", rates={"ecg": 1.0}))


def test_the_encoder_keeps_augmented_signals_in_shape_and_repeats_itself() -> None:
    import torch

    from engine.networks import ENCODERS
    from engine.networks.signal import shifted

    network = ENCODERS[engine.Kind.SIGNAL]
    batch = torch.randn(4, 3, 256, generator=torch.Generator().manual_seed(0))
    once, again = (network.augment(batch, torch.Generator().manual_seed(5), {"augmentation": 1.0}) for _ in range(2))
    assert once.shape == batch.shape and torch.equal(once, again) and not torch.equal(once, batch)
    assert torch.equal(network.augment(batch, torch.Generator(), {"augmentation": 0.0}), batch)
    moved = shifted(batch, torch.tensor([0.25, -0.25, 0.0, 0.0]))
    assert torch.equal(moved[0, :, 64:], batch[0, :, :-64]) and not moved[0, :, :64].any()
    assert torch.equal(moved[1, :, :-64], batch[1, :, 64:])
    module = network.build((3, 256), 8).eval()
    alone = module(batch[:1])
    assert torch.allclose(module(batch)[:1], alone, atol=1e-6)  # a record's result does not depend on the others
