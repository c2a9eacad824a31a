"""From the spool to an arrival: every image that was answered with success becomes exactly one arrived file.

Killed at any line, the next attempt goes on: segments are moved into a folder named by the arrival that they will be; the
arrival with all its rows is one transaction behind the job's fence; then the folder goes. A folder whose arrival is there already
was taken by an attempt that died between the two.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.utils.translation import gettext_noop

from accounts import audit
from accounts.actor import Actor
from accounts.models import Organisation, User
from datasets import storage, temporary
from datasets.arrivals import keeping, services
from datasets.arrivals.models import Arrival
from datasets.durable import sync_folder
from datasets.models import Dataset, StoredFile
from datasets.receiving import spool
from datasets.receiving.spool import Content
from jobs.handlers import JobContext
from jobs.models import Job
from jobs.services import submit

logger = logging.getLogger(__name__)
AT_ONCE = 1_000  # images of one arrival, where more are waiting
TRIES = 5


def ask_for(organisation: Organisation) -> Job:
    """Queue the job that empties the organisation's spool, unless it is queued or running."""
    return submit(
        actor=Actor(organisation=organisation),
        task="datasets.receiving.tasks.take",
        title=gettext_noop("Taking in DICOM that was received"),
        payload={},
        key=f"dicom-spool:{organisation.pk}",
    )


def take_all(context: JobContext) -> dict[str, int]:
    """Take what is in the organisation's spool, until nothing is."""
    folder = spool.folder_of(context.job.organisation_id)
    done = {"arrivals": 0, "images": 0, "damaged": 0}
    with spool.alone(folder) as alone:  # else an attempt that was given up still runs: the schedule asks again
        while alone and (groups := _groups(folder)):
            for group in groups:
                context.stop_if_asked()
                for name, count in _take(context, group).items():
                    done[name] += count
    return done


def _groups(folder: Path) -> list[Path]:
    """Folders below `taking`, one for each arrival to be: those that are left, else new ones of what is ready."""
    taking = folder / spool.TAKING
    taking.mkdir(mode=0o700, exist_ok=True)
    left = sorted(taking.iterdir())
    if left:
        return left
    chosen: dict[tuple[Any, ...], tuple[Path, int]] = {}
    groups: list[Path] = []
    for path in spool.closed(folder):
        try:
            content = spool.read(path)
        except FileNotFoundError:
            continue
        mark = tuple(content.about.get(name) for name in ("source", "receiver", "user", "dataset"))
        group, count = chosen.get(mark, (None, AT_ONCE))
        if group is None or count + len(content.images) > AT_ONCE:
            group, count = taking / uuid4().hex, 0
            group.mkdir(mode=0o700)
            groups.append(group)
        with suppress(FileNotFoundError):
            path.rename(group / path.name)
        chosen[mark] = (group, count + len(content.images))
    sync_folder(taking)
    return groups


def _take(context: JobContext, group: Path) -> dict[str, int]:
    pk = spool.arrival_of(group)
    if Arrival.objects.filter(pk=pk).exists():
        _remove(group)
        return {}
    contents = {path: spool.read(path) for path in sorted(group.glob(f"*{spool.READY}"))}
    images = sum(len(content.images) for content in contents.values())
    damaged = sum(content.damaged for content in contents.values())
    if images:
        for attempt in range(TRIES):
            files = [file for path, content in contents.items() for file in _kept(context, path, content)]
            if _arrived(context, pk, list(contents.values()), files, damaged):
                break
            if attempt + 1 == TRIES:
                raise RuntimeError("files of the spool were let go again and again while they were taken")
    if damaged:
        logger.warning("%s records of the spool were cut off or damaged and are not taken", damaged)
        _put_aside(context, contents)
    _remove(group)
    return {"arrivals": int(images > 0), "images": images, "damaged": damaged}


