"""Content-addressed files: streamed to a temporary file, hashed, then kept once per organisation under their hash."""

import fcntl
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import IdempotencyKey, Organisation
from datasets import temporary
from datasets.durable import sync_folder
from datasets.models import DatasetVersion, StoredFile, Upload

Pointed = TypeVar("Pointed")
PIECE = 1024 * 1024
TRIES = 5
LOCK = "storing.lock"
ROOT = "uploads"  # all content lies below it: uploads/<organisation>/<first two digits>/<sha256>


class TooLarge(ValueError):
    """The file is over the limit; the text says which."""


def limit_text(limit: int) -> str:
    """A size for a person: "2.0 GB"."""
    for unit, size in (("GB", 1024**3), ("MB", 1024**2), ("kB", 1024)):
        if limit >= size:
            return f"{limit / size:.1f} {unit}"
    return f"{limit} B"


@contextmanager
def received(file: Any, limit: int | None = None) -> Iterator[tuple[Path, str, int]]:
    """(path, sha256, size) of a synced temporary copy of an upload, stream or path. Raises TooLarge while reading."""
    limit = settings.MAX_UPLOAD_BYTES if limit is None else limit
    stream: IO[bytes] = Path(file).open("rb") if isinstance(file, str | os.PathLike) else file  # noqa: SIM115
    digest, size = hashlib.sha256(), 0
    with temporary.file("upload-") as copy:
        try:
            while piece := stream.read(PIECE):
                size += len(piece)
                if size > limit:
                    raise TooLarge(
                        _("The file is larger than %(limit)s. Split it, or compress it with gzip or zip.")
                        % {"limit": limit_text(limit)}
                    )
                digest.update(piece)
                copy.write(piece)
        finally:
            if stream is not file:
                stream.close()
        copy.flush()
        os.fsync(copy.fileno())
        yield Path(copy.name), digest.hexdigest(), size


def sha256_of(path: Path) -> str:
    """The content's hash, read a piece at a time."""
    with path.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class LetGo(ConnectionError):
    """Content was deleted by somebody who needed it no more, before the row that points to it was there: keep it once more.
    (Jobs are tried again after a ConnectionError.)"""


def hold(files: Iterable[StoredFile | None]) -> None:
    """Inside the transaction that writes what points to these: nobody lets them go before it ends. Raises LetGo."""
    there = {row.pk: row.path for row in locked(files)}
    if any(not there.get(file.pk) for file in files if file is not None):
        raise LetGo("content was let go before it was pointed to")


def locked(files: Iterable[StoredFile | None]) -> list[StoredFile]:
    """The rows as they are now, locked in one order, so that two who lock several never wait for each other."""
    pks = {file.pk for file in files if file is not None}
    return list(StoredFile.objects.select_for_update().filter(pk__in=pks).order_by("pk")) if pks else []


def keep(*, organisation: Organisation, path: Path, sha256: str, size: int, link: bool = False) -> StoredFile:
    """The organisation's StoredFile of this content; the same content is kept once.

    `link`: the file is synced and will never be written again, so that its content may be shared instead of copied.
    """
    name = f"{ROOT}/{organisation.pk}/{sha256[:2]}/{sha256}"
    for _attempt in range(2):
        if _claimed(name, size):
            break
        # What a crash left half-written. In a folder it is replaced, never deleted: another process may have just completed it.
        if place_of(name) is None and default_storage.exists(name):
            default_storage.delete(name)
        _save(name, path, link)  # and then claimed: the time of what is linked may be days ago
    else:
        _claimed(name, size)
    row = _row(organisation, sha256, size, name)
    if row.path != name and not default_storage.exists(row.path):
        row.path = name
        row.save(update_fields=["path"])
    return row


def keep_for(
    point: Callable[[StoredFile], Pointed], *, organisation: Organisation, path: Path, sha256: str, size: int, link: bool = False
) -> Pointed:
    """`keep`, and `point` writes what points to it, in one transaction; both again where the content was let go between them."""
    for _attempt in range(TRIES):
        stored = keep(organisation=organisation, path=path, sha256=sha256, size=size, link=link)
        with suppress(LetGo), transaction.atomic():
            hold([stored])
            return point(stored)
    raise LetGo("content was let go again and again while it was taken in")


def _row(organisation: Organisation, sha256: str, size: int, name: str) -> StoredFile:
    """The content's row, from now on safe from the sweep for a day: whoever asked for it has yet to point to it."""
    while True:
        row, created = StoredFile.objects.get_or_create(
            organisation=organisation, sha256=sha256, defaults={"size": size, "path": name}
        )
        if created or StoredFile.objects.filter(pk=row.pk).update(kept_at=timezone.now()):
            return row


def _claimed(name: str, size: int) -> bool:
    """Whether the content is there and whole; if so, it is young again: its row has yet to be written (see `discard`)."""
    place = place_of(name)
    if place is None:
        return default_storage.exists(name) and default_storage.size(name) == size
    with _agreed(fcntl.LOCK_SH):
        try:
            if place.stat().st_size != size:
                return False
            now = time.time_ns()  # not the kernel's own, which is some milliseconds behind
            os.utime(place, ns=(now, now))
        except FileNotFoundError:
            return False
    return True


