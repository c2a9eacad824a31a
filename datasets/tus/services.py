"""What is done to a transfer: begun, continued, ended by becoming an Upload, given up. Each step may be killed at any line.

Order makes it safe: bytes are synced before the row's offset says so; the Upload and the row's end are one transaction; a
part file goes last. What a killed process leaves is bytes beyond the offset (cut off by the next piece), a whole transfer
without its Upload (made by the next look at it, or by the sweep), or a part without a row (removed by the sweep).
"""

import errno
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets import intake, quota
from datasets.models import Dataset, Upload
from datasets.storage import limit_text
from datasets.tus import digests, parts
from datasets.tus.models import Transfer
from datasets.tus.protocol import Checksum

PIECE = 2 * 1024 * 1024  # bytes read at once; two of them are in memory
CHECKPOINT = 8 * 1024 * 1024  # in a longer piece, so much is lost at most when the server is killed
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
State = Transfer.State
Read = Callable[[int], bytes]


class TransferRefused(ValueError):
    """What was asked of a transfer cannot be done; the text says why and what to do. `code` is for programs."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def expiry() -> timedelta:
    """How long a transfer waits for its next piece."""
    return timedelta(hours=settings.TRANSFER_HOURS)


def begin(
    *, actor: Actor, length: int, name: str, metadata: str = "", dataset: Dataset | None = None
) -> Transfer:
    """A transfer of `length` bytes, for which there is room. Raises TransferRefused."""
    organisation = actor.organisation
    assert organisation is not None
    if length > settings.MAX_UPLOAD_BYTES:
        text = _("The file is larger than %(limit)s. Split it, or compress it with gzip or zip.")
        raise TransferRefused("too-large", text % {"limit": limit_text(settings.MAX_UPLOAD_BYTES)})
    if dataset is not None and dataset.archived_at is not None:
        raise TransferRefused(
            "archived", _("This data set is archived: restore it first, or choose another one.")
        )
    if length > shutil.disk_usage(parts.root()).free:
        raise TransferRefused("disk-full", disk_full())
    with transaction.atomic():
        try:
            quota.check(organisation=organisation, more=length)
        except quota.OverQuota as error:
            raise TransferRefused("quota", str(error)) from error
        row: Transfer = Transfer.objects.create(
            organisation=organisation,
            dataset=dataset,
            name=intake.clean_name(name),
            metadata=metadata,
            length=length,
            created_by=actor.user,
            expires_at=timezone.now() + expiry(),
        )
        audit.record(actor, "transfer.started", row, size=length)
    return row


def disk_full() -> str:
    """What the person is told when there is no room for a byte more."""
    return _(
        "The server's disk is full. What has come so far is kept: go on once whoever runs the portal has made room."
    )


def receive_piece(
    *,
    actor: Actor,
    transfer: Transfer,
    offset: int,
    length: int,
    read: Read,
    checksum: Checksum | None = None,
) -> Transfer:
    """Append `length` bytes, taken by `read(n)`, at `offset`; durable on return. The last piece makes the Upload.

    Raises parts.Busy while another piece is written, TransferRefused otherwise. What came before a connection broke is
    kept, unless it was to be checked as a whole.
    """
    with parts.locked(transfer.pk) as part:
        row = current(transfer)
        if offset != row.offset or row.offset > part.size:
            raise _elsewhere(row, part)
        if offset + length > row.length:
            text = _("The piece goes beyond the length of %(length)d bytes that was announced.")
            raise TransferRefused("beyond-length", text % {"length": row.length})
        part.go_to(offset)
        _write(part, row, length, read, checksum)
        if row.is_whole:
            _end(actor, row)
    return row


def current(transfer: Transfer) -> Transfer:
    """The row as it is now, while it can go on. Raises TransferRefused."""
    row: Transfer | None = (
        Transfer.objects.select_related("organisation", "dataset", "created_by")
        .filter(pk=transfer.pk)
        .first()
    )
    if row is None:
        parts.remove(transfer.pk)  # opening it for the lock has made it anew
        raise TransferRefused("gone", _("This upload was cancelled or has expired. Begin it again."))
    if row.state == State.FINISHED:
        raise TransferRefused("finished", _("This file has arrived already."))
    if row.state == State.REFUSED:
        raise TransferRefused("refused", row.reason)
    if row.expires_at <= timezone.now():
        raise TransferRefused("expired", _("This upload has expired. Begin it again."))
    return row


def _elsewhere(row: Transfer, part: parts.Part) -> TransferRefused:
    """The piece does not fit. Where the disk has lost bytes that were durable (a restored back-up), nothing of it is trusted."""
    if part.size < row.offset:
        parts.remove(row.pk)
        row.delete()
        return TransferRefused("gone", _("The server has lost what had come of this file. Begin it again."))
    text = _("The next piece must begin at byte %(offset)d. Ask for the offset (HEAD) and go on from there.")
    return TransferRefused("wrong-offset", text % {"offset": row.offset})


def _write(part: parts.Part, row: Transfer, length: int, read: Read, checksum: Checksum | None) -> None:
    start, came, durable = row.offset, 0, 0
    whole = digests.take(row.pk, start)
    own = checksum.hasher() if checksum else None
    try:
        with digests.beside(whole, own) as hashing:
            for piece in _pieces(read, length):
                hashing.update(piece)
                part.write(piece)
                came += len(piece)
                if own is None and came - durable >= CHECKPOINT:
                    _advance(part, row, start + came)
                    durable = came
    except OSError as error:
        if error.errno not in FULL:
            raise
        part.go_to(start if own else start + came)
        if own is None:
            _advance(part, row, start + came)
        raise TransferRefused("disk-full", disk_full()) from error
    broken = came < length
    if own is not None and checksum is not None and (broken or own.digest() != checksum.digest):
        part.go_to(start)
        if not broken:
            raise TransferRefused(
                "checksum-mismatch",
                _("The piece was changed on its way: its checksum differs. Send it again."),
            )
    else:
        if came > durable:
            _advance(part, row, start + came)
        if whole is not None:
            digests.keep(row.pk, start + came, whole)
    if broken:
        raise TransferRefused("cut-off", _("The connection ended before the whole piece had come."))


def _pieces(read: Read, length: int) -> Iterator[bytes]:
    """The body, at most PIECE at a time; less of it when the connection breaks or falls silent."""
    while length:
        try:
            piece = read(min(PIECE, length))
        except OSError:  # also TimeoutError and Django's UnreadablePostError
            return
        if not piece:
            return
        length -= len(piece)
        yield piece


def _advance(part: parts.Part, row: Transfer, offset: int) -> None:
    """Say that so many bytes are here, once they are. The row's old offset guards against a second writer."""
    part.sync()
    expires = timezone.now() + expiry()
    ours = Transfer.objects.filter(pk=row.pk, offset=row.offset, state=State.RECEIVING)
    if not ours.update(offset=offset, expires_at=expires):
        raise TransferRefused("gone", _("This upload was cancelled or has expired. Begin it again."))
    row.offset, row.expires_at = offset, expires


