"""One connection to a portal's REST API: authentication, retries where they are safe, typed errors, paging."""

import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx

from ai_mass.errors import AuthenticationError, UnreachableError, from_response

ATTEMPTS = 4
FIRST_WAIT = 0.5  # seconds; doubled for each further attempt, with jitter
LONGEST_WAIT = 30.0
RETRIED_STATUS = {429, 502, 503, 504}


class Client:
    """A portal's address and a key. Usable as a context manager; safe to share between calls, not between threads.

    Only what is safe to repeat is retried: reads, and creating requests that carry an Idempotency-Key, by which the
    portal answers a repeat with the first answer instead of creating again.
    """

    def __init__(
        self, url: str, key: str, *, timeout: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        if not key:
            raise AuthenticationError(
                401, {"detail": "A key is needed: make one on the portal's “API keys” page."}
            )
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers={
                "Authorization": f"Bearer {key}",
                "Accept": "application/json",
                "User-Agent": "ai-mass-python",
            },
            timeout=httpx.Timeout(timeout, connect=10.0),
            transport=transport,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """GET a resource as parsed JSON."""
        return self.request("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(
        self, path: str, json: Any = None, *, files: Any = None, data: Any = None, creates: bool = True
    ) -> Any:
        """POST to a resource; with `creates` an Idempotency-Key makes it safe to retry.

        A file's stream cannot be sent twice unless it can be rewound, so `files` holds bytes or seekable files.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex} if creates else {}
        return self.request(
            "POST", path, json=json, files=files, data=data, headers=headers, repeatable=creates
        )

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list resource, page after page."""
        page = self.get(path, **params)
        while True:
            yield from page["results"]
            if not page.get("next"):
                return
            page = self.request("GET", page["next"])

    def request(self, method: str, path: str, *, repeatable: bool = False, **kwargs: Any) -> Any:
        """One request with retries. Raises the typed errors of `ai_mass.errors`."""
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        attempts = ATTEMPTS if method == "GET" or repeatable else 1
        for attempt in range(1, attempts + 1):
            try:
                _rewind(kwargs.get("files"))
                response = self._http.request(method, path, **kwargs)
            except httpx.TransportError as error:
                if attempt == attempts:
                    raise UnreachableError(f"{self.url} does not answer: {error}") from error
                time.sleep(wait_before(attempt))
                continue
            if response.status_code in RETRIED_STATUS and attempt < attempts:
                time.sleep(wait_before(attempt, response.headers.get("Retry-After")))
                continue
            return parsed(response)
        raise AssertionError("unreachable")


def _rewind(files: Any) -> None:
    for part in (files or {}).values():
        stream = part[1] if isinstance(part, tuple) else part
        if hasattr(stream, "seek"):
            stream.seek(0)


def wait_before(attempt: int, retry_after: str | None = None) -> float:
    """Seconds to wait before the next attempt: what the portal asked for, else exponential with full jitter."""
    if retry_after and retry_after.isdigit():
        return min(float(retry_after), LONGEST_WAIT)
    return random.uniform(0, FIRST_WAIT * 2**attempt)  # noqa: S311 (jitter, not a secret)


def parsed(response: httpx.Response) -> Any:
    """The body of a good answer; the typed error of any other."""
    if response.status_code == 204:
        return None
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.is_success and body is not None:
        return body
    problem = (
        body
        if isinstance(body, dict)
        else {"detail": f"HTTP {response.status_code} from {response.url.host}"}
    )
    if response.is_success or response.is_redirect:
        problem["detail"] = f"{response.url.host} answered something that is not AI Mass's API"
    raise from_response(response.status_code, problem)
