"""Page: who stands behind a pseudonym."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.views_base import posted, requires
from datasets.dicom.profile import Identity
from datasets.dicom.services import look_up
from datasets.dicom.vault import VaultClosed


class LookUpForm(forms.Form):
    """Which pseudonym. Sent in the body, so that it is in no log of addresses."""

    pseudonym = forms.CharField(
        label=gettext_lazy("Pseudonym"),
        max_length=20,
        help_text=gettext_lazy(
            "As it stands in the patient column or in a de-identified file: P and 16 letters and digits."
        ),
    )


def rows_of(found: Identity) -> list[tuple[Any, str]]:
    """(label, value) of what is known of a patient, as a person reads it."""
    day = found.birth_date
    rows = [
        (_("Name of the patient"), " ".join(found.name.replace("^", " ").replace("=", " / ").split())),
        (_("Patient number"), found.patient_id),
        (_("Number given by"), found.issuer),
        (_("Date of birth"), f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else day),
        (_("Sex"), found.sex),
    ]
    if not found.name and not found.patient_id:
        rows.append((_("Study (the files name no patient)"), found.study))
    return [(label, value) for label, value in rows if value]


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.REIDENTIFY)
def patient_key(request: HttpRequest) -> HttpResponse:
    """A form; and, once sent, the patient. Every look is written into the audit log."""
    form, found = LookUpForm(posted(request)), None
    if form.is_bound and form.is_valid():
        try:
            found = look_up(actor=actor_of(request), pseudonym=form.cleaned_data["pseudonym"])
            if found is None:
                form.add_error("pseudonym", _("No patient of this organisation has this pseudonym."))
        except VaultClosed as error:
            form.add_error(None, str(error))
    return render(
        request, "datasets/patient_key.html", {"form": form, "found": rows_of(found) if found else None}
    )
