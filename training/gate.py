"""The gate: the least that a version must reach on the locked test split to enter the repository.

The measured value is held against the floor, not the end of its interval: with the small test splits of a hospital the
lower end would close the gate to every model. The recommendation, which chooses for people, does look at the lower end.
"""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from accounts.models import Organisation
from datasets.models import Dataset
from training import metrics
from training.errors import ChangeRefused
from training.models import Gate


def floors_for(organisation: Organisation, dataset: Dataset) -> dict[str, float]:
    """The organisation's floors, overridden metric by metric by those of the data set."""
    merged: dict[str, float] = {}
    rows = Gate.objects.for_organisation(organisation).filter(dataset__isnull=True)
    for gate in [*rows, *Gate.objects.for_organisation(organisation).filter(dataset=dataset)]:
        merged |= gate.floors
    return merged


def judge(floors: dict[str, float], measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Why a version fails: [{code, metric, floor, value, n}]; empty when it passes.

    Floors of metrics that do not belong to the version's task are passed over; an undefined value fails.
    """
    reasons = []
    for name, floor in sorted(floors.items()):
        if name not in measured:
            continue
        value = measured[name].get("value")
        if not metrics.reaches(name, value, floor):
            code = "below_floor" if value is not None else "undefined"
            n = measured[name].get("n")
            reasons.append({"code": code, "metric": name, "floor": floor, "value": value, "n": n})
    return reasons


def reason_text(reason: dict[str, Any]) -> str:
    """One reason of `judge` in words."""
    wanted = metrics.floor_text(reason["metric"], reason["floor"])
    if reason.get("value") is None:
        return _("The gate wants %(wanted)s, but it could not be measured on the test records.") % {
            "wanted": wanted
        }
    return _("The gate wants %(wanted)s; measured was %(value).3f on %(n)s test records.") % {
        "wanted": wanted,
        "value": reason["value"],
        "n": reason.get("n"),
    }


@transaction.atomic
def save_gate(*, actor: Actor, dataset: Dataset | None, floors: dict[str, float]) -> Gate:
    """Set the floors of the organisation (or of one data set). Holds for versions that arrive from now on."""
    if wrong := metrics.check_floors(floors):
        name, message = next(iter(wrong.items()))
        raise ChangeRefused("invalid", f"{metrics.label(name)}: {message}")
    gate, _created = Gate.objects.update_or_create(
        organisation=actor.organisation,
        dataset=dataset,
        defaults={"floors": floors, "updated_by": actor.user},
    )
    audit.record(actor, "gate.changed", gate, floors=floors, dataset=str(dataset.pk) if dataset else "")
    return gate
