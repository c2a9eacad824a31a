"""Pages: the AE titles that the organisation receives DICOM under, and who may send to each."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts.actor import Actor, actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import posted, requires
from datasets.models import Dataset
from datasets.receiving import services
from datasets.receiving.forms import PeerForm, ReceiverChangeForm, ReceiverForm
from datasets.receiving.models import Peer, Receiver


def _datasets(actor: Actor) -> Any:
    return Dataset.objects.for_organisation(actor.organisation).filter(archived_at=None).order_by("name")


def _told(form: Any, error: ValidationError) -> None:
    for name, texts in error.message_dict.items():
        for text in texts:
            form.add_error(name if name in form.fields else None, text)


@require_safe
@requires(Permission.MANAGE_ORGANISATION)
def receivers(request: HttpRequest) -> HttpResponse:
    """All of them, with who may send."""
    rows = Receiver.objects.for_organisation(actor_of(request).organisation)
    context = {"receivers": rows.select_related("dataset").prefetch_related("peers"), "port": settings.DICOM_PORT}
    return render(request, "datasets/receivers/list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.MANAGE_ORGANISATION)
def receiver_add(request: HttpRequest) -> HttpResponse:
    """Another AE title."""
    actor = actor_of(request)
    form = ReceiverForm(posted(request), datasets=_datasets(actor))
    if form.is_bound and form.is_valid():
        try:
            row = services.add_receiver(actor=actor, **form.cleaned_data)
        except ValidationError as error:
            _told(form, error)
        else:
            messages.success(request, _("“%(title)s” receives now. Say who may send to it.") % {"title": row.title})
            return redirect("datasets:receiver", row.pk)
    return render(request, "datasets/receivers/add.html", {"form": form}, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.MANAGE_ORGANISATION)
def receiver(request: HttpRequest, pk: int) -> HttpResponse:
    """One AE title: its data set, whether it receives, who may send."""
    actor = actor_of(request)
    row = get_or_404(Receiver.objects.select_related("dataset"), actor, pk=pk)
    form = ReceiverChangeForm(
        posted(request), datasets=_datasets(actor), initial={"dataset": row.dataset_id, "active": row.active}
    )
    if form.is_bound and form.is_valid():
        services.change_receiver(actor=actor, receiver=row, **form.cleaned_data)
        messages.success(request, _("Saved. It is in force within seconds."))
        return redirect("datasets:receiver", row.pk)
    return _page(request, row, form, PeerForm())


def _page(request: HttpRequest, row: Receiver, form: Any, peer_form: PeerForm, status: int = 200) -> HttpResponse:
    context = {"receiver": row, "peers": row.peers.all(), "form": form, "peer_form": peer_form, "port": settings.DICOM_PORT}
    return render(request, "datasets/receivers/receiver.html", context, status=status)


@require_http_methods(["POST"])
@requires(Permission.MANAGE_ORGANISATION)
def peer_add(request: HttpRequest, pk: int) -> HttpResponse:
    """Allow another peer."""
    actor = actor_of(request)
    row = get_or_404(Receiver.objects.select_related("dataset"), actor, pk=pk)
    peer_form = PeerForm(request.POST)
    if peer_form.is_valid():
        try:
            services.add_peer(actor=actor, receiver=row, **peer_form.cleaned_data)
        except ValidationError as error:
            _told(peer_form, error)
        else:
            messages.success(request, _("It may send within seconds."))
            return redirect("datasets:receiver", row.pk)
    form = ReceiverChangeForm(datasets=_datasets(actor), initial={"dataset": row.dataset_id, "active": row.active})
    return _page(request, row, form, peer_form, 422)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.MANAGE_ORGANISATION)
def peer_remove(request: HttpRequest, pk: int, peer: int) -> HttpResponse:
    """Take a peer off the list, after asking."""
    actor = actor_of(request)
    row = get_or_404(Peer.objects.select_related("receiver"), actor, pk=peer, receiver=pk)
    if request.method == "POST":
        services.remove_peer(actor=actor, peer=row)
        messages.success(request, _("It may send nothing more."))
        return redirect("datasets:receiver", pk)
    return render(request, "datasets/receivers/remove.html", {"receiver": row.receiver, "peer": row})


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.MANAGE_ORGANISATION)
def receiver_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """End receiving under an AE title, after asking."""
    actor = actor_of(request)
    row = get_or_404(Receiver.objects, actor, pk=pk)
    if request.method == "POST":
        services.remove_receiver(actor=actor, receiver=row)
        messages.success(request, _("“%(title)s” receives no more.") % {"title": row.title})
        return redirect("datasets:receivers")
    return render(request, "datasets/receivers/remove.html", {"receiver": row, "peer": None})
