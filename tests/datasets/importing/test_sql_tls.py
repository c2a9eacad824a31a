"""Encrypted connections to real servers: the right certificate is taken, all else is refused with the reason."""

from typing import Any

import pytest

from datasets.importing.base import SourceError
from tests.datasets.importing import certificates
from tests.datasets.importing.conftest import source
from tests.datasets.importing.databases import NAMED, PASSWORD, Certificate, Database

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("named")]


@pytest.fixture(params=["mariadb", "secure_postgresql"])
def server(request: pytest.FixtureRequest, settings: Any, certificate: Certificate) -> Database:
    settings.IMPORT_CA_FILE = str(certificate.authority)
    found: Database = request.getfixturevalue(request.param)
    return found


def of(server: Database, **changed: Any) -> Any:
    given = {"address": server.of("secured", NAMED), "password": PASSWORD, "tls": "checked", "query": "SELECT 1 AS one"}
    return source("sql", **{**given, **changed})


def test_our_authority_and_the_right_name(server: Database) -> None:
    assert of(server).check() == f"Connected to {NAMED}. The query gives 1 columns."
    query = "SELECT variable_value AS v FROM information_schema.session_status WHERE variable_name = 'SSL_VERSION'"
    if server.scheme == "postgresql":
        query = "SELECT version AS v FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    (row,) = of(server, query=query).preview().rows
    assert row["v"] in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("host", ["other.hospital.test", "127.0.0.1"])
def test_another_name_is_refused(server: Database, host: str) -> None:
    text = refused(of(server, address=server.of("secured", host)), "tls")
    assert "is for another name" in text
    assert of(server, address=server.of("secured", host), tls="encrypted").check().startswith("Connected")


def test_an_unknown_authority_is_refused(server: Database, settings: Any, tmp_path: Any) -> None:
    settings.IMPORT_CA_FILE = str(certificates.make(tmp_path, NAMED)[0])  # another one of the same name
    assert "an authority that is not trusted here" in refused(of(server), "tls")
    settings.IMPORT_CA_FILE = ""  # the public ones
    assert "an authority that is not trusted here" in refused(of(server), "tls")


def test_where_encryption_is_demanded_nothing_else_is_taken(server: Database) -> None:
    code = "tls" if server.scheme == "postgresql" else "sign_in"
    assert "encrypted" in refused(of(server, tls="off"), code)  # MariaDB says the same as for a wrong password


def refused(of: Any, code: str) -> str:
    with pytest.raises(SourceError) as caught:
        of.check()
    assert (caught.value.code, caught.value.passing) == (code, False), str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("encryption", ["checked", "encrypted"])
def test_a_server_without_encryption_is_refused(database: Database, encryption: str) -> None:
    text = refused(of(database, address=database.address, tls=encryption), "tls")
    assert "offers no encryption" in text
