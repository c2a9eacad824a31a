"""A browser without a screen: follows links, reads forms, fills them in and sends them, as a person does."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx


@dataclass
class Form:
    """A form of a page with the values that it would send."""

    action: str
    method: str
    values: dict[str, list[str]] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """A parsed page: its forms, links, headings and text."""

    def __init__(self, url: str, html: str) -> None:
        super().__init__()
        self.url, self.html = url, html
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.text = ""
        self._form: Form | None = None
        self._select: str | None = None
        self._textarea: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        got = {k: v or "" for k, v in attrs}
        name = got.get("name", "")
        if tag == "a" and "href" in got:
            self.links.append(got["href"])
        if tag == "form":
            self._form = Form(
                urljoin(self.url, got.get("action", "") or self.url), got.get("method", "get").lower()
            )
            self.forms.append(self._form)
        if self._form is None or not name:
            if tag == "option" and self._form is not None and self._select:
                self._option(got)
            return
        if tag in {"input", "select", "textarea"}:
            self._form.names.append(name)
        if tag == "input":
            kind = got.get("type", "text")
            if kind in {"checkbox", "radio"}:
                self._form.choices.setdefault(name, []).append(got.get("value", "on"))
            if (kind not in {"checkbox", "radio"} or "checked" in got) and kind not in {
                "submit",
                "file",
                "button",
            }:
                self._form.values.setdefault(name, []).append(
                    got.get("value", "on" if kind == "checkbox" else "")
                )
        elif tag == "select":
            self._select = name
        elif tag == "textarea":
            self._textarea = name
            self._form.values[name] = [""]
        elif tag == "button":
            self._form.buttons.append((name, got.get("value", "")))

    def _option(self, got: dict[str, str]) -> None:
        assert self._form is not None and self._select is not None
        self._form.choices.setdefault(self._select, []).append(got.get("value", ""))
        if "selected" in got or self._select not in self._form.values:
            self._form.values[self._select] = [got.get("value", "")]

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._textarea = None

    def handle_data(self, data: str) -> None:
        if self._textarea and self._form is not None:
            self._form.values[self._textarea][0] += data
        else:
            self.text += data

    def form(self, containing: str = "", field: str = "") -> Form:
        """The form whose action contains a text and that has a field. Raises LookupError, saying what there is."""
        for form in self.forms:
            if containing in form.action and (
                not field or any(n == field or n.endswith(field) for n in form.names)
            ):
                return form
        there = "; ".join(f"{f.method} {f.action} {f.names}" for f in self.forms)
        raise LookupError(f"{self.url} has no form to “{containing}” with “{field}”. It has: {there}")

    def link(self, containing: str) -> str:
        """The first link whose address contains a text. Raises LookupError."""
        for link in self.links:
            if containing in link:
                return urljoin(self.url, link)
        raise LookupError(f"{self.url} has no link to “{containing}”: {self.links}")


class Browser:
    """Cookies, redirects, forms. Raises RuntimeError for an answer of 400 and above."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(
            base_url=url, follow_redirects=True, timeout=60, headers={"Accept-Language": "en"}
        )

    def open(self, address: str) -> Page:
        """GET a page."""
        return self._page(self.http.get(address))

    def send(self, form: Form, files: dict[str, Path] | None = None, **values: Any) -> Page:
        """Fill in and send a form; names may be given by their end. Raises LookupError for a field that it lacks."""
        data: dict[str, Any] = {name: list(v) for name, v in form.values.items()}
        buttons = dict(form.buttons)
        for name, value in values.items():
            full = next((n for n in [*form.names, *buttons] if n == name), None) or next(
                (n for n in form.names if n.endswith(name)), None
            )
            if full is None:
                raise LookupError(f"The form to {form.action} has no field {name}; it has {form.names}")
            data[full] = value if isinstance(value, list) else str(value)
        sent = {k: (path.name, path.read_bytes()) for k, path in (files or {}).items()}
        headers = {"Referer": str(self.http.base_url)}
        if form.method == "get":
            return self._page(self.http.get(form.action, params=data))
        return self._page(self.http.post(form.action, data=data, files=sent or None, headers=headers))

    def _page(self, response: httpx.Response) -> Page:
        if response.status_code >= 400:
            words = " ".join(Page(str(response.url), response.text).text.split())
            raise RuntimeError(
                f"{response.request.method} {response.url} answered {response.status_code}: {words[:500]}"
            )
        return Page(str(response.url), response.text)
