"""Templates: they compile, and carry nothing that a strict Content-Security-Policy would have to allow."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import get_template

ROOT = Path(settings.BASE_DIR) / "templates"
TEMPLATES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.suffix in {".html", ".txt"})
FORBIDDEN = {
    "an inline script": re.compile(r"<script(?![^>]*\bsrc=)", re.IGNORECASE),
    "a style element": re.compile(r"<style\b", re.IGNORECASE),
    "a style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.IGNORECASE),
    "an event attribute": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "an evaluated htmx attribute": re.compile(r"<[^>]*\shx-on\b|hx-vals=['\"]js:", re.IGNORECASE),
    "a javascript: address": re.compile(r"(href|src|action)\s*=\s*['\"]?javascript:", re.IGNORECASE),
    "something from another host": re.compile(r"<(script|link|img|iframe)\b[^>]*\b(src|href)=['\"](https?:)?//", re.IGNORECASE),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_compiles(name: str) -> None:
    assert get_template(name) is not None


@pytest.mark.parametrize("name", [n for n in TEMPLATES if n.endswith(".html")])
def test_template_has_nothing_inline(name: str) -> None:
    text = re.sub(r"{#.*?#}|{% comment %}.*?{% endcomment %}", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    found = [what for what, pattern in FORBIDDEN.items() if pattern.search(text)]
    assert not found, f"{name} has {', '.join(found)}"


def test_the_scan_finds_what_it_looks_for() -> None:
    bad = {
        "an inline script": "<script>alert(1)</script>",
        "a style element": "<style>p{}</style>",
        "a style attribute": '<p class="a" style="color:red">',
        "an event attribute": '<a href="#" onclick="x()">',
        "an evaluated htmx attribute": '<p hx-on:click="x()">',
        "a javascript: address": '<a href="javascript:x()">',
        "something from another host": '<script src="https://cdn.example/x.js"></script>',
    }
    assert bad.keys() == FORBIDDEN.keys()
    for what, text in bad.items():
        assert FORBIDDEN[what].search(text), what
    assert not FORBIDDEN["an inline script"].search('<script src="/static/js/app.js" defer></script>')


def test_every_form_that_changes_carries_its_token() -> None:
    missing = []
    for name in TEMPLATES:
        text = (ROOT / name).read_text(encoding="utf-8")
        for form in re.findall(r"<form\b[^>]*method=['\"]post['\"].*?</form>", text, flags=re.DOTALL | re.IGNORECASE):
            if "csrf_token" not in form:
                missing.append(name)
    assert not missing
