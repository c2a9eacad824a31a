"""The SQL source against a real PostgreSQL, which has its own database whatever the portal's is."""

import logging
import socket
import threading
from contextlib import suppress

import pytest

from datasets.importing.base import SourceError
from datasets.importing.network import Network
from tests.datasets.importing.conftest import LABS as QUERY
from tests.datasets.importing.conftest import drained, refused, rows_of
from tests.datasets.importing.conftest import of_labs as of
from tests.datasets.importing.databases import PASSWORD, Database

pytestmark = pytest.mark.once


@pytest.fixture
def labs(database: Database) -> Database:
    database.run(
        "DROP TABLE IF EXISTS labs; CREATE TABLE labs (id serial, name text, taken date, result numeric, at timestamptz);"
        "INSERT INTO labs (name, taken, result, at) SELECT 'p' || n, '2026-01-01', n / 4.0, '2026-01-01Z'::timestamptz"
        " + (n / 10) * interval '1 second' FROM generate_series(0, 2499) AS n"
    )
    return database


def test_check_and_preview(labs: Database) -> None:
    assert of(labs).check() == "Connected to 127.0.0.1. The query gives 5 columns."
    preview = of(labs, query=QUERY + " ORDER BY id ;").preview(3)
    assert preview.fields == ["id", "name", "taken", "result", "at"]
    assert len(preview.rows) == 3
    assert preview.rows[1] == {
        "id": "2", "name": "p1", "taken": "2026-01-01", "result": "0.25000000000000000000", "at": "2026-01-01T00:00:00+00:00"
    }  # fmt: skip


@pytest.mark.parametrize("column", ["id", "at", "result"])
def test_reads_all_then_nothing_then_the_new(labs: Database, column: str) -> None:
    pieces, cursor = drained(of(labs, cursor_column=column))
    rows = rows_of(pieces)
    assert [len(piece.rows) for piece in pieces] == [1000, 1000, 500]
    assert {row["id"] for row in rows} == {str(n) for n in range(1, 2501)}
    assert drained(of(labs, cursor_column=column), cursor) == ([], cursor)
    labs.run("INSERT INTO labs (name, result, at) VALUES ('new', 9999.5, '2026-02-01Z')")
    pieces, later = drained(of(labs, cursor_column=column), cursor)
    assert [row["name"] for row in rows_of(pieces)] == ["new"]
    assert drained(of(labs, cursor_column=column), later)[0] == []


def test_what_shares_the_cursor_value_is_neither_lost_nor_repeated_for_ever(labs: Database) -> None:
    given = {"cursor_column": "at", "overlap_minutes": "0"}
    _pieces, cursor = drained(of(labs, **given))
    labs.run("INSERT INTO labs (name, at) SELECT 'late', max(at) FROM labs")
    pieces, later = drained(of(labs, **given), cursor)
    names = [row["name"] for row in rows_of(pieces)]
    assert sorted(names) == sorted([*(f"p{n}" for n in range(2490, 2500)), "late"])  # the group, once more
    assert drained(of(labs, **given), later)[0] == []


LATE = {
    "at": "'2026-01-01Z'::timestamptz + 245 * interval '1 second'", "taken": "'2025-12-31'", "id": "2000", "result": "7.5",
    "since": "'2026-01-01'::timestamp + 245 * interval '1 second'",
}  # fmt: skip


@pytest.mark.parametrize("column", LATE)
def test_what_is_stored_late_with_an_earlier_value_comes(labs: Database, column: str) -> None:
    labs.run("ALTER TABLE labs ADD since timestamp; UPDATE labs SET since = at AT TIME ZONE 'UTC'")
    labs.run("DELETE FROM labs WHERE id = 2000")
    given = {"cursor_column": column, "query": QUERY.replace(" FROM", ", since FROM")}
    _pieces, cursor = drained(of(labs, **given))
    assert drained(of(labs, **given), cursor) == ([], cursor)
    labs.run(f"INSERT INTO labs (name, {column}) VALUES ('late', {LATE[column]})")
    pieces, later = drained(of(labs, **given), cursor)
    assert "late" in [row["name"] for row in rows_of(pieces)]
    assert later["after"] == cursor["after"]
    assert drained(of(labs, **given), later) == ([], later)


