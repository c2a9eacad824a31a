"""What the viewer in the browser is answered, for files of records and of diagnoses alike. Never kept by a browser or a proxy."""

from collections.abc import Callable
from typing import Any

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.cells.models import CellFile
from datasets.cells.pictures import NotDrawn
from datasets.viewer import frames

ONE_LOOK = 600  # seconds within which scrolling through a file is one reading of it in the audit log
NAMES = {
    "frames": gettext_lazy("Frames as stored"), "axial": gettext_lazy("Axial"), "coronal": gettext_lazy("Coronal"),
    "sagittal": gettext_lazy("Sagittal"), "picture": gettext_lazy("Picture"), "clip": gettext_lazy("Frames of the video"),
}  # fmt: skip
# Of CT, in Hounsfield units: (name, centre, width).
PRESETS = (
    (gettext_lazy("Brain"), 40, 80), (gettext_lazy("Soft tissue"), 40, 400), (gettext_lazy("Lung"), -600, 1500),
    (gettext_lazy("Bone"), 400, 1800),
)  # fmt: skip


def read_once(request: HttpRequest, row: Any, write: Callable[[], Any]) -> None:
    """Write to the audit log that this person reads this file, unless that was written a moment ago: one look is
    one reading, not one for each of a thousand slices."""
    if cache.add(f"viewer:{request.user.pk}:{row._meta.label_lower}:{row.pk}", True, ONE_LOOK):
        write()


def about(
    cell: CellFile, kind: str, *, whole: bool, heat: Callable[[dict[str, Any]], dict[str, Any]] = lambda _found: {}
) -> HttpResponse:
    """JSON: planes with their frames, spacing and marks, windows, rate, size. `heat`: plane → parts to be drawn over its frames
    (see inference.marks)."""
    try:
        found = frames.about(cell, kind, whole=whole)
    except NotDrawn:
        return _problem(422, _("This file cannot be drawn: it is damaged, or too large to be opened for looking at."))
    except ConnectionError:
        return _busy()
    for plane in found["planes"]:
        plane["label"] = str(NAMES.get(plane["name"], ""))
    presets, windows = [], found.pop("windows")
    for number, (centre, width) in enumerate(windows, start=1):
        label = _("The file's window") if len(windows) == 1 else _("The file's window %(number)d") % {"number": number}
        if found["exact"]:  # the file names none: it is ours, from its values
            label = _("Nearly all values")
        presets.append({"label": label, "center": centre, "width": width})
    if found["hounsfield"]:
        presets += [{"label": str(name), "center": centre, "width": width} for name, centre, width in PRESETS]
    return _private(JsonResponse({"kind": kind, **found, "presets": presets, "size": cell.file.size, "heat": heat(found)}))


def frame(cell: CellFile, kind: str, plane: str, index: int) -> HttpResponse:
    """One frame: grey values, or a PNG where it has colours."""
    try:
        found = frames.frame(cell, kind, plane, index)
    except frames.NoSuchFrame:
        raise Http404 from None
    except NotDrawn:
        return _problem(422, _("This frame cannot be drawn: the file is damaged here, or the frame is too large."))
    except ConnectionError:
        return _busy()
    response = HttpResponse(found.content, content_type="application/octet-stream" if found.grey else "image/png")
    if found.grey:
        response["Content-Encoding"] = "gzip"
    return _private(response)


def _busy() -> HttpResponse:
    response = _problem(503, _("The server is busy looking at other files. Try again in a few seconds."))
    response["Retry-After"] = "3"
    return response


def _problem(status: int, text: str) -> HttpResponse:
    return _private(JsonResponse({"error": text}, status=status))


def _private(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store, private"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Disposition"] = "inline"
    return response
