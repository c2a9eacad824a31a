"""Requests of the tus protocol as bare as they are, for tests that look at the protocol itself."""

import base64
import hashlib
from pathlib import Path
from typing import Any

PIECE_TYPE = "application/offset+octet-stream"
TABLE = b"mrn,age,outcome\n" + b"".join(
    b"%d,%d,%s\n" % (i, 20 + i % 60, b"ill" if i % 3 else b"well") for i in range(400)
)


def encoded(**metadata: str) -> str:
    """`Upload-Metadata` of these texts."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())


def digest(content: bytes, algorithm: str = "sha256") -> str:
    """`Upload-Checksum` of the content."""
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


class Tus:
    """The protocol over a test client."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def begin(self, length: int, body: bytes | None = None, name: str = "visit.csv", **headers: Any) -> Any:
        given = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(length),
            "Upload-Metadata": encoded(filename=name),
        }
        given |= {key.replace("_", "-"): value for key, value in headers.items()}
        content = {} if body is None else {"data": body, "content_type": PIECE_TYPE}
        return self.client.generic("POST", "/api/v1/transfers/", headers=given, **content)

    def piece(self, address: str, offset: int, body: bytes, method: str = "PATCH", **headers: Any) -> Any:
        given = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset)}
        given |= {key.replace("_", "-"): value for key, value in headers.items()}
        return self.client.generic(method, address, data=body, content_type=PIECE_TYPE, headers=given)

    def head(self, address: str) -> Any:
        return self.client.head(address, headers={"Tus-Resumable": "1.0.0"})

    def delete(self, address: str) -> Any:
        return self.client.delete(address, headers={"Tus-Resumable": "1.0.0"})

    def offset(self, address: str) -> int:
        answer = self.head(address)
        assert answer.status_code == 200, answer.status_code
        return int(answer.headers["Upload-Offset"])


def pk_of(address: str) -> str:
    """The id in an address."""
    return address.rstrip("/").rpartition("/")[2]


def part_of(address: str) -> Path:
    """The file that its bytes lie in."""
    from datasets.tus import parts
    from datasets.tus.models import Transfer

    return parts.path_of(Transfer.objects.get(pk=pk_of(address)).pk)