@pytest.mark.parametrize("column", ["at", "taken"])
def test_a_value_in_the_future_does_not_silence_it(labs: Database, column: str) -> None:
    labs.run(f"INSERT INTO labs (name, {column}) VALUES ('open', '9999-12-31')")
    given = {"cursor_column": column}
    pieces, cursor = drained(of(labs, **given))
    assert "open" in [row["name"] for row in rows_of(pieces)]
    assert cursor["after"].startswith("2026-01-01")
    assert drained(of(labs, **given), cursor) == ([], cursor)  # not again and again
    labs.run(f"INSERT INTO labs (name, {column}) VALUES ('new', '2026-03-01')")
    pieces, later = drained(of(labs, **given), cursor)
    assert [row["name"] for row in rows_of(pieces)] == ["new"]
    labs.run(f"INSERT INTO labs (name, {column}) VALUES ('open too', '2500-01-01')")
    pieces, last = drained(of(labs, **given), later)
    assert sorted(str(row["name"]) for row in rows_of(pieces)) == ["open", "open too"]
    assert drained(of(labs, **given), last) == ([], last)


def test_goes_on_where_it_was_cut_off(labs: Database) -> None:
    for change in (
        "",
        "UPDATE labs SET at = '2026-06-01Z'",
    ):  # all of one value: the first thousand are a part of it
        if change:
            labs.run(change)
        half = of(labs, cursor_column="at")
        got = half.pieces({})
        first = next(got)
        got.close()
        assert len(first.rows) == 1000
        rest, cursor = drained(of(labs, cursor_column="at"), first.cursor)
        assert {row["id"] for row in [*first.rows, *rows_of(rest)]} == {str(n) for n in range(1, 2501)}
        assert drained(of(labs, cursor_column="at"), cursor)[0] == []


def test_a_reading_that_broke_off_holds_nothing_in_the_database(labs: Database) -> None:
    broken = of(labs, cursor_column="at")
    got = broken.pieces({})
    next(got)  # as an error's traceback would keep it
    broken.close()
    labs.run("SET lock_timeout = '5s'; ALTER TABLE labs ADD later integer")
    got.close()
    assert drained(of(labs, cursor_column="at"), {})[0]


def test_wide_rows_come_in_small_pieces(labs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.importing.sources.sql_servers.HELD", 1_000_000)
    query = "SELECT n AS id, repeat('x', 900000) AS scan FROM generate_series(1, 40) AS n"
    pieces, _cursor = drained(of(labs, query=query, cursor_column="id"))
    assert [row["id"] for row in rows_of(pieces)] == [str(n) for n in range(1, 41)]
    assert max(len(piece.rows) for piece in pieces) == 9  # 8 million characters and not a thousand rows


def test_a_count_that_takes_long_is_left_out(labs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.importing.sources.sql.COUNT_SECONDS", 1)
    labs.run(
        "CREATE OR REPLACE FUNCTION slow(n int) RETURNS int AS 'SELECT n FROM pg_sleep(0.2)' LANGUAGE sql VOLATILE"
    )
    query = "SELECT slow(id) AS n, id FROM labs WHERE id <= 10"
    assert of(labs, query=query, cursor_column="n").preview().notes == []
    pieces, cursor = drained(of(labs, query=query, cursor_column="n"))
    assert len(rows_of(pieces)) == 10
    assert cursor["after"] == "10"


def test_rows_without_a_cursor_value_are_told_of(labs: Database) -> None:
    labs.run("UPDATE labs SET at = NULL WHERE id <= 7")
    assert of(labs, cursor_column="at").preview().notes == ["7 rows have no value in at and are never read."]
    pieces, cursor = drained(of(labs, cursor_column="at"))
    assert len(rows_of(pieces)) == 2493
    assert [(fault.where, fault.reason) for fault in pieces[-1].faulty] == [
        ("at", "7 rows have no value here and are not read.")
    ]
    assert drained(of(labs, cursor_column="at"), cursor)[0] == []


def test_without_a_cursor_column_all_is_read_each_time(labs: Database) -> None:
    pieces, cursor = drained(of(labs))
    assert len(rows_of(pieces)) == 2500
    assert cursor == {}


def test_kinds_of_values(labs: Database) -> None:
    query = "SELECT 1.50::numeric AS a, true AS b, NULL::text AS c, 'NaN'::float8 AS d, "
    query += "'[1, {\"k\": \"ü\"}]'::jsonb AS e, 2.5::float4 AS f"
    (row,) = rows_of(drained(of(labs, query=query))[0])
    assert row == {"a": "1.50", "b": "true", "c": None, "d": None, "e": '[1, {"k": "ü"}]', "f": "2.5"}
    (piece,), _cursor = drained(of(labs, query="SELECT decode('00ff', 'hex') AS scan UNION ALL SELECT NULL"))
    assert len(piece.rows) == 1
    assert piece.faulty[0].where == "row 1"
    assert "binary" in piece.faulty[0].reason


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM labs RETURNING id",
        "WITH gone AS (DELETE FROM labs RETURNING id) SELECT * FROM gone",
        "SELECT 1) AS q; DELETE FROM labs; SELECT * FROM (SELECT 2",
        "SELECT 1) AS q; COMMIT; DELETE FROM labs; --",
        "SELECT nextval('labs_id_seq')",
        "SELECT set_config('transaction_read_only', 'off', false)) AS q, (SELECT nextval('labs_id_seq')",
        "SELECT * INTO other FROM labs",
        "COPY labs TO '/tmp/out'",
    ],
)
def test_only_one_statement_that_only_reads(labs: Database, query: str) -> None:
    labs.run("GRANT ALL ON labs, labs_id_seq TO reader")
    with pytest.raises(SourceError) as caught:
        drained(of(labs, query=query))
    assert caught.value.code == "query"
    assert not caught.value.passing
    assert len(rows_of(drained(of(labs))[0])) == 2500


