"""The home page's question: what is done, and what does this person do next? Answered in three cheap queries."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.actor import Actor
from accounts.models import Organisation
from accounts.permissions import Permission
from datasets.models import Dataset, Upload
from inference.models import Diagnosis
from jobs.models import Job, State
from training.models import Model, ModelVersion, TrainingRun


@dataclass(frozen=True)
class Step:
    """One step of the way from records to a diagnosis."""

    fact: str  # the fact that says that it is done
    title: Promise
    text: Promise
    action: Promise
    who: Promise  # shown to those who may not do it
    url_name: str
    permission: Permission


STEPS = (
    Step(
        "has_records",
        _("Upload records"),
        _("A table (CSV, Excel, Parquet) or a zip with pictures and signals. You see a preview before anything is stored."),
        _("Upload records"),
        _("A clinician or data scientist of your organisation does this."),
        "datasets:upload",
        Permission.WRITE_DATA,
    ),
    Step(
        "has_version",
        _("Train models"),
        _("Several models learn from your records and are judged on patients they have not seen."),
        _("Choose a data set to train on"),
        _("A clinician or data scientist of your organisation does this."),
        "datasets:list",
        Permission.TRAIN,
    ),
    Step(
        "has_champion",
        _("Confirm the best model"),
        _("Compare the models on the leaderboard and confirm the one that will give diagnoses."),
        _("Compare models"),
        _("A clinician or data scientist of your organisation does this."),
        "training:models",
        Permission.CONFIRM_MODEL,
    ),
    Step(
        "has_diagnosis",
        _("Diagnose a patient"),
        _("Enter a patient's record: you get a diagnosis with its probability and its reasons."),
        _("Diagnose a patient"),
        _("A clinician of your organisation does this."),
        "inference:start",
        Permission.DIAGNOSE,
    ),
)


def facts(organisation: Organisation) -> dict[str, Any]:
    """What this organisation has, in one query of existence checks: its cost does not grow with the data."""
    mine = {"organisation": OuterRef("pk")}
    row: Any = Organisation.objects.filter(pk=organisation.pk).annotate(
        has_records=Exists(Dataset.objects.filter(**mine, archived_at=None, record_count__gt=0)),
        has_version=Exists(ModelVersion.objects.filter(model__organisation=OuterRef("pk"), gate_passed=True)),
        has_champion=Exists(
            Model.objects.filter(Q(organisation=OuterRef("pk")) | Q(published_at__isnull=False), champion__isnull=False)
        ),
        has_diagnosis=Exists(Diagnosis.objects.filter(**mine)),
    ).get()  # fmt: skip
    return {step.fact: getattr(row, step.fact) for step in STEPS}


def address(name: str, *args: Any) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def steps(actor: Actor, have: dict[str, bool]) -> list[dict[str, Any]]:
    """The four steps with their state for this person: done, current (the first not done) or later."""
    made: list[dict[str, Any]] = []
    current_given = False
    for step in STEPS:
        state = "done" if have[step.fact] else "later" if current_given else "current"
        current_given = current_given or state == "current"
        made.append({"step": step, "state": state, "may": actor.may(step.permission), "url": address(step.url_name)})
    return made


def waiting(actor: Actor) -> dict[str, Any] | None:
    """What is under way and wants this person's eye first: an upload to confirm, a training to watch."""
    organisation = actor.organisation
    if actor.may(Permission.WRITE_DATA):
        # Only this person's own: a colleague's preview is the colleague's to confirm.
        upload = (
            Upload.objects.for_organisation(organisation)
            .filter(state=Upload.State.PREVIEW, created_by=actor.user)
            .only("pk")
            .first()
        )
        if upload and (url := address("datasets:preview", upload.pk)):
            return {
                "title": _("An upload waits for your confirmation"),
                "text": _("Check what was found in the file. Nothing is stored as records before you confirm."),
                "action": _("Look at the preview"),
                "url": url,
            }
    run = (
        TrainingRun.objects.for_organisation(organisation)
        .filter(job__state__in=[State.QUEUED, State.RUNNING])
        .only("pk")
        .first()
    )
    if run and (url := address("training:run", run.pk)):
        return {
            "title": _("Models are being trained"),
            "text": _("You can watch the progress, or come back: you will be notified when it is done."),
            "action": _("Watch the training"),
            "url": url,
        }
    return None


def next_step(actor: Actor, made: list[dict[str, Any]]) -> dict[str, Any]:
    """The one thing that this person does next."""
    under_way = waiting(actor)
    if under_way:
        return under_way
    if not actor.may(Permission.WRITE_DATA) and actor.may(Permission.VIEW_AUDIT):
        return {
            "title": _("Read the audit log"),
            "text": _("Who did, changed or read what, when and from where. You can filter and export it."),
            "action": _("Open the audit log"),
            "url": address("accounts:audit"),
        }
    current = next((s for s in made if s["state"] == "current"), made[-1])
    step: Step = current["step"]
    if not current["may"]:
        return {"title": step.title, "text": step.who, "action": "", "url": ""}
    return {"title": step.title, "text": step.text, "action": step.action, "url": current["url"]}


def recent_jobs(actor: Actor) -> list[Job]:
    """The latest background work, newest first."""
    if not actor.may(Permission.VIEW_JOBS):
        return []
    fields = ("id", "title", "title_params", "state", "fraction", "created_at", "subject_url")
    return list(Job.objects.for_organisation(actor.organisation).only(*fields).order_by("-created_at", "-id")[:5])


def home_context(actor: Actor) -> dict[str, Any]:
    """All that the home page shows."""
    assert actor.organisation is not None
    made = steps(actor, facts(actor.organisation))
    return {"next": next_step(actor, made), "steps": made, "jobs": recent_jobs(actor)}
