"""docs/NOTEBOOK.md: every piece is at most ten lines and runs as it stands, but for the seconds that its search may take."""

import os
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "NOTEBOOK.md").read_text(encoding="utf-8")
PIECE = re.compile(
    r"## (?P<title>[^\n]+)\n(?:(?!\n## ).)*?(?:<!-- needs: (?P<needs>[^>]+) -->\n)?```python\n(?P<code>.*?)```",
    re.S,
)
BUDGET = re.compile(r"time_budget=(?:10|15|20)\b")
FEW_SECONDS = "time_budget=2"  # people may look longer for a better model; where it is a minute, pretrained weights are used
PIECES = {found["title"]: found for found in PIECE.finditer(TEXT)}


def need(what: str) -> None:
    """Skips, with the reason, where a piece's data or weights are not on this machine."""
    kind, _, name = what.partition(":")
    if kind == "shared":
        folder = os.environ.get("AIMASS_SHARED_DATA")
        if not folder or not (Path(folder) / name).is_dir():
            pytest.skip(f"AIMASS_SHARED_DATA names no folder with {name}")
        return
    try:
        distribution(what)
    except PackageNotFoundError:
        pytest.skip(f"{what} is not installed")


def test_every_piece_is_found() -> None:
    assert len(PIECES) == TEXT.count("```python") == TEXT.count("\n## ")


@pytest.mark.slow  # each piece is a whole search on real data
@pytest.mark.parametrize("title", PIECES)
def test_a_piece_of_the_notebook_runs_in_ten_lines(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = PIECES[title]["code"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    for what in (PIECES[title]["needs"] or "").split(","):
        if what.strip():
            need(what.strip())
    monkeypatch.chdir(tmp_path)
    exec(compile(BUDGET.sub(FEW_SECONDS, code), f"NOTEBOOK.md: {title}", "exec"), {"__name__": "notebook"})
    assert capsys.readouterr().out.strip()
