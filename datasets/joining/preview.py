"""What a table's preview says of columns that hold DICOM UIDs: which have arrived, and as what they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import Organisation
from datasets import patient_names
from datasets.joining import naming
from datasets.models import Dataset, Kind, Role
from datasets.readers import headers, missing
from datasets.readers.base import Cell

PROBED = 200
SHARE = 0.9  # of a column's cells that are UIDs
WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."


def describe(
    organisation: Organisation, columns: list[dict[str, Any]], cells: Sequence[Sequence[Cell]], dataset: Dataset | None = None
) -> None:
    """Make the columns that name what has arrived columns of files; of others that hold UIDs say what can be done.

    Of a column of patients it is said where they, and those of `dataset`, would not be named in one way.
    """
    received: naming.Received | None = None
    for column, values in zip(columns, cells, strict=True):
        if column["role"] == Role.PATIENT:
            _patients(column, values, dataset)
        if column["role"] in (Role.PATIENT, Role.TARGET) or column.get("of_files"):
            continue
        some = list(dict.fromkeys(v for v in values if missing.spelling(v) is None))[:PROBED]
        uids = [uid for cell in some if (uid := naming.uid_of(cell)) is not None]
        if not uids or len(uids) < SHARE * len(some):
            continue
        received = received or naming.Received(organisation)
        _column(column, received, uids)


def _patients(column: dict[str, Any], values: Sequence[Cell], dataset: Dataset | None) -> None:
    keys = (str(value).strip() for value in values if missing.spelling(value) is None)
    ways = {patient_names.way_of(key) for key in keys}
    there = patient_names.way_in(dataset) if dataset is not None else None
    if len(ways | ({there} if there else set())) > 1:
        text = _(
            "Some patients are named by the pseudonyms of de-identified DICOM and others are not, here or in the data set: a"
            " patient under two names could be in training and in the locked test. Rows that name them otherwise than the data"
            " set (a new one: than the first row) are refused."
        )
        column["warnings"].append(headers.warning("patients_named_otherwise", text))


def _column(column: dict[str, Any], received: naming.Received, uids: list[str]) -> None:
    received.look_up((uid, True) for uid in uids)
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    late = 0
    for uid in uids:
        try:
            kinds[_kind(received.find(uid, whole=True))] += 1
        except naming.Late:
            late += 1
        except ValueError as error:
            reasons[str(error)] += 1
    column["warnings"] = [w for w in column["warnings"] if w["code"] not in ("file_names", "name_tag")]
    column |= {"of_files": True, "of_uids": True, "minimum": None, "maximum": None}
    kinds.pop("", None)  # studies: as likely only the table's order of things
    if not kinds:
        column |= {"kind": Kind.TEXT, "role": Role.IGNORE}
        text = _(
            "These are DICOM UIDs. No series or image of them has arrived here, so this column is ignored. If their images are on"
            " their way, choose the kind “volume” or “image” and the role “feature”."
        )
        column["warnings"].append(headers.warning("uids_unknown", text))
        return
    column |= {"kind": kinds.most_common(1)[0][0], "role": Role.FEATURE}
    count = kinds.total()
    text = ngettext(
        "%(count)d of the DICOM UIDs looked at names a series or an image that has arrived.",
        "%(count)d of the DICOM UIDs looked at name series or images that have arrived.",
        count,
    )
    column["warnings"].append(headers.warning("uids_found", text % {"count": count}))
    if late:
        text = ngettext(
            "%(count)d names nothing that is there as a whole yet: its rows are refused until it is.",
            "%(count)d name nothing that is there as a whole yet: their rows are refused until it is.",
            late,
        )
        column["warnings"].append(headers.warning("uids_late", text % {"count": late}))
    for reason, times in reasons.most_common(3):
        column["warnings"].append(headers.warning("uids_refused", f"{times} × {reason}."))


def _kind(named: naming.Named) -> str:
    if named.study:
        return ""
    if named.sop_class.startswith(WAVEFORMS):
        return Kind.SIGNAL
    return Kind.VOLUME if named.slices > 1 else Kind.IMAGE
