"""Pages: send files, see what became of each, look at the quarantine, try again, discard."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import BadRequest, TooManyFilesSent, ValidationError
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import audit
from accounts.actor import Actor, actor_of
from accounts.paging import page
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets import storage
from datasets.arrivals import again, desks, leftovers, looking, report, services
from datasets.arrivals.forms import FileFilterForm, RetryForm, SendForm
from datasets.arrivals.found import Refused
from datasets.arrivals.models import Arrival, ArrivedFile, Outcome
from datasets.masking import texts
from datasets.models import Dataset
from datasets.storage import limit_text

SHOWN = 20_000  # characters of a text
SECONDS = 30  # for a preview


def file_of(request: HttpRequest, pk: int) -> ArrivedFile:
    rows = ArrivedFile.objects.select_related("arrival", "parent", "original", "file", "upload", "part_of")
    found: ArrivedFile = get_or_404(rows, actor_of(request), pk=pk)
    return found


@require_safe
@requires(Permission.VIEW_DATA)
def arrival_list(request: HttpRequest) -> HttpResponse:
    """All arrivals, newest first."""
    rows = services.with_counts(Arrival.objects.for_organisation(actor_of(request).organisation))
    shown = Paginator(rows, 25).get_page(request.GET.get("page"))
    urls = {
        "previous_url": f"?page={shown.previous_page_number()}" if shown.has_previous() else "",
        "next_url": f"?page={shown.next_page_number()}" if shown.has_next() else "",
    }
    return render(request, "datasets/arrivals/list.html", {"page": shown, **urls})


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.WRITE_DATA)
def send(request: HttpRequest) -> HttpResponse:
    """Choose files of any kind."""
    actor = actor_of(request)
    choices = Dataset.objects.for_organisation(actor.organisation).filter(archived_at=None)
    try:
        form = SendForm(
            request.POST or None,
            request.FILES or None,
            datasets=choices,
            initial={"dataset": _asked_for(request, choices)},
        )
    except TooManyFilesSent as error:
        raise BadRequest(_("Too many files at once. Pack them as one ZIP file and send that.")) from error
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            arrived = services.receive(
                actor=actor, files=[(file.name, file) for file in given["file"]], dataset=given["dataset"],
                known=given["known"], hold_texts=given["hold_texts"],
            )  # fmt: skip
            return redirect("datasets:arrival", arrived.pk)
        except services.ArrivalRefused as error:
            form.add_error("file", str(error))
    status = 422 if request.method == "POST" else 200
    most = settings.DATA_UPLOAD_MAX_NUMBER_FILES
    context = {"form": form, "limit": limit_text(settings.MAX_UPLOAD_BYTES), "most": most}
    return render(request, "datasets/arrivals/send.html", context, status=status)


def _asked_for(request: HttpRequest, choices: Any) -> Any:
    try:
        return choices.filter(pk=request.GET.get("dataset") or None).first()
    except (ValueError, ValidationError):
        return None


@require_safe
@requires(Permission.VIEW_DATA)
def arrival(request: HttpRequest, pk: Any) -> HttpResponse:
    """One arrival: how far the sorting is, how many files of which outcome, and the files."""
    actor = actor_of(request)
    found = get_or_404(Arrival.objects.select_related("job", "dataset", "created_by"), actor, pk=pk)
    form = FileFilterForm(request.GET)
    rows = form.narrowed(found.files.select_related("upload", "parent"))
    audit.record(actor, "arrival.read", found)
    context = {
        "arrival": found, "counts": services.counts(found), "form": form, "page": page(request, rows),
        "held": leftovers.held(found).count() if found.finished_at else 0, "again_at": again.due_at(found),
    }  # fmt: skip
    return render(request, "datasets/arrivals/arrival.html", context)


@require_safe
@requires(Permission.VIEW_DATA)
def report_csv(request: HttpRequest, pk: Any) -> HttpResponseBase:
    """The whole report as a spreadsheet."""
    actor = actor_of(request)
    found = get_or_404(Arrival.objects, actor, pk=pk)
    audit.record(actor, "arrival.report_read", found)
    response = StreamingHttpResponse(report.csv_of(found), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="arrival.csv"'
    return response


@require_safe
@requires(Permission.VIEW_DATA)
def quarantine(request: HttpRequest) -> HttpResponse:
    """All quarantined files that nobody has discarded, with their reasons."""
    actor = actor_of(request)
    rows = ArrivedFile.objects.for_organisation(actor.organisation).filter(
        outcome=Outcome.QUARANTINED, discarded_at=None
    )
    audit.record(actor, "quarantine.listed")
    shown = page(request, rows.select_related("arrival", "parent"))
    return render(request, "datasets/arrivals/quarantine.html", {"page": shown})


@require_safe
@requires(Permission.VIEW_DATA)
def file_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One file: what it is, what became of it, why; of a text what is masked in it."""
    return _file_page(request, file_of(request, pk))


