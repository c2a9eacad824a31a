"""How files are de-identified: the options chosen, and all that is derived from the secret (pseudonyms, UIDs, shifts)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import date, timedelta

SHIFT_DAYS = 3650  # dates move back by 1 to this many days


@dataclass(frozen=True)
class Identity:
    """Who a file is about, as its header says. Never logged, never in a report: only the encrypted key holds it."""

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    sex: str = field(default="", repr=False)
    study: str = field(default="", repr=False)  # used only where there is no patient at all

    @property
    def key(self) -> str:
        """What makes two files one patient's: the number and who gave it, else name and birth date, else the study."""
        parts: tuple[str, ...]
        if self.patient_id:
            parts = ("id", self.issuer, self.patient_id)
        elif self.name:
            parts = ("name", self.name, self.birth_date)
        elif self.study:
            parts = ("study", self.study)
        else:
            return ""
        return "\x1f".join(parts)


@dataclass(frozen=True)
class Profile:
    """The Basic Profile with its options. `secret` (32 bytes or more) belongs to one organisation and never leaves it:
    the same secret gives the same pseudonyms, UIDs and shifts, in every process and for ever.

    `dates`: Retain Longitudinal Temporal Information with Modified Dates (shifted by patient); `patient`: Retain Patient
    Characteristics; `device`: Retain Device Identity; `uids`: Retain UIDs; `private`: Retain Safe Private.
    """

    secret: bytes = field(repr=False)
    dates: bool = True
    patient: bool = True
    device: bool = False
    uids: bool = False
    private: bool = True

    def __post_init__(self) -> None:
        if len(self.secret) < 32:
            raise ValueError("the secret of a de-identification profile has at least 32 bytes")

    def pseudonym(self, identity: Identity) -> str:
        """ "P" and 16 letters and digits (80 bits) of an identity's key, which must not be empty."""
        assert identity.key, "nobody has no pseudonym"
        return "P" + base64.b32encode(self._mac("pseudonym", identity.key)[:10]).decode()

    def shift(self, identity: Identity) -> timedelta:
        """By how much this patient's dates move: whole days into the past, the same for all of the patient's files."""
        return timedelta(days=-1 - int.from_bytes(self._mac("shift", identity.key)[:8], "big") % SHIFT_DAYS)

    def uid(self, uid: str) -> str:
        """The new UID in the place of `uid`: 2.25. and a number of 128 bits (PS3.5 B.2)."""
        return f"2.25.{int.from_bytes(self._mac('uid', uid)[:16], 'big')}"

    def _mac(self, purpose: str, text: str) -> bytes:
        return hmac.new(
            self.secret, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256
        ).digest()


def shifted(day: str, shift: timedelta) -> str | None:
    """A DICOM date (YYYYMMDD, or the old YYYY.MM.DD) moved; None where it isn't one, or would leave the calendar."""
    digits = day.strip().replace(".", "") if len(day.strip()) == 10 else day.strip()
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        moved = date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) + shift
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"