def test_errors_tell_what_to_do_and_no_value(labs: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cases = [
        ({"query": "SELECT 'Meyer'::int"}, "query"), ({"query": "SELECT nothing FROM labs"}, "query"),
        ({"query": "SELECT FROM WHERE 'Meyer'"}, "query"), ({"query": "SELECT id, id FROM labs"}, "query"),
        ({"cursor_column": "name"}, "query"), ({"cursor_column": "nothing"}, "query"), ({"password": "wrong"}, "sign_in"),
        ({"query": "SELECT * FROM pg_authid"}, "forbidden"), ({"address": labs.address + "x"}, "not_found"),
        ({"address": labs.address.replace(str(labs.port), "1")}, "unreachable"),
        ({"tls": "checked"}, "tls"), ({"tls": "encrypted"}, "tls"),
    ]  # fmt: skip
    labs.run("REVOKE pg_read_all_data FROM reader; GRANT SELECT ON labs TO reader")
    try:
        for changed, code in cases:
            with pytest.raises(SourceError) as caught:
                drained(of(labs, **changed))
            assert caught.value.code == code, (changed, str(caught.value))
            assert caught.value.passing is (code == "unreachable")
            assert "Meyer" not in str(caught.value)
            assert caught.value.__cause__ is None
    finally:
        labs.run("GRANT pg_read_all_data TO reader")
    assert "Meyer" not in caplog.text
    assert PASSWORD not in caplog.text


def test_what_takes_too_long_is_ended(labs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.importing.sources.sql.LOOK_SECONDS", 1)
    with pytest.raises(SourceError) as caught:
        of(labs, query="SELECT pg_sleep(60)").preview()
    assert (caught.value.code, caught.value.passing) == ("timeout", True)


def test_a_server_that_falls_silent_is_left(labs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in between passes on what signs in, and nothing from the query on."""
    monkeypatch.setattr("datasets.importing.sources.sql.LOOK_SECONDS", 1)
    listening = socket.create_server(("127.0.0.1", 0))

    both: list[socket.socket] = []

    def relay() -> None:
        client, _address = listening.accept()
        server = socket.create_connection(("127.0.0.1", labs.port))
        both.extend((client, server))

        def pump(from_: socket.socket, to: socket.socket, until: bytes = b"") -> None:
            while data := from_.recv(65536):
                if until and until in data:
                    return  # swallowed
                to.sendall(data)

        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        pump(client, server, b"aimass.query")

    threading.Thread(target=relay, daemon=True).start()
    with listening, pytest.raises(SourceError) as caught:
        of(labs, address=labs.address.replace(str(labs.port), str(listening.getsockname()[1]))).preview()
    for each in both:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
    assert (caught.value.code, caught.value.passing) == ("unreachable", True)


def test_the_guard_judges_the_address(labs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    names = {"db.hospital.test": "127.0.0.1", "inside.hospital.test": "10.1.2.3"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: resolve(names.get(host, host), *a, **k))
    named = labs.address.replace("127.0.0.1", "db.hospital.test")
    assert of(labs, address=named).check().startswith("Connected to db.hospital.test.")
    with pytest.raises(SourceError) as caught:
        of(labs, address=named.replace("db.", "inside.")).check()
    assert caught.value.code == "address_refused"
    with pytest.raises(SourceError) as caught:
        of(labs, network=Network()).check()
    assert caught.value.code == "address_refused"


def test_the_form_refuses_what_the_guard_could_not_check() -> None:
    for address in (
        "sqlite:////etc/passwd", "postgresql+psycopg://r@h/d", "mssql://r@h/d", "postgresql://r:secret@h/d", "oracle://r@h/d",
        "postgresql://r@h/d?host=10.0.0.1", "postgresql://r@/d", "postgresql://h/d", "postgresql://r@h", "no address",
        "postgresql://r@%2Ftmp/d", "postgresql://r@h,i/d", "mysql+mysqldb://r@h/d", "mysql://r@h/d?unix_socket=/tmp/x",
    ):  # fmt: skip
        assert list(refused("sql", address=address, tls="checked", query=QUERY)) == ["address"], address
    assert set(refused("sql")) == {"address", "tls", "query"}