def discard(name: str, before: float) -> bool:
    """Delete content that no row named at the time `before`, unless somebody has kept it again since. Whether it went."""
    place = place_of(name)
    if place is None:
        default_storage.delete(name)
        return True
    with _agreed(fcntl.LOCK_EX):
        try:
            if place.stat().st_mtime >= before:
                return False
            place.unlink()
        except FileNotFoundError:
            return False
    return True


def _lock() -> Path:
    """In the storage's own folder, which the desks may only read: one that was taken over holds nobody up."""
    root = place_of(LOCK)
    assert root is not None  # `place_of` is asked before, of the content
    root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return root


@contextmanager
def _agreed(how: int) -> Iterator[None]:
    """Claiming and deleting exclude each other, in all processes; both are over in no time."""
    handle = os.open(_lock(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _save(name: str, path: Path, link: bool) -> None:
    """Atomic on a folder (hard link or copy, sync, rename); otherwise what the storage does."""
    if not isinstance(
        default_storage._wrapped if hasattr(default_storage, "_wrapped") else default_storage,
        FileSystemStorage,
    ):
        with path.open("rb") as stream:
            default_storage.save(name, File(stream))
        return
    target = Path(default_storage.path(name))
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (link and _linked(path, target)):
        _copied(path, target)
    sync_folder(target.parent)


def _linked(path: Path, target: Path) -> bool:
    """A second name for the same content; False where the file system cannot (another disk, no links)."""
    part = target.with_name(f".part-{uuid.uuid4().hex}")
    try:
        os.link(path, part)
    except OSError:
        return False
    part.replace(target)
    part.unlink(missing_ok=True)  # a rename onto the same file does nothing
    return True


def _copied(path: Path, target: Path) -> None:
    with (
        path.open("rb") as source,
        tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as part,
    ):
        try:
            while piece := source.read(PIECE):
                part.write(piece)
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).chmod(0o600)
            Path(part.name).replace(target)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


def store(*, organisation: Organisation, file: Any, limit: int | None = None) -> StoredFile:
    """Stream a file in and keep it. Raises TooLarge."""
    with received(file, limit) as (path, sha256, size):
        return keep(organisation=organisation, path=path, sha256=sha256, size=size)


def _relations() -> list[tuple[Any, str]]:
    fields: list[Any] = StoredFile._meta.get_fields(include_hidden=True)
    return [(field.related_model, field.field.name) for field in fields if field.auto_created and not field.concrete]


def pointers(without: Sequence[type[Any]] = ()) -> list[tuple[Any, str]]:
    """(model, field) of all that points to a StoredFile, in every app, hidden relations too; not of the models `without`.

    A model that says `describes_only` (an index) goes with the file instead of keeping it.
    """
    return [
        (model, name)
        for model, name in _relations()
        if model not in without and not getattr(model, "describes_only", False)
    ]


def emptied(file: StoredFile) -> None:
    """The row stays for whoever points to it, but no longer answers to the content's hash: the same file can be sent again."""
    StoredFile.objects.filter(pk=file.pk).update(path="", sha256=f"erased-{uuid.uuid4().hex}")
    for model, name in _relations():
        if getattr(model, "describes_only", False):
            model._base_manager.filter(**{name: file}).delete()


def needed(file: StoredFile, *, without: Sequence[type[Any]] = ()) -> bool:
    """Whether a row of any app points to the file, of other models than `without`."""
    return any(model._base_manager.filter(**{name: file}).exists() for model, name in pointers(without))


def release(files: Iterable[StoredFile], uploads: Sequence[Upload]) -> list[str]:
    """Free files that nothing but these uploads needs; the paths to delete once the transaction holds.

    The row stays for its Upload, but no longer answers to the content's hash: the same file can be uploaded again.
    """
    paths = []
    for file in {file.pk: file for file in files if file.path}.values():
        others = Upload.objects.filter(file=file).exclude(pk__in=[u.pk for u in uploads])
        in_use = (
            DatasetVersion.objects.filter(file=file).exists()
            or Upload.objects.filter(refused_file=file).exists()
            or others.exclude(state=Upload.State.DISCARDED).exists()
            or needed(file, without=(DatasetVersion, Upload))  # the same content came as a cell or in an arrival
        )
        if not in_use:
            paths.append(file.path)
            emptied(file)
    return paths


def place_of(name: str) -> Path | None:
    """Where the file of this name lies in the storage's folder; None where storage is no folder, as Django says by raising."""
    try:
        return Path(default_storage.path(name))
    except NotImplementedError:
        return None


@contextmanager
def local(stored: StoredFile) -> Iterator[Path]:
    """A path to read the file from: the stored one itself in a folder, else a temporary copy."""
    own = place_of(stored.path)
    if own is not None:
        yield own
        return
    with (
        default_storage.open(stored.path, "rb") as stream,
        received(stream, stored.size) as (path, _sha, _size),
    ):
        yield path


def forget_answers(uploads: Sequence[Upload]) -> None:
    """Delete what is kept to answer a repeated upload: it holds the preview, with the file's first rows."""
    for organisation in {upload.organisation for upload in uploads}:
        own = IdempotencyKey.objects.for_organisation(organisation)
        own.filter(body__id__in=[str(u.pk) for u in uploads]).delete()
