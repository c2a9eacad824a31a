"""From the engine's progress to the job's bar and the live rows of the candidates."""

from time import monotonic
from typing import Any

from django.utils.translation import gettext as _

from jobs.handlers import JobContext
from training import words
from training.models import Candidate, TrainingRun

WRITE_EVERY = 1.0  # seconds between two writes of the same candidate
CURVE_POINTS = 200


def thin(curve: dict[str, Any]) -> dict[str, Any]:
    """At most CURVE_POINTS epochs of a curve, the last among them."""
    epochs = len(curve.get("epoch") or [])
    if epochs <= CURVE_POINTS:
        return curve
    step = -(-epochs // CURVE_POINTS)
    keep = sorted({*range(0, epochs, step), epochs - 1})
    return {
        name: [values[i] for i in keep] if len(values) == epochs else values for name, values in curve.items()
    }


class LiveCandidates:
    """Called by the engine from the main process; writes what changed under the job's fence."""

    def __init__(self, context: JobContext, run: TrainingRun, share: float) -> None:
        self.context, self.run, self.share = context, run, share
        self.written: dict[str, float] = {}
        self.step: dict[str, str] = {}
        self.detail: dict[str, dict[str, Any]] = {}
        self.finished: set[str] = set()

    def report(self, progress: Any) -> None:
        """One report of the engine."""
        if progress.candidate and progress.step != "done":
            self._candidate(progress)
        self.context.progress(
            progress.fraction * self.share,
            self._words(progress),
            words.candidate(progress.candidate) if progress.candidate else "",
            {"candidates": self.detail},
        )

    def _words(self, progress: Any) -> str:
        detail = progress.detail
        if progress.step == "check":
            return _("Checking the data")
        if progress.step in ("trial", "epoch"):
            return _("Trial %(trial)d of %(trials)d") % {
                "trial": detail.get("trial", 1),
                "trials": detail.get("trials", 1),
            }
        if progress.step == "fit":
            return _("Fitted on all records")
        return _("Weighting the candidates") if progress.step == "ensemble" else _("Fitted")

    def _candidate(self, progress: Any) -> None:
        name, detail = progress.candidate, progress.detail
        known = self.detail.setdefault(name, {})
        for key in ("trial", "trials", "score"):
            if detail.get(key) is not None:
                known[key] = detail[key]
        known["step"] = progress.step
        new, ended = name not in self.written, progress.step == "fit"
        due = monotonic() - self.written.get(name, 0.0) >= WRITE_EVERY
        if not (new or ended or due):
            return
        self.written[name] = monotonic()
        values: dict[str, Any] = {"status": "fitted" if ended else "running"}
        if detail.get("score") is not None:
            values["validation_score"] = detail["score"]
        if (detail.get("curve") or {}).get("epoch"):
            values["curve"] = thin(detail["curve"])
        with self.context.fenced():
            Candidate.objects.update_or_create(run=self.run, name=name, defaults=values)
        if new:
            self.context.log(_("Trying the candidate “%(name)s”.") % {"name": words.candidate(name)})
        if ended and name not in self.finished:
            self.finished.add(name)
            self.context.log(_("The candidate “%(name)s” is fitted.") % {"name": words.candidate(name)})
