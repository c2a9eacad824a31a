"""Jobs as the API shows them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.actor import actor_of
from accounts.permissions import Permission
from jobs import queries, services
from jobs.models import Job, JobLog


class JobErrorSerializer(serializers.Serializer[Any]):
    person = serializers.CharField(help_text="what happened and what to do")
    engineer = serializers.CharField(
        allow_blank=True, help_text="what an engineer wants to know; empty for those who may not manage jobs"
    )


class JobSerializer(serializers.ModelSerializer[Job]):
    """One job. `fraction` goes from 0 to 1; `queue_position` 1 is next; `error` is null unless it failed."""

    eta_seconds = serializers.SerializerMethodField()
    queue_position = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    title = serializers.CharField(source="label", read_only=True)
    detail = serializers.JSONField(read_only=True)
    result = serializers.JSONField(read_only=True, allow_null=True)

    class Meta:
        model = Job
        fields = [
            "id", "title", "state", "fraction", "step", "message", "detail", "eta_seconds", "queue_position", "attempt",
            "error", "created_at", "started_at", "finished_at", "result", "subject_url",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_eta_seconds(self, job: Job) -> int | None:
        return queries.eta_seconds(job)

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_queue_position(self, job: Job) -> int | None:
        places = self.context.get("places")
        return services.queue_position(job) if places is None else places.get(job.pk)

    @extend_schema_field(JobErrorSerializer(allow_null=True))
    def get_error(self, job: Job) -> dict[str, str] | None:
        if job.state != "failed":
            return None
        request = self.context.get("request")
        manages = request is not None and actor_of(request).may(Permission.MANAGE_JOBS)
        return {"person": job.error_person, "engineer": job.error_engineer if manages else ""}


class JobLogSerializer(serializers.ModelSerializer[JobLog]):
    class Meta:
        model = JobLog
        fields = ["id", "at", "attempt", "text"]
        read_only_fields = fields
