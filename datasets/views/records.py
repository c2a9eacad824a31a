"""Pages: the list of records, one record, correcting its label, erasing a patient."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets import queries
from datasets.cells import showing
from datasets.erasure import ErasureRefused, Preview, erase_patient, preview_erasure
from datasets.forms import EraseConfirmForm, ErasePatientForm, LabelForm, RecordFilterForm
from datasets.models import Dataset, Kind, Record, Role
from datasets.records import RecordRefused, change_label
from datasets.views.datasets import dataset_of

SHOWN_COLUMNS = 8
TRAIL = 30


@require_safe
@requires(Permission.VIEW_DATA)
def record_list(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The records, filtered, searched, sorted, page by page."""
    dataset = dataset_of(request, pk)
    columns = list(dataset.columns.all())
    target = next((c for c in columns if c.role == Role.TARGET), None)
    labels = queries.labels(dataset) if target is not None and target.kind != Kind.TEXT else []
    form = RecordFilterForm(dataset, labels if len(labels) < 50 else [], request.GET)
    asked = form.asked()
    cursor, trail = request.GET.get("cursor", ""), request.GET.get("trail", "")
    try:
        page = queries.page(dataset, asked, cursor=cursor)
    except queries.BadCursor:
        return redirect("datasets:records", pk)
    audit.record(actor_of(request), "records.listed", dataset, count=len(page.records), filters=asked.names)
    shown = [c for c in columns if c.role not in (Role.PATIENT, Role.TARGET, Role.IGNORE)][:SHOWN_COLUMNS]
    files = showing.pointers(page.records, shown)
    context = {
        "dataset": dataset,
        "form": form,
        "asked": asked,
        "filtered": bool(asked.names),
        "page": page,
        "columns": shown,
        "hidden_columns": len(columns) - len(shown),
        "rows": [(record, [showing.cell(record, c, files) for c in shown]) for record in page.records],
        "target": target,
        "patient": next((c for c in columns if c.role == Role.PATIENT), None),
        "window": queries.WINDOW,
        **page_urls(request, cursor, trail, page.next),
    }
    template = "datasets/_records.html" if request.headers.get("HX-Request") else "datasets/records.html"
    return render(request, template, context)


def page_urls(request: HttpRequest, cursor: str, trail: str, following: str) -> dict[str, str]:
    """Key-set pages only know the way on: the way back is carried along as the trail of cursors that led here."""
    filters = {k: v for k, v in request.GET.items() if k not in ("cursor", "trail") and v}
    steps = [step for step in trail.split("~") if step][-TRAIL:]
    urls = {"next_url": "", "previous_url": ""}
    if following:
        urls["next_url"] = "?" + urlencode(
            filters | {"cursor": following, "trail": "~".join([*steps, cursor])}
        )
    if cursor:
        back = filters | ({"cursor": steps[-1], "trail": "~".join(steps[:-1])} if steps else {})
        urls["previous_url"] = "?" + urlencode(back)
    return urls


def record_of(request: HttpRequest, pk: UUID, record: int) -> Record:
    """The record, if it is of this data set and the person's organisation; else 404."""
    rows = Record.objects.select_related("dataset", "upload")
    found: Record = get_or_404(rows, actor_of(request), dataset=pk, pk=record)
    return found


@require_safe
@requires(Permission.VIEW_DATA)
def record_detail(request: HttpRequest, pk: UUID, record: int) -> HttpResponse:
    """One record: its values, split, source, history and the patient's other records."""
    found = record_of(request, pk, record)
    audit.record(actor_of(request), "record.read", found, dataset=str(pk))
    return render(
        request, "datasets/record.html", record_context(found, LabelForm(initial={"label": found.target}))
    )


def record_context(record: Record, form: LabelForm) -> dict[str, Any]:
    columns = list(record.dataset.columns.all())
    others: Any = Record.objects.none()
    if record.patient_key:
        others = Record.objects.filter(dataset=record.dataset_id, patient_key=record.patient_key).exclude(
            pk=record.pk
        )
    files = showing.pointers([record], columns)
    return {
        "record": record,
        "dataset": record.dataset,
        "values": [(column, showing.cell(record, column, files)) for column in columns],
        "target": next((c for c in columns if c.role == Role.TARGET), None),
        "changes": record.changes.select_related("changed_by"),
        "others": others.order_by("-id")[:20],
        "form": form,
    }


@require_http_methods(["POST"])
@requires(Permission.WRITE_DATA)
def label(request: HttpRequest, pk: UUID, record: int) -> HttpResponse:
    """Correct a record's label."""
    found = record_of(request, pk, record)
    form = LabelForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data
        if is_slip(found, given["label"]) and not given["new_label"]:
            form.add_error("label", _("No record of this data set has this label. Is it spelled as the others are?"))
            return render(request, "datasets/record.html", record_context(found, form), status=400)
        try:
            changed = change_label(
                actor=actor_of(request), record=found, value=given["label"], reason=given["reason"]
            )
        except RecordRefused as error:
            form.add_error(None, list(error.errors.values()))
        else:
            if changed is not None:
                messages.success(
                    request, _("The label has been corrected. Frozen versions keep the old one.")
                )
            return redirect("datasets:record", pk, record)
    return render(request, "datasets/record.html", record_context(found, form), status=400)


