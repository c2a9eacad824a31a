"""Real database servers on 127.0.0.1, each with a warehouse and a user who may read it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pymysql

from demo.processes import free_port
from tests.jobs.process_site import until

PASSWORD = "reader's long pässword 密码"
NAMED = "db.hospital.test"  # whom their certificate is for
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Certificate(NamedTuple):
    """PEM files."""

    authority: Path
    server: Path
    key: Path


@dataclass
class Database:
    scheme: str
    port: int
    run: Callable[[str], None]

    @property
    def address(self) -> str:
        return self.of()

    def of(self, user: str = "reader", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{user}@{host}:{self.port}/warehouse"


def _nobody() -> dict[str, Any]:
    """Both servers refuse to run as root."""
    if os.geteuid() != 0:
        return {"cwd": "/"}
    return {"cwd": "/", "user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


@contextmanager
def _home(*, certificate: Certificate | None = None) -> Iterator[Path]:
    """A folder of the server's user, with the certificate in it."""
    home = Path(tempfile.mkdtemp(prefix="aimass-source-"))
    try:
        for path in certificate or ():
            shutil.copy(path, home)
            (home / path.name).chmod(0o600)
        if os.geteuid() == 0:
            for path in (home, *home.iterdir()):
                shutil.chown(path, "nobody")
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _running(command: list[Any], ready: Callable[[], bool]) -> Iterator[None]:
    process = subprocess.Popen(command, **_nobody(), **QUIET)
    try:
        until(ready, str(command[0]))
        yield
    finally:
        process.send_signal(signal.SIGINT if "postgres" in str(command[0]) else signal.SIGTERM)  # waiting for nobody
        process.wait(30)


def _answers(run: Callable[[], None]) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            run()
        except (psycopg2.OperationalError, pymysql.Error):
            return False
        return True

    return answers


@contextmanager
def postgresql(programs: Path, certificate: Certificate | None = None) -> Iterator[Database]:
    """With a certificate, also TLS and a user `secured` who must use it."""
    port, settings = free_port(), {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    settings |= {"port": str(port), "max_connections": "20", "shared_buffers": "16MB"}

    def run(statement: str, database: str = "warehouse") -> None:
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user="postgres", password="postgres' own", dbname=database
        )
        connection.autocommit = True
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    with _home(certificate=certificate) as home:
        data, password = home / "data", home / "password"
        password.write_text("postgres' own")
        password.chmod(0o644)
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}",
             "--no-sync", "-E", "UTF8", "--locale=C"], check=True, **_nobody(), **QUIET,
        )  # fmt: skip
        if certificate is not None:
            settings |= {"ssl": "on", "ssl_cert_file": str(home / certificate.server.name)}
            settings |= {"ssl_key_file": str(home / certificate.key.name)}
            kept = (data / "pg_hba.conf").read_text()
            (data / "pg_hba.conf").write_text(
                "hostssl all secured all scram-sha-256\nhost all secured all reject\n" + kept
            )
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with _running([programs / "postgres", "-D", data, *options], _answers(lambda: run("SELECT 1", "postgres"))):
            run("CREATE DATABASE warehouse", "postgres")
            quoted = PASSWORD.replace("'", "''")
            for user in ("reader", "secured"):
                run(f"CREATE ROLE {user} LOGIN PASSWORD '{quoted}'; GRANT pg_read_all_data TO {user}")
            yield Database("postgresql", port, run)


@contextmanager
def mariadb(certificate: Certificate) -> Iterator[Database]:
    """With TLS, which the user `secured` must use."""
    with _home(certificate=certificate) as home:
        data, port, door = home / "data", free_port(), home / "door"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
             "--skip-test-db"], check=True, **_nobody(), **QUIET,
        )  # fmt: skip

        def run(statement: str) -> None:
            connection = pymysql.connect(
                unix_socket=str(door), user="root", ssl_disabled=True, autocommit=True,
                client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
            )  # fmt: skip
            with connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE IF NOT EXISTS warehouse CHARACTER SET utf8mb4")
                cursor.execute("USE warehouse")
                cursor.execute(statement)
                while cursor.nextset():
                    pass

        options = {
            "datadir": data, "socket": door, "port": port, "bind-address": "127.0.0.1", "pid-file": home / "pid",
            "innodb-buffer-pool-size": "16M", "innodb-flush-log-at-trx-commit": 0, "character-set-server": "utf8mb4",
            "ssl-cert": home / certificate.server.name, "ssl-key": home / certificate.key.name,
        }  # fmt: skip
        command = ["mariadbd", "--no-defaults", "--skip-name-resolve", *(f"--{name}={value}" for name, value in options.items())]
        with _running(command, lambda: door.exists() and _answers(lambda: run("SELECT 1"))()):
            quoted = PASSWORD.replace("'", "''")
            run(f"CREATE USER reader IDENTIFIED BY '{quoted}'; CREATE USER secured IDENTIFIED BY '{quoted}' REQUIRE SSL;"
                "GRANT SELECT ON warehouse.* TO reader; GRANT SELECT ON warehouse.* TO secured")  # fmt: skip
            yield Database("mysql", port, run)
