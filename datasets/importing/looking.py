"""The connection test with its preview: done by a job, so that no page waits on a stranger's server."""

import signal
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.utils import timezone

from datasets import temporary
from datasets.arrivals.found import Refused
from datasets.importing import files, lots, opening, said
from datasets.importing.base import Delivers, Faulty, Preview, Source, SourceError
from datasets.importing.models import Importer, Treatment
from datasets.importing.said import gettext as _
from datasets.preview import Settings, build
from datasets.readers.base import ReadError
from jobs.clean import clean_json
from jobs.handlers import JobContext

SECONDS = 60.0  # for the whole look
ROWS = 200  # looked at, so that kinds are told better than by the twenty that are shown
NAMES = 1_000
SHOWN = 20
SAMPLED = 12  # files whose beginnings tell their kind


def look(context: JobContext, importer: Importer) -> dict[str, Any]:
    """Connect and read the beginning; the answer is kept with the importer. That a source fails is an answer too."""
    found: dict[str, Any] = {"revision": importer.revision}
    try:
        with limited(SECONDS), opening.opened(importer) as source:
            answer = source.check()
            found |= {"state": "found", "found": str(answer), "said": {"found": said.kept(answer)}}
            found = _joined(found, _preview(context, importer, source))
    except SourceError as error:
        why = error.args[0]
        found |= {"state": "failed", "code": error.code, "text": str(why), "said": {"text": said.kept(why)}}
    except (ReadError, Refused) as error:
        found |= {"state": "failed", "code": error.code, "text": getattr(error, "why", str(error))}
    with context.fenced():
        now = Importer.objects.filter(pk=importer.pk, revision=importer.revision)  # else a newer look is on its way
        now.update(look=clean_json(found), looked_at=timezone.now())
    return {"state": found["state"], "code": found.get("code", "")}


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises SourceError in the block once it takes too long. Only a process's first thread hears it; sources have their own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_args: Any) -> None:
        text = _("The source did not answer within %(seconds)d seconds. Check the address, and the firewall between the two.")
        raise SourceError("too_slow", text % {"seconds": seconds}, passing=True)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _preview(context: JobContext, importer: Importer, source: Source) -> dict[str, Any]:
    if source.delivers == Delivers.ROWS:
        seen = source.preview(ROWS)
        return {**_told(seen), **_of_rows(importer, seen)}
    seen = source.preview(NAMES if importer.treatment == Treatment.CELLS else SHOWN)
    told = _told(seen)
    if importer.treatment == Treatment.ARRIVAL or not seen.files:
        return told
    if importer.treatment == Treatment.TABLES:
        return {**told, **_of_tables(context, importer, source)}
    return {**told, **_of_cells(context, importer, source, seen)}


def _told(seen: Preview) -> dict[str, Any]:
    faulty = [{"where": f.where[:300], "reason": f.reason[:300]} for f in seen.faulty[:SHOWN]]
    files_ = [name[:300] for name in seen.files[:SHOWN]]
    told = {
        "notes": [said.kept(note) for note in seen.notes],
        "faulty": [{"where": said.kept(f.where), "reason": said.kept(f.reason)} for f in seen.faulty[:SHOWN]],
    }
    return {"notes": [str(note)[:500] for note in seen.notes], "faulty": faulty, "files": files_, "said": told}


def _joined(found: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {**found, **more, "said": {**found["said"], **more.get("said", {})}}


def _of_rows(importer: Importer, seen: Preview) -> dict[str, Any]:
    if not seen.rows:
        return {"empty": True}
    with temporary.file("arrived-") as copy:
        path = Path(copy.name)
        lots.sample(path, seen.fields, seen.rows)
        reading = Settings(encoding="utf-8", delimiter=",", header=True)
        options, preview = build(path, reading, importer.dataset, importer.organisation)
    preview["row_estimate"], preview["row_estimate_exact"] = len(seen.rows), False
    return {"options": options, "preview": preview}


def _first(context: JobContext, source: Source, most: int) -> Iterator[tuple[Any, Any, list[Faulty]]]:
    """Some files of the first piece, spread over it. Nothing is kept and no cursor moved."""
    faulty: list[Faulty] = []
    for piece in source.pieces({}):
        if piece.files:
            for file in piece.files[:: max(1, len(piece.files) // most)][:most]:
                context.stop_if_asked()
                with files.fetched(file, faulty) as copy:
                    if copy is not None:
                        yield file, copy, faulty
            return


def _of_tables(context: JobContext, importer: Importer, source: Source) -> dict[str, Any]:
    """The first file that is a table."""
    reason: ReadError | None = None
    for _file, copy, _faulty in _first(context, source, SAMPLED):
        try:
            options, preview = build(copy.path, Settings(), importer.dataset, importer.organisation)
        except ReadError as error:
            reason = reason or error
            continue
        return {"options": options, "preview": preview}
    if reason is not None:
        raise reason
    return {"empty": True}


def _of_cells(context: JobContext, importer: Importer, source: Source, seen: Preview) -> dict[str, Any]:
    layout = files.layout_of(seen.files)
    rows = []
    with temporary.file("arrived-") as target:
        with zipfile.ZipFile(target, "w") as archive:
            for file, copy, _faulty in _first(context, source, SAMPLED):
                name = files.inside(file.name)
                files.put(archive, name, copy.path)
                rows.append((name, *files.of_name(name, layout)))
            files.write_index(archive, rows)
        target.flush()
        if not rows:
            return {"empty": True}
        options, preview = build(Path(target.name), Settings(member=files.INDEX), importer.dataset)
    for column in preview["columns"]:
        if not any(row[files.HEADER.index(column["source_name"])] for row in rows):
            column["include"] = False
    preview["row_estimate_exact"] = False
    return {"options": options, "preview": preview, "layout": layout}