def _file_page(
    request: HttpRequest, file: ArrivedFile, form: RetryForm | None = None, status: int = 200
) -> HttpResponse:
    actor = actor_of(request)
    audit.record(actor, "arrival.file_read", file)
    may = actor.may(Permission.WRITE_DATA)
    text, more, why = _text(file, form.known_now() if form else [], may)
    whole = request.GET.get("range") == "whole"
    frames = looking.frames_of(file, request.GET.get("frames", ""), whole) if may else None
    if frames is not None:
        audit.record(actor, "arrival.picture_looked_at", file)
    context = {
        "file": file, "arrival": file.arrival, "form": form or RetryForm(), "can_retry": may and services.can_retry(file),
        "can_discard": may and file.outcome == Outcome.QUARANTINED and file.discarded_at is None,
        "text": text, "more": more, "text_refused": why, "held": file.code == "to_confirm",
        "frames": frames,
    }  # fmt: skip
    return render(request, "datasets/arrivals/file.html", context, status=status)


def _text(file: ArrivedFile, known: list[str], may: bool) -> tuple[list[tuple[str, str]], bool, str]:
    """(pieces, more, why not): of a stored text as it is stored, of a held one as it came, for whoever may let it in."""
    if file.kind != "text":
        return [], False, ""
    if file.file is not None and file.file.path:
        with default_storage.open(file.file.path) as stream:
            shown = stream.read(4 * SHOWN).decode("utf-8", "ignore")
        return list(texts.tokens_of(shown[:SHOWN])), len(shown) > SHOWN, ""
    if file.original is None or not may:
        return [], False, ""
    try:
        with storage.local(file.original) as path, desks.shared(seconds=SECONDS) as desk:
            pieces, more = desk.preview(path, file.format, [*file.arrival.known, *known], SHOWN)
            return pieces, more, ""
    except Refused as error:
        return [], False, error.why
    except ConnectionError:
        return [], False, _("The server is busy looking at other files. Open this page again in a minute.")


@require_safe
@requires(Permission.WRITE_DATA)
def file_frame(request: HttpRequest, pk: int, index: int) -> HttpResponse:
    """One frame of a picture in quarantine as it came, for whoever is to decide whether it names the patient."""
    file = file_of(request, pk)
    if not looking.waits(file):
        raise Http404
    try:
        content = looking.frame(file, index, request.GET.get("range") == "whole")
    except (Refused, ConnectionError) as error:
        return HttpResponse(looking.why_not(error), status=503, content_type="text/plain; charset=utf-8")
    if not content:
        raise Http404
    return HttpResponse(content, content_type="image/png", headers={"Cache-Control": "no-store"})


@require_http_methods(["POST"])
@requires(Permission.WRITE_DATA)
def file_retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Look at the file again; for a text either show again what would be masked, or let it in."""
    file = file_of(request, pk)
    form = RetryForm(request.POST)
    if not form.is_valid() or request.POST.get("action") == "preview":
        return _file_page(request, file, form, 200 if form.is_valid() else 422)
    return _retried(request, actor_of(request), file, form)


def _retried(request: HttpRequest, actor: Actor, file: ArrivedFile, form: RetryForm) -> HttpResponse:
    confirmed = request.POST.get("action") == "confirm"
    if confirmed and looking.waits(file) and request.POST.get("looked") != "yes":
        messages.error(request, _("Look at every frame, and tick that you have, before you let the picture in."))
        return redirect("datasets:arrived_file", file.pk)
    try:
        services.try_again(actor=actor, file=file, known=form.cleaned_data["known"], confirmed=confirmed)
    except services.ArrivalRefused as error:
        messages.error(request, str(error))
        return redirect("datasets:arrived_file", file.pk)
    messages.success(request, _("The file is looked at again."))
    return redirect("datasets:arrival", file.arrival_id)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.WRITE_DATA)
def file_discard(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a quarantined file's content, after asking."""
    file = file_of(request, pk)
    if request.method == "POST":
        _said(request, services.discard(actor=actor_of(request), files=[file]))
        return redirect("datasets:arrival", file.arrival_id)
    return render(request, "datasets/arrivals/discard.html", {"file": file, "count": 1})


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.WRITE_DATA)
def discard_all(request: HttpRequest, pk: Any) -> HttpResponse:
    """Delete the content of all quarantined files of an arrival, after asking."""
    found = get_or_404(Arrival.objects, actor_of(request), pk=pk)
    rows = found.files.filter(outcome=Outcome.QUARANTINED, discarded_at=None)
    if request.method == "POST":
        _said(request, services.discard_all(actor=actor_of(request), arrival=found))
        return redirect("datasets:arrival", found.pk)
    return render(request, "datasets/arrivals/discard.html", {"arrival": found, "count": rows.count()})


@require_POST
@requires(Permission.WRITE_DATA)
def retry_all(request: HttpRequest, pk: Any) -> HttpResponse:
    """Look again at all files that were held for no fault of their own."""
    actor = actor_of(request)
    try:
        again.try_all_again(actor=actor, arrival=get_or_404(Arrival.objects, actor, pk=pk))
    except services.ArrivalRefused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The files are looked at again."))
    return redirect("datasets:arrival", pk)


def _said(request: HttpRequest, count: int) -> None:
    text = ngettext("%(count)d file was discarded.", "%(count)d files were discarded.", count) % {
        "count": count
    }
    messages.success(request, text)
