"""The SQL source against a real MariaDB."""

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pymysql
import pytest

from datasets.importing.base import SourceError
from datasets.importing.network import Network
from datasets.importing.sources.sql_form import SqlForm
from tests.datasets.importing.conftest import LABS as QUERY
from tests.datasets.importing.conftest import drained, rows_of
from tests.datasets.importing.conftest import of_labs as of
from tests.datasets.importing.databases import NAMED, PASSWORD, Database

pytestmark = pytest.mark.once


@pytest.fixture
def labs(mariadb: Database) -> Database:
    mariadb.run(
        "DROP TABLE IF EXISTS labs; CREATE TABLE labs (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, name text, taken date,"
        " result decimal(12,4), at datetime(6));"
        "INSERT INTO labs (name, taken, result, at) SELECT concat('p', seq), '2026-01-01', seq / 4,"
        " '2026-01-01' + interval floor(seq / 10) second FROM seq_0_to_1199"
    )
    return mariadb


def test_check_and_preview(labs: Database) -> None:
    assert of(labs).check() == "Connected to 127.0.0.1. The query gives 5 columns."
    assert of(labs, address=labs.address.replace("mysql:", "mariadb:")).check().startswith("Connected")
    preview = of(labs, query=QUERY + " WHERE name LIKE 'p_' -- to be sure").preview(3)
    assert preview.fields == ["id", "name", "taken", "result", "at"]
    assert preview.rows[1] == {
        "id": "2", "name": "p1", "taken": "2026-01-01", "result": "0.2500", "at": "2026-01-01T00:00:00"
    }  # fmt: skip


LATE = {"at": "'2026-01-01 00:01:15'", "taken": "'2025-12-31'", "id": "900", "result": "7.5"}


@pytest.mark.parametrize("column", LATE)
def test_all_then_nothing_then_the_new_and_the_late(labs: Database, column: str) -> None:
    labs.run("DELETE FROM labs WHERE id = 900")
    pieces, cursor = drained(of(labs, cursor_column=column))
    assert [len(piece.rows) for piece in pieces] == [1000, 199]
    assert len({row["id"] for row in rows_of(pieces)}) == 1199
    assert drained(of(labs, cursor_column=column), cursor) == ([], cursor)
    labs.run("INSERT INTO labs VALUES (1300, 'new', '2026-02-01', 9999.5, '2026-02-01 00:00:00.000001')")
    pieces, _later = drained(of(labs, cursor_column=column), cursor)
    assert [row["name"] for row in rows_of(pieces)] == ["new"]
    labs.run(f"DELETE FROM labs WHERE id = 1300; INSERT INTO labs (name, {column}) VALUES ('late', {LATE[column]})")
    pieces, _last = drained(of(labs, cursor_column=column), cursor)
    assert "late" in [row["name"] for row in rows_of(pieces)]


def test_goes_on_where_it_was_cut_off(labs: Database) -> None:
    half = of(labs, cursor_column="at")
    got = half.pieces({})
    first = next(got)
    got.close()
    rest, cursor = drained(of(labs, cursor_column="at"), first.cursor)
    assert {row["id"] for row in [*first.rows, *rows_of(rest)]} == {str(n) for n in range(1, 1201)}
    assert drained(of(labs, cursor_column="at"), cursor)[0] == []


def test_a_large_number_is_compared_as_a_number(labs: Database) -> None:
    """As texts, or as floating-point numbers, 2^63 and the next one would be the same."""
    labs.run("DELETE FROM labs; INSERT INTO labs (id, name) VALUES (9223372036854775808, 'one')")
    given = {"cursor_column": "id", "overlap_numbers": "0"}
    _pieces, cursor = drained(of(labs, **given))
    labs.run("INSERT INTO labs (id, name) VALUES (9223372036854775809, 'two')")
    assert [row["name"] for row in rows_of(drained(of(labs, **given), cursor)[0])] == ["two"]


def test_a_large_result_is_not_held_and_is_let_go_of_at_once(labs: Database) -> None:
    """Two hundred million rows would fill the memory and an hour; the first thousand come at once."""
    query = "SELECT a.seq AS id, repeat('x', 100) AS text FROM seq_1_to_200000000 AS a"
    began = time.monotonic()
    got = of(labs, query=query).pieces({})
    assert len(next(got).rows) == 1000
    got.close()
    assert time.monotonic() - began < 10
    assert_idle(labs)


def assert_idle(labs: Database) -> None:
    """Nothing of the reader's is at work in the server."""
    end = time.monotonic() + 10
    busy = "SELECT count(*) INTO @n FROM information_schema.processlist WHERE user = 'reader'; "
    while True:
        try:
            labs.run(busy + "SELECT 1 / IF(@n = 0, 1, (SELECT 1 UNION SELECT 2))")  # an error of two rows where there is one
        except pymysql.Error:
            assert time.monotonic() < end, "the query runs on"
            time.sleep(0.1)
        else:
            return