def is_slip(record: Record, label: str) -> bool:
    """Whether a class's name may be misspelled: a misspelled one would silently be a class of its own."""
    categories = record.dataset.columns.filter(role=Role.TARGET, kind=Kind.CATEGORY)
    return bool(label) and categories.exists() and not record.dataset.records.filter(target=label).exists()


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.ERASE_PATIENT)
def erase(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Find a patient, show all that erasing touches, and erase after confirmation."""
    dataset = dataset_of(request, pk)
    # The key comes in the request's body or from a record, never in an address: addresses are written to logs.
    record = _single(request, dataset, request.POST.get("record", "") or request.GET.get("record", ""))
    patient = request.POST.get("patient", "") or (record.patient_key if record is not None else "")
    if request.POST.get("confirmed") == "yes":
        return _erase(request, dataset, patient, record)
    if not patient and record is None:
        form = ErasePatientForm(request.POST or None)
        return render(request, "datasets/erase.html", {"dataset": dataset, "form": form})
    confirm = EraseConfirmForm(initial={"patient": patient, "record": record.pk if record else None})
    return _confirm_erasure(request, dataset, patient, record, confirm)


def _single(request: HttpRequest, dataset: Dataset, number: str) -> Record | None:
    return record_of(request, dataset.pk, int(number)) if number.isascii() and number.isdigit() else None


def _confirm_erasure(
    request: HttpRequest, dataset: Dataset, patient: str, record: Record | None, form: EraseConfirmForm
) -> HttpResponse:
    preview = preview_erasure(dataset=dataset, patient_key=patient, record=record)
    if not preview.record_ids:
        missed = ErasePatientForm({"patient": patient})
        missed.add_error("patient", _("No record of this patient is in this data set."))
        return render(request, "datasets/erase.html", {"dataset": dataset, "form": missed})
    audit.record(actor_of(request), "patient.erasure_previewed", dataset, records=len(preview.record_ids))
    context = {
        "dataset": dataset,
        "patient": patient,
        "record": record,
        "form": form,
        "consequences": erasure_consequences(preview),
        "back_url": reverse("datasets:detail", args=[dataset.pk]),
    }
    return render(request, "datasets/erase_confirm.html", context)


def _erase(request: HttpRequest, dataset: Dataset, patient: str, record: Record | None) -> HttpResponse:
    form = EraseConfirmForm(request.POST)
    if not form.is_valid():
        return _confirm_erasure(request, dataset, patient, record, form)
    try:
        done = erase_patient(
            actor=actor_of(request),
            dataset=dataset,
            patient_key=patient,
            record=record,
            reason=form.cleaned_data["reason"],
        )
    except ErasureRefused as error:
        messages.error(request, str(error))
        return redirect("datasets:erase", dataset.pk)
    text = ngettext(
        "%(count)d record has been erased.", "%(count)d records have been erased.", len(done.record_ids)
    )
    messages.success(request, text % {"count": len(done.record_ids)})
    return redirect("datasets:detail", dataset.pk)


def erasure_consequences(preview: Preview) -> list[str]:
    """All that erasing touches, in plain words."""
    count = len(preview.record_ids)
    texts = [
        ngettext(
            "%(count)d record is removed, with its history.",
            "%(count)d records are removed, with their history.",
            count,
        )
        % {"count": count}
    ]
    if preview.files:
        text = ngettext(
            "%(count)d file of the patient (a picture, say) is deleted, unless another record has the same.",
            "%(count)d files of the patient (pictures, say) are deleted, unless another record has the same.",
            preview.files,
        )
        texts.append(text % {"count": preview.files})
    if preview.versions:
        numbers = ", ".join(f"v{v.number}" for v in preview.versions)
        texts.append(
            _("Frozen versions are rewritten without the patient: %(numbers)s.") % {"numbers": numbers}
        )
    whole = _("The original file “%(name)s” is deleted whole, as it could hold the patient.")
    stays = _(
        "The original file “%(name)s” stays, because another data set uses it: erase the patient there too."
    )
    texts += [whole % {"name": upload.original_name} for upload in preview.uploads]
    texts += [stays % {"name": upload.original_name} for upload in preview.shared_uploads]
    texts += [
        _("%(what)s: %(count)d") % {"what": label, "count": number}
        for label, number in preview.others
        if number
    ]
    texts.append(
        _("Models that have learned from the patient keep what they learned until they are trained anew.")
    )
    texts.append(_("If a file with this patient is uploaded again, the patient comes back."))
    return texts
