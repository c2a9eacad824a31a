"""The baseline of bench.serve: a bare WSGI function that runs the same model, without users, checks, audit or framework.

POST /one predicts one record and answers; POST /many parses, predicts, and inserts the rows of the same table with one
executemany. Read from the environment: BENCH_FILE, a JSON file that bench.serve has written.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import engine

FACTS = json.loads(Path(os.environ["BENCH_FILE"]).read_text())
FITTED = engine.load(FACTS["artefact"])
COLUMNS = (
    "id", "organisation_id", "model_id", "model_version_id", "position", "patient_key", "inputs", "value", "probability",
    "output", "verdict", "requested_by_id", "created_at",
)  # fmt: skip
SQL = f"INSERT INTO inference_diagnosis ({', '.join(COLUMNS)}) VALUES ({', '.join(['?'] * len(COLUMNS))})"


def connect() -> Any:
    """A connection with the portal's own settings of the database."""
    if FACTS["sqlite"]:
        import sqlite3

        connection = sqlite3.connect(FACTS["sqlite"], timeout=20, isolation_level="IMMEDIATE")
        connection.executescript(FACTS["pragmas"])
        return connection
    import psycopg2

    return psycopg2.connect(**FACTS["postgresql"])


OPEN = threading.local()  # each of the server's threads has a connection of its own, as Django's have


def database() -> Any:
    """This thread's connection."""
    if not hasattr(OPEN, "connection"):
        OPEN.connection = connect()
    return OPEN.connection


def ident(text: str) -> str:
    return text.replace("-", "") if FACTS["sqlite"] else text


def predict(records: list[dict[str, Any]]) -> list[tuple[str, float, dict[str, Any]]]:
    """(value, probability, output) of each record."""
    found = FITTED.predict_records(records)
    assert found.probabilities is not None and found.sets is not None
    names = FITTED.classes_.tolist()
    p, intervals, ood = (
        found.probabilities.tolist(),
        found.interval.tolist(),
        found.out_of_distribution.tolist(),
    )
    return [
        (value, row[names.index(value)], {"probabilities": dict(zip(names, row, strict=True)), "interval": intervals[i],
         "set": found.sets[i], "out_of_distribution": ood[i], "warnings": found.warnings[i]})
        for i, (value, row) in enumerate(zip(found.value.tolist(), p, strict=True))
    ]  # fmt: skip


def insert(records: list[dict[str, Any]], found: list[tuple[str, float, dict[str, Any]]]) -> None:
    """One executemany, one transaction."""
    now = str(datetime.now(UTC))
    same = [ident(FACTS[name]) for name in ("organisation", "model", "version")]
    rows = [
        (
            ident(str(uuid4())),
            *same,
            i,
            "",
            json.dumps(records[i]),
            value,
            p,
            json.dumps(output),
            "",
            FACTS["user"],
            now,
        )
        for i, (value, p, output) in enumerate(found)
    ]
    connection = database()
    cursor = connection.cursor()
    cursor.executemany(SQL if FACTS["sqlite"] else SQL.replace("?", "%s"), rows)
    connection.commit()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The whole server."""
    data = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    if environ["PATH_INFO"] == "/many":
        found = predict(data["records"])
        insert(data["records"], found)
    else:
        found = predict([data["record"]])
    body = json.dumps([{"value": value, "probability": p, **output} for value, p, output in found]).encode()
    start_response("201 Created", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
