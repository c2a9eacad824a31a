"""De-identifying an organisation's files, and looking up who a pseudonym stands for."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.core.cache import cache
from django.db import transaction

from accounts import audit
from accounts.actor import Actor
from accounts.models import Organisation
from datasets.arrivals import desks
from datasets.arrivals.found import Refused
from datasets.dicom import vault
from datasets.dicom.codes import UNREADABLE, Unreadable
from datasets.dicom.models import PatientKey, PatientSecret
from datasets.dicom.profile import Identity, Profile
from datasets.dicom.report import Action, Outcome, Report

SECRET_BYTES = 32
ONE_DECISION = 600  # seconds


def profile_of(organisation: Organisation, **options: bool) -> Profile:
    """The organisation's profile: its own secret (made at the first asking) and the options, as `Profile` takes them.

    Raises vault.VaultClosed where the server has no key for patients' data.
    """
    fresh = {"sealed": vault.seal(organisation.pk, {"secret": secrets.token_hex(SECRET_BYTES)})}
    row, _made = PatientSecret.objects.get_or_create(organisation=organisation, defaults=fresh)
    return Profile(bytes.fromhex(vault.unseal(organisation.pk, row.sealed)["secret"]), **options)


def deidentify_file(
    *, actor: Actor, path: Path, out: Path, profile: Profile | None = None, pixels_checked: bool = False
) -> Report:
    """`deidentify` for the actor's organisation; a new patient's key is kept with it. Nothing is left at `out` where that
    fails. For many files make the profile once (`profile_of`) and hand it over. The picture is decoded by a desk.

    `pixels_checked`: the actor has looked at the pictures; that is written into the audit log.
    Raises vault.VaultClosed, OSError (desks.Busy is one), or what the database raises.
    """
    from datasets.dicom.deidentify import (
        deidentify,  # with pydicom, which the web process does not load before it is needed
    )

    assert actor.organisation is not None
    profile = profile or profile_of(actor.organisation)
    report = deidentify(path, out, profile, pixels_checked=pixels_checked, look=_looked)
    if report.outcome is not Outcome.DONE:
        return report
    try:
        assert report.identity is not None
        _keep(actor, report.pseudonym, report.identity)
        if pixels_checked and _told_now(actor, report.pseudonym):
            audit.record(actor, "dicom.pixels_checked", pseudonym=report.pseudonym)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return report


def _told_now(actor: Actor, pseudonym: str) -> bool:
    """Once for all slices of a patient that are let in together: one decision is one event."""
    who = actor.user.pk if actor.user is not None else ""
    return cache.add(f"looked:{who}:{actor.organisation.pk if actor.organisation else ''}:{pseudonym}", True, ONE_DECISION)


def _looked(path: Path, data: Any) -> tuple[tuple[str, ...], int]:
    """What a desk sees in the picture; one that ends its reader was not looked at, so a person must."""
    try:
        with desks.shared() as desk:
            return desk.burned_in(path)
    except Refused as error:
        if error.code in UNREADABLE:
            raise Unreadable(error.code) from error
        return ("pixels_unread",), 0


def prepare(actor: Actor, path: Path, out: Path, looked: bool = False) -> dict[str, int]:
    """What `datasets.arrivals.preparing` asks for: the file without what identifies the patient at `out`, and how many
    elements each action touched. `looked`: the actor has seen its pictures and no name in them.

    Raises Refused where that can't be done with certainty.
    """
    try:
        report = deidentify_file(actor=actor, path=path, out=out, pixels_checked=looked)
    except vault.VaultClosed as error:
        raise Refused("not_deidentified") from error
    if report.outcome is not Outcome.DONE:
        raise Refused(report.reasons[0])
    return {str(action): report.total(action) for action in Action if report.total(action)}


@transaction.atomic
def _keep(actor: Actor, pseudonym: str, identity: Identity) -> None:
    organisation = actor.organisation
    assert organisation is not None
    if PatientKey.objects.for_organisation(organisation).filter(pseudonym=pseudonym).exists():
        return
    sealed = vault.seal(organisation.pk, {name: value for name, value in vars(identity).items() if value})
    row, made = PatientKey.objects.get_or_create(
        organisation=organisation, pseudonym=pseudonym, defaults={"sealed": sealed}
    )
    if made:
        audit.record(actor, "patient_key.created", row)


@transaction.atomic
def look_up(*, actor: Actor, pseudonym: str) -> Identity | None:
    """Who a pseudonym of the actor's organisation stands for; None for none. Each asking is in the audit log, answered or not.

    The caller has checked Permission.REIDENTIFY. Raises vault.VaultClosed.
    """
    wanted = pseudonym.strip().upper()
    row = PatientKey.objects.for_organisation(actor.organisation).filter(pseudonym=wanted).first()
    if row is None:
        # What was typed could be a patient's name: it is not written down.
        audit.record(actor, "patient_key.read", outcome="not_found")
        return None
    audit.record(actor, "patient_key.read", row)
    return Identity(**vault.unseal(row.organisation_id, row.sealed))


def rotate() -> int:
    """Encrypt all keys and secrets with the first of AIMASS_PATIENT_KEYS; how many. Safe to repeat. Raises VaultClosed."""
    count = 0
    for model in (PatientSecret, PatientKey):
        rows: Any = model.objects.all()
        for pk in rows.values_list("pk", flat=True).iterator():
            with transaction.atomic():
                row = rows.select_for_update().get(pk=pk)
                row.sealed = vault.resealed(row.sealed)
                row.save(update_fields=["sealed"])
            count += 1
    return count