def _kept(context: JobContext, path: Path, content: Content) -> Iterator[StoredFile]:
    """Each image as a stored file; of those that are kept already nothing is written."""
    for image in content.images:
        context.stop_if_asked()
        with temporary.file("arrived-") as copy:
            spool.copy(path, image, copy)
            copy.flush()
            found = keeping.measured(Path(copy.name))
            with keeping.room():  # the quota was asked before success was answered
                yield storage.keep(
                    organisation=context.job.organisation, path=found.path, sha256=found.sha256, size=found.size
                )


def _arrived(context: JobContext, pk: UUID, contents: list[Content], files: list[StoredFile], damaged: int) -> bool:
    """Make the arrival. False where a file was let go by another arrival of the same content meanwhile: keep it once more."""
    about = contents[0].about
    with suppress(storage.LetGo), context.fenced():
        storage.hold(files)
        actor = Actor(user=_user(about), organisation=context.job.organisation)
        arrival = services.receive(
            actor=actor,
            files=[(f"{number:06d}.dcm", file) for number, file in enumerate(files, 1)],
            dataset=_dataset(context.job.organisation, about),
            pk=pk,
            notes={"received": {"by": about.get("title", ""), "from": _senders(contents)}},
        )
        detail = {"images": len(files), "damaged": damaged, "by": about.get("title", ""), "from": _senders(contents)}
        audit.record(actor, "dicom.received", arrival, source=about.get("source", ""), **detail)
        _note_senders(actor, arrival, contents)
        return True
    return False


def _note_senders(actor: Actor, arrival: Arrival, contents: list[Content]) -> None:
    """Who stored how many over HTTP, with which key, from where: one event for each sender, as its segments say."""
    stored: dict[tuple[str, str, str], list[Content]] = {}
    for content in contents:
        if sender := content.about.get("sender"):
            stored.setdefault((sender["label"], sender["address"], sender["agent"]), []).append(content)
    for (label, address, agent), own in stored.items():
        since = min(content.about["sender"]["at"] for content in own)
        row = audit.event(actor, "dicom.stored", arrival, instances=sum(len(c.images) for c in own), since=since)
        row.actor_label, row.ip, row.user_agent = label[:300], address or None, agent
        row.save(force_insert=True)


def _senders(contents: list[Content]) -> list[str]:
    """AE titles and addresses, each once."""
    found = [f"{note.get('peer', '')} ({note.get('address', '')})" for c in contents for note in c.notes if "address" in note]
    return sorted(set(found))[:50]


def _user(about: dict[str, Any]) -> User | None:
    return User.objects.filter(pk=about["user"]).first() if about.get("user") else None


def _dataset(organisation: Organisation, about: dict[str, Any]) -> Dataset | None:
    """The receiver's data set, unless it is gone or archived: images are not refused for that."""
    rows = Dataset.objects.for_organisation(organisation).filter(archived_at=None)
    return rows.filter(pk=about["dataset"]).first() if about.get("dataset") else None


def _put_aside(context: JobContext, contents: dict[Path, Content]) -> None:
    """What was promised and can't be read is kept for whoever can save it; what a killed writer left unfinished is not."""
    for path, content in contents.items():
        if content.damaged > int(content.torn):
            aside = spool.folder_of(context.job.organisation_id) / "damaged"
            aside.mkdir(mode=0o700, exist_ok=True)
            path.rename(aside / path.name)
            sync_folder(aside)
            logger.error("a segment of the spool is damaged and was put aside")
            audit.record(Actor(organisation=context.job.organisation), "dicom.damaged", outcome="failed", segment=path.name)


def _remove(group: Path) -> None:
    """What named patients is gone from the spool, also after a power cut."""
    shutil.rmtree(group)  # raises where something stays: the job is tried again
    sync_folder(group.parent)


def sweep() -> int:
    """The schedule's: ask for the job wherever something waits; it also finds what a killed receiver left. How many."""
    asked = 0
    for name in spool.organisations():
        organisation = Organisation.objects.filter(pk=name).first()
        if organisation is None:
            # Its organisation is gone, and with it whoever could use what was sent.
            shutil.rmtree(spool.root() / str(name), ignore_errors=True)
            continue
        ask_for(organisation)
        asked += 1
    return asked
