"""The tables of DICOM PS3.15 Annex E as data: what the profile does with each attribute, and the safe private ones.

`tables/e1_1.tsv` and `tables/e3_10_1.tsv`; where they come from and how they were checked is in the ADR on de-identification.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLES = Path(__file__).parent / "tables"
EDITION = "2026c"
# Groups that are taken out whole: curves and overlays. The table names their data and comments; labels and descriptions
# beside them are free text too, and what is left of an overlay without its data is no valid overlay.
WHOLE_GROUPS = ("50", "60")


@dataclass(frozen=True)
class Rule:
    """A row of Table E.1-1. `basic` is one of its codes (X, Z, D, U, X/Z, ...); an option's is "K", "C" or ""."""

    tag: int
    basic: str
    uids: str
    device: str
    patient: str
    dates: str
    name: str


@cache
def rules() -> dict[int, Rule]:
    """Tag → row of Table E.1-1, without the three rows of repeating groups (see WHOLE_GROUPS) and the private one."""
    found = {}
    for line in _lines("e1_1.tsv"):
        tag, basic, uids, device, patient, dates, name = line.split("\t")
        if "x" not in tag:
            number = int(tag, 16)
            found[number] = Rule(
                number, basic, uids.strip("-"), device.strip("-"), patient.strip("-"), dates.strip("-"), name
            )
    return found


@cache
def safe_private() -> dict[tuple[str, int, int], str]:
    """(private creator, group, element within its block) → VR ("OW/OB" for either, "" where the table gives none)."""
    found = {}
    for line in _lines("e3_10_1.tsv"):
        creator, group, elements = line.split("\t")
        for element in elements.split():
            found[creator, int(group, 16), int(element[:2], 16)] = element[2:].strip("-")
    return found


def _lines(name: str) -> list[str]:
    text = (TABLES / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
