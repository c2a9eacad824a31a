"""The durable job, its log, and the compute nodes that run jobs."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet


class State(models.TextChoices):
    QUEUED = "queued", _("waiting")
    RUNNING = "running", _("running")
    DONE = "done", _("done")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


TERMINAL = (State.DONE, State.FAILED, State.CANCELLED)


class Node(models.Model):
    """A host that runs workers, with what it has and when it was last heard of."""

    name = models.CharField(max_length=200)
    queue = models.CharField(max_length=20)
    pid = models.IntegerField()
    cpus = models.PositiveIntegerField()
    memory_mb = models.PositiveIntegerField()
    gpus = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(auto_now_add=True)
    heartbeat_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "queue", "pid"], name="node_once")]

    def __str__(self) -> str:
        return f"{self.name} ({self.queue})"


class Job(models.Model):
    """The durable unit of background work behind a run, a batch or an import. This row is the truth."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="jobs")
    task = models.CharField(max_length=200, help_text="dotted name of the handler")
    title = models.CharField(max_length=200, help_text="in English, to be translated for each reader (see `label`)")
    title_params = models.JSONField(default=dict, blank=True)
    payload = models.JSONField(default=dict)
    profile = models.CharField(max_length=30, default="small")
    queue = models.CharField(max_length=20, default="heavy")
    executor = models.CharField(max_length=20, default="local")
    key = models.CharField(max_length=200, null=True, blank=True, help_text="two live jobs never share it")
    subject_url = models.CharField(max_length=300, blank=True, help_text="where the person sees what this job is for")

    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    owner = models.CharField(max_length=200, blank=True)
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.SET_NULL, related_name="jobs")
    gpus = models.JSONField(default=list, blank=True, help_text="indices of the node's GPUs that are reserved for it")
    lease_until = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    max_attempts = models.PositiveIntegerField(default=3)
    not_before = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    fraction = models.FloatField(default=0.0)
    step = models.CharField(max_length=100, blank=True)
    message = models.CharField(max_length=300, blank=True)
    detail = models.JSONField(default=dict)
    eta_at = models.DateTimeField(null=True, blank=True)

    result = models.JSONField(null=True, blank=True)
    error_person = models.TextField(blank=True)
    error_engineer = models.TextField(blank=True)
    settled_at = models.DateTimeField(null=True, blank=True, help_text="side effects done")
    settling_until = models.DateTimeField(null=True, blank=True, help_text="until then one process does the side effects")
    settling_by = models.CharField(max_length=200, blank=True, default="", help_text="the owner that does them")

    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="retries")

    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["organisation", "-created_at"]),
            models.Index(fields=["queue", "state", "created_at"]),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="job_running_lease"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "key"],
                condition=Q(state__in=["queued", "running"]) & Q(key__isnull=False),
                name="job_live_key_once",
            ),
            models.CheckConstraint(condition=Q(state__in=State.values), name="job_state_known"),
            models.CheckConstraint(
                condition=~Q(state="running") | (Q(lease_until__isnull=False) & ~Q(owner="")),
                name="job_running_has_owner_and_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"], finished_at__isnull=True)
                | Q(state__in=["done", "failed", "cancelled"], finished_at__isnull=False),
                name="job_finished_when_terminal",
            ),
        ]

    def __str__(self) -> str:
        return self.title % self.title_params if self.title_params else self.title

    @property
    def label(self) -> str:
        """The title in the reader's language."""
        translated = gettext(self.title)
        return translated % self.title_params if self.title_params else translated

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL


class JobLog(models.Model):
    """One line of a job's log, for the person who watches it. No patient data."""

    organisation_path = "job__organisation"
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField(auto_now_add=True)
    attempt = models.PositiveIntegerField(default=0)
    text = models.CharField(max_length=500)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.text