def complete(*, actor: Actor, transfer: Transfer) -> None:
    """Make the Upload of a transfer whose bytes are all here, if a killed request has not. Raises as receive_piece."""
    with parts.locked(transfer.pk) as part:
        row = current(transfer)
        if part.size < row.offset:
            raise _elsewhere(row, part)
        if row.is_whole:
            part.go_to(row.length)
            _end(actor, row)


def _end(actor: Actor, row: Transfer) -> None:
    """The whole file becomes an Upload, or is refused for what it is. The part goes last."""

    def arrived(upload: Upload) -> None:
        row.state, row.upload, row.finished_at = State.FINISHED, upload, timezone.now()
        row.save(update_fields=["state", "upload", "finished_at"])

    try:
        intake.receive_in_place(
            actor=actor,
            path=parts.path_of(row.pk),
            sha256=digests.finished(row.pk, row.length),
            name=row.name,
            dataset=row.dataset,
            then=arrived,
        )
    except intake.IntakeRefused as error:
        with transaction.atomic():
            row.state, row.code, row.reason, row.finished_at = (
                State.REFUSED,
                error.code,
                str(error),
                timezone.now(),
            )
            row.save(update_fields=["state", "code", "reason", "finished_at"])
            audit.record(actor, "transfer.refused", row, outcome="failed", code=error.code)
        parts.remove(row.pk)
        raise TransferRefused(error.code.replace("_", "-"), str(error)) from error
    parts.remove(row.pk)


def give_up(*, actor: Actor, transfer: Transfer) -> None:
    """Remove a transfer and its bytes; one that has just arrived is discarded as an Upload.

    A piece that its sender has just cut off still has the file for a moment, which is waited for. Raises parts.Busy
    when a piece goes on being written, IntakeRefused when its import was confirmed already.
    """
    with parts.locked(transfer.pk, wait_seconds=2.0):
        with transaction.atomic():
            row = Transfer.objects.select_for_update().filter(pk=transfer.pk).first()
            if row is not None:
                if row.upload is not None:
                    intake.discard(actor=actor, upload=row.upload)
                audit.record(actor, "transfer.cancelled", row, size=row.length, came=row.offset)
                row.delete()
        parts.remove(transfer.pk)


def expire(*, transfer: Transfer) -> bool:
    """Remove a transfer whose time is over; its Upload, if it has become one, stays. Raises parts.Busy."""
    with parts.locked(transfer.pk):
        with transaction.atomic():
            over = Transfer.objects.filter(pk=transfer.pk, expires_at__lte=timezone.now())
            row = over.select_for_update().select_related("organisation").first()
            if row is None:  # a piece has come since
                return False
            if row.state == State.RECEIVING:
                who = Actor(organisation=row.organisation)
                audit.record(who, "transfer.expired", row, size=row.length, came=row.offset)
            row.delete()
        parts.remove(transfer.pk)
    return True
