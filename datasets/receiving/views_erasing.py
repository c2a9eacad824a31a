"""Page: erase a patient of whom DICOM was received and no record made, by the pseudonym."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.views_base import posted, requires
from datasets.dicom.views import LookUpForm
from datasets.erasure import ErasureRefused
from datasets.receiving.erasing import Received, erase_received, received_of


class ReasonForm(LookUpForm):
    """Why, once it has been seen what goes."""

    pseudonym = forms.CharField(max_length=20, widget=forms.HiddenInput)
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=300,
        help_text=gettext_lazy("Only that a reason was given is kept, because it could name the patient."),
    )


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.ERASE_PATIENT)
def received_erase(request: HttpRequest) -> HttpResponse:
    """A form; then what goes, and why; then it is gone."""
    form = LookUpForm(posted(request))
    if not form.is_bound or not form.is_valid():
        return _asked(request, form)
    found = received_of(actor_of(request).organisation, form.cleaned_data["pseudonym"])
    if found.datasets:
        names = ", ".join(dataset.name for dataset in found.datasets)
        text = _("There are records of this patient in %(names)s: erase the patient there, and the images go too.")
        form.add_error("pseudonym", text % {"names": names})
    elif not found.instances and not found.key:
        form.add_error("pseudonym", _("Nothing of this pseudonym is stored."))
    if form.errors:
        return _asked(request, form)
    reason = ReasonForm(request.POST if request.POST.get("action") == "erase" else None, initial=form.cleaned_data)
    if reason.is_bound and reason.is_valid():
        return _erased(request, reason)
    return _confirm(request, found, reason)


def _asked(request: HttpRequest, form: LookUpForm) -> HttpResponse:
    status = 422 if form.is_bound else 200
    return render(request, "datasets/received_erase.html", {"form": form}, status=status)


def _confirm(request: HttpRequest, found: Received, form: ReasonForm) -> HttpResponse:
    images = ngettext("%(count)d stored DICOM image is deleted.", "%(count)d stored DICOM images are deleted.", found.instances)
    gone = [images % {"count": found.instances}]
    if found.key:
        gone.append(_("The key from this pseudonym to the patient is deleted."))
    status = 422 if form.is_bound else 200
    return render(request, "datasets/received_erase_confirm.html", {"form": form, "found": found, "gone": gone}, status=status)


def _erased(request: HttpRequest, form: ReasonForm) -> HttpResponse:
    given = form.cleaned_data
    try:
        count = erase_received(actor=actor_of(request), pseudonym=given["pseudonym"], reason=given["reason"])
    except ErasureRefused as error:  # it came or went meanwhile
        messages.error(request, str(error))
        return redirect("datasets:received_erase")
    text = ngettext("%(count)d DICOM image has been erased.", "%(count)d DICOM images have been erased.", count)
    messages.success(request, text % {"count": count})
    return redirect("datasets:arrivals")