def test_kinds_of_values(labs: Database) -> None:
    labs.run(
        "SET sql_mode = ''; DROP TABLE IF EXISTS kinds; CREATE TABLE kinds (id int, money decimal(20,6), day date, at datetime,"
        " stamp timestamp NULL, span time, year year, yes tinyint(1), bits bit(9), one bit(1), name text, tag varchar(20)"
        " CHARACTER SET latin1, colour enum('红','blue'), reading float, precise double, doc json, half date);"
        "INSERT INTO kinds VALUES (1, 1234567.890000, '2026-02-03', '2026-02-03 04:05:06', '2026-02-03 04:05:06', '-01:30:00',"
        " 2026, 1, b'100000001', b'1', '高血压 😀', 'Müller', '红', 0.1, 0.1, '{\"k\": \"ü\"}', '2026-03-00'),"
        "(2, NULL, '0000-00-00', '0000-00-00 00:00:00', NULL, NULL, NULL, 0, NULL, b'0', '', '', NULL, NULL, NULL, NULL, NULL);"
    )
    full, empty = rows_of(drained(of(labs, query="SELECT * FROM kinds ORDER BY id"))[0])
    assert full == {
        "id": "1", "money": "1234567.890000", "day": "2026-02-03", "at": "2026-02-03T04:05:06", "stamp": "2026-02-03T04:05:06",
        "span": "-5400.0", "year": "2026", "yes": "1", "bits": "257", "one": "1", "name": "高血压 😀", "tag": "Müller",
        "colour": "红", "reading": "0.1", "precise": "0.1", "doc": '{"k": "ü"}', "half": "2026-03-00",
    }  # fmt: skip
    assert {name: value for name, value in empty.items() if value is not None} == {"id": "2", "yes": "0", "one": "0"}
    (piece,), _cursor = drained(of(labs, query="SELECT x'00ff' AS scan UNION ALL SELECT NULL"))
    assert len(piece.rows) == 1
    assert "binary" in piece.faulty[0].reason


@pytest.mark.parametrize("column", ["day", "at"])
def test_a_date_that_is_none_is_no_cursor(labs: Database, column: str) -> None:
    labs.run(
        "SET sql_mode = ''; DROP TABLE IF EXISTS old; CREATE TABLE old (id int, day date NOT NULL, at datetime);"
        "INSERT INTO old VALUES (1, '0000-00-00', '0000-00-00'), (2, '2026-00-00', '2026-01-00'), (3, '2026-01-01', '2026-01-01')"
    )
    given = {"query": "SELECT * FROM old", "cursor_column": column}
    assert of(labs, **given).preview().notes == [f"2 rows have no value in {column} and are never read."]
    pieces, cursor = drained(of(labs, **given))
    assert [row["id"] for row in rows_of(pieces)] == ["3"]
    assert drained(of(labs, **given), cursor) == ([], cursor)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM labs",
        "SELECT 1) AS q; DELETE FROM labs; SELECT * FROM (SELECT 2",
        "SELECT 1) AS q; COMMIT; DELETE FROM labs; -- ",
        "SELECT emptied()",
        "SELECT NEXT VALUE FOR numbers",
        "SELECT id FROM labs INTO OUTFILE '/tmp/aimass-out'",
        "SELECT 1) AS q INTO/**/DUMPFILE '/tmp/aimass-out' /*",
        "SELECT 1 AS a) AS q INTO @kept -- ",
        "CALL emptied()",
    ],
)
def test_only_one_statement_that_only_reads(labs: Database, query: str) -> None:
    labs.run(
        "GRANT ALL ON *.* TO reader; CREATE SEQUENCE IF NOT EXISTS numbers; CREATE OR REPLACE FUNCTION emptied() RETURNS int"
        " MODIFIES SQL DATA BEGIN DELETE FROM labs; RETURN 1; END"
    )
    try:
        with pytest.raises(SourceError) as caught:
            drained(of(labs, query=query))
    finally:
        labs.run("REVOKE ALL ON *.* FROM reader")
    assert (caught.value.code, caught.value.passing) == ("query", False)
    assert len(rows_of(drained(of(labs))[0])) == 1200


