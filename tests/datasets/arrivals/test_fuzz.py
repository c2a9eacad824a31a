"""Bounded fuzzing of everything that parses what strangers send: no crash, no unbounded memory, no file without an outcome."""

import io
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.arrivals import services, signatures
from datasets.arrivals.desk import Desk, answer
from datasets.arrivals.found import Refused
from datasets.arrivals.reasons import REASONS
from datasets.arrivals.unpack import Limits, members
from datasets.masking.texts import mask
from tests.conftest import actor
from tests.datasets.arrivals import samples

pytestmark = [pytest.mark.slow, pytest.mark.once]  # hundreds of files, each opened by its reader
BOUNDED = settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip
MEMORY = 900 * 2**20


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """One real file of every kind, and every bad one: mutation begins where parsers get far."""
    made = [content for _kind, _form, content in samples.good(tmp_path_factory.mktemp("made")).values()]
    return [
        content
        for content in [*made, *(content for _n, content, _c in samples.bad())]
        if 0 < len(content) < 400_000
    ]


@pytest.fixture(scope="module")
def desk() -> Any:
    with Desk(seconds=60, memory=MEMORY) as opened:
        yield opened


@st.composite
def mutated(draw: st.DrawFn, count: int) -> tuple[int, list[tuple[str, float, bytes]]]:
    """Which seed, and up to six changes: bytes overwritten, taken out, put in or doubled, somewhere."""
    changes = st.tuples(
        st.sampled_from(["set", "cut", "add", "repeat", "end"]),
        st.floats(0, 0.999),
        st.binary(min_size=1, max_size=12),
    )
    return draw(st.integers(0, count - 1)), draw(st.lists(changes, min_size=1, max_size=6))


def changed(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    data = bytearray(content)
    for way, where, piece in changes:
        # Most of a format lies at its beginning, so half of the places do.
        place = int(where * 2 * min(len(data), 400)) if where < 0.5 else int((where - 0.5) * 2 * len(data))
        place = min(place, len(data))
        if way == "set":
            data[place : place + len(piece)] = piece
        elif way == "cut":
            del data[place : place + 1 + piece[0]]
        elif way == "add":
            data[place:place] = piece
        elif way == "repeat":
            data[place:place] = data[place : place + 16 * (1 + piece[0])]
        else:
            del data[max(1, place) :]
    return bytes(data)


def test_no_mutation_of_a_real_file_is_left_without_an_answer(
    seeds: list[bytes], desk: Desk, tmp_path: Path
) -> None:
    """Looked at in the process that the job uses, with its limit of memory: found, or refused with a known reason."""
    path = tmp_path / "file"
    codes: set[str] = set()

    @BOUNDED
    @given(mutated(len(seeds)))
    def run(case: tuple[int, list[tuple[str, float, bytes]]]) -> None:
        path.write_bytes(changed(seeds[case[0]], case[1]))
        try:
            found = desk.look(path)
            codes.add(str(found.kind))
        except Refused as why:
            assert why.code in REASONS and "%(" not in why.why
            codes.add(why.code)

    run()
    assert "reader_ended" not in codes and "took_too_long" not in codes, codes
    assert len(codes) > 8, codes


@BOUNDED
@given(st.binary(max_size=3000))
def test_no_noise_is_left_without_an_answer(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        said = answer({"do": "look", "path": file.name, "beside": {}})
    assert "kind" in said or said["code"] in REASONS


@BOUNDED
@given(st.binary(max_size=5000))
def test_signatures_take_any_bytes(content: bytes) -> None:
    assert all(isinstance(claim, str) for claim in signatures.claims(content))
    signatures.plainly_refused(content)
    signatures.zip_at_end(content)


@settings(BOUNDED, max_examples=300)
@given(
    st.lists(
        st.tuples(st.text(max_size=20), st.binary(max_size=200), st.sampled_from([0, 8, 12])), max_size=6
    ),
    st.lists(
        st.tuples(
            st.sampled_from(["set", "cut", "add", "repeat", "end"]),
            st.floats(0, 0.999),
            st.binary(min_size=1, max_size=8),
        ),
        max_size=5,
    ),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_every_member_of_a_mutated_archive_is_answered(
    files: list[tuple[str, bytes, int]], changes: list[tuple[str, float, bytes]]
) -> None:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content, method in files:
            archive.writestr(zipfile.ZipInfo(name or "x"), content, method)
    limits = Limits(total=10 * 2**20, member=2**20, free=2**16)
    with tempfile.NamedTemporaryFile() as file:
        file.write(changed(out.getvalue(), changes))
        file.flush()
        total = 0
        try:
            for member in members(Path(file.name), limits):
                try:
                    with member.open() as stream:
                        total += len(stream.read())
                except Refused as why:
                    assert why.code in REASONS
        except Refused as why:
            assert why.code in REASONS
    assert total <= 2 * limits.total


@BOUNDED
@given(st.text(max_size=400), st.lists(st.text(max_size=40), max_size=5))
def test_masking_takes_any_text(text: str, known: list[str]) -> None:
    masked = mask(text, known)
    places = [(span.start, span.end) for span in masked.spans]
    assert places == sorted(places) and all(a < b for a, b in places)
    assert all(first[1] <= second[0] for first, second in pairwise(places))


@pytest.mark.django_db
def test_no_file_of_a_fuzzed_arrival_is_without_an_outcome(
    seeds: list[bytes], dana: Any, run_jobs: Any
) -> None:
    """The whole way: a hundred mutated files, beside each other and in an archive, through the job."""
    import random

    dice = random.Random(11)
    ways = ["set", "cut", "add", "repeat", "end"]
    files = {
        f"f{n}": changed(
            dice.choice(seeds), [(dice.choice(ways), dice.random(), dice.randbytes(6)) for _ in range(3)]
        )
        for n in range(100)
    }
    content = [(name, io.BytesIO(data)) for name, data in files.items()]
    arrival = services.receive(
        actor=actor(dana),
        files=[*content[:50], ("z.zip", io.BytesIO(samples.packed(dict(list(files.items())[50:]))))],
    )
    run_jobs()
    arrival.refresh_from_db()
    assert arrival.job.state == "done", arrival.job.error_engineer
    rows = list(arrival.files.exclude(kind="archive"))
    assert len(rows) >= 95 and all(row.outcome in ("imported", "duplicate", "quarantined") for row in rows)
    assert all(row.code in REASONS for row in rows if row.outcome == "quarantined")
    assert {f"f{n}" for n in range(100)} <= set(arrival.files.values_list("name", flat=True))