def test_errors_tell_what_to_do_and_no_value(labs: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cases = [
        ({"query": "SELECT nothing FROM labs"}, "query"), ({"query": "SELECT * FROM nowhere"}, "query"),
        ({"query": "SELECT FROM WHERE 'Meyer'"}, "query"), ({"query": "SELECT id, id FROM labs"}, "query"),
        ({"query": "SELECT * FROM labs WHERE name = (SELECT 'Meyer' UNION SELECT 'Huber')"}, "query"),
        ({"cursor_column": "name"}, "query"), ({"cursor_column": "nothing"}, "query"), ({"password": "wrong"}, "sign_in"),
        ({"query": "SELECT * FROM mysql.global_priv"}, "forbidden"), ({"address": labs.address + "x"}, "forbidden"),
        ({"address": labs.address.replace(str(labs.port), "1")}, "unreachable"), ({"address": labs.of("secured")}, "sign_in"),
    ]  # fmt: skip
    for changed, code in cases:
        with pytest.raises(SourceError) as caught:
            drained(of(labs, **changed))
        assert caught.value.code == code, (changed, str(caught.value))
        assert caught.value.passing is (code == "unreachable")
        assert "Meyer" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert "Meyer" not in caplog.text
    assert PASSWORD not in caplog.text


def test_what_takes_too_long_is_ended(labs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.importing.sources.sql.LOOK_SECONDS", 1)
    with pytest.raises(SourceError) as caught:
        of(labs, query="SELECT count(*) AS n FROM seq_1_to_100000000 AS a, seq_1_to_100000000 AS b").preview()
    assert (caught.value.code, caught.value.passing) == ("timeout", True)
    assert_idle(labs)


def test_a_query_that_is_given_up_ends_in_the_server(labs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has sent nothing yet, so that the server would not notice that nobody listens."""
    monkeypatch.setattr("datasets.importing.sources.sql.READ_SECONDS", 0.5)
    with pytest.raises(SourceError) as caught:
        drained(of(labs, query="SELECT count(*) AS n FROM seq_1_to_100000000 AS a, seq_1_to_100000000 AS b"))
    assert (caught.value.code, caught.value.passing) == ("unreachable", True)
    assert_idle(labs)


def test_a_count_that_takes_long_is_left_out(labs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.importing.sources.sql.COUNT_SECONDS", 1)
    query = "SELECT id + sleep(0.2) AS n FROM labs WHERE id <= 10"
    assert of(labs, query=query, cursor_column="n").preview().notes == []


def test_the_guard_judges_the_address(labs: Database, named: None) -> None:
    assert of(labs, address=labs.of(host=NAMED)).check().startswith(f"Connected to {NAMED}.")
    for changed in ({"address": labs.of(host="inside.hospital.test")}, {"network": Network()}):
        with pytest.raises(SourceError) as caught:
            of(labs, **changed).check()
        assert caught.value.code == "address_refused"


@contextmanager
def between(port: int, change: Callable[[bytes], bytes]) -> Iterator[int]:
    """Somebody between us and the server, who changes what it says."""
    listening = socket.create_server(("127.0.0.1", 0))
    both: list[socket.socket] = []

    def pump(from_: socket.socket, to: socket.socket, change: Callable[[bytes], bytes]) -> None:
        with suppress(OSError):
            while data := from_.recv(65536):
                to.sendall(change(data))
            to.shutdown(socket.SHUT_WR)

    def relay() -> None:
        with suppress(OSError):
            client, _address = listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            both.extend((client, server))
            threading.Thread(target=pump, args=(client, server, lambda data: data), daemon=True).start()
            pump(server, client, change)

    threading.Thread(target=relay, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()
        for each in both:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.mark.parametrize("encryption", ["checked", "encrypted"])
def test_somebody_between_can_not_switch_encryption_off(labs: Database, encryption: str) -> None:
    def without_tls(data: bytes) -> bytes:
        if b"mysql_native_password" not in data[:200]:
            return data
        at = data.index(b"\0", 5) + 1 + 4 + 8 + 1  # behind version, connection and salt: the lower capabilities
        flags = struct.unpack("<H", data[at : at + 2])[0] & ~pymysql.constants.CLIENT.SSL
        return data[:at] + struct.pack("<H", flags) + data[at + 2 :]

    with between(labs.port, without_tls) as port, pytest.raises(SourceError) as caught:
        of(labs, address=labs.address.replace(str(labs.port), str(port)), tls=encryption).check()
    assert caught.value.code == "tls"
    assert "offers no encryption" in str(caught.value)


@pytest.mark.parametrize(("answer", "code"), [(b"\xfb/etc/passwd", "unreachable"), (b"\xfa\0\0nonsense", "unreachable")])
def test_a_server_that_asks_for_a_file_or_talks_nonsense_gets_nothing(labs: Database, answer: bytes, code: str) -> None:
    seen: list[bytes] = []

    def change(data: bytes) -> bytes:
        seen.append(data)
        return data if len(seen) < 3 else len(answer).to_bytes(3, "little") + b"\1" + answer

    with between(labs.port, change) as port, pytest.raises(SourceError) as caught:
        of(labs, address=labs.address.replace(str(labs.port), str(port))).check()
    assert caught.value.code == code


@pytest.mark.parametrize("plugin", ["mysql_clear_password", "dialog", "mysql_old_password"])
def test_the_password_is_not_given_away(labs: Database, plugin: str) -> None:
    seen: list[bytes] = []

    def switch(data: bytes) -> bytes:
        seen.append(data)
        asked = b"\xfe" + plugin.encode() + b"\0\2Password: "
        return data if len(seen) < 2 else len(asked).to_bytes(3, "little") + b"\2" + asked

    with between(labs.port, switch) as port, pytest.raises(SourceError) as caught:
        of(labs, address=labs.address.replace(str(labs.port), str(port))).check()
    assert caught.value.code == "sign_in"
    assert "not known here" in str(caught.value)


def test_the_form_takes_both_names() -> None:
    for address in ("mysql://r@h/d", "mariadb://r@h/d", "mysql+pymysql://r@h/d"):
        assert SqlForm(data={"address": address, "tls": "checked", "query": "SELECT 1"}).is_valid(), address
