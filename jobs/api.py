"""REST: jobs of the organisation, to watch, cancel and retry."""

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from jobs import queries, services
from jobs.models import Job, JobLog
from jobs.serializers import JobLogSerializer, JobSerializer

JOBS = {"read": Permission.VIEW_JOBS, "write": Permission.MANAGE_JOBS}


def job_of(request: Request, pk: UUID) -> Job:
    """The job, if it is of the caller's organisation; else 404."""
    job: Job = get_or_404(Job.objects, actor_of(request), pk=pk)
    return job


class JobList(generics.GenericAPIView[Job]):
    """The organisation's jobs, newest first."""

    permissions = JOBS
    serializer_class = JobSerializer

    def get_queryset(self) -> Any:
        jobs = queries.jobs_of(actor_of(self.request).organisation)
        state = self.request.query_params.get("state", "")
        if state and state not in queries.FILTERS:
            raise ValidationError({"state": _("It must be one of: %(states)s.") % {"states": ", ".join(queries.FILTERS)}})
        return queries.filtered(jobs, state)

    @extend_schema(
        parameters=[OpenApiParameter("state", str, enum=list(queries.FILTERS))], responses=JobSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or []
        context = {**self.get_serializer_context(), "places": queries.positions(list(page))}
        return self.get_paginated_response(JobSerializer(page, many=True, context=context).data)


class JobDetail(generics.GenericAPIView[Job]):
    """One job: state, progress, time left, result or error."""

    permissions = JOBS
    serializer_class = JobSerializer

    def get(self, request: Request, pk: UUID) -> Response:
        return Response(self.get_serializer(job_of(request, pk)).data)


class JobCancel(generics.GenericAPIView[Job]):
    """Cancels a waiting job at once; a running one stops at its next safe point. Safe to repeat."""

    permissions = JOBS
    serializer_class = JobSerializer

    @extend_schema(request=None, responses=JobSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        try:
            job = services.cancel(actor=actor_of(request), job=job_of(request, pk))
        except services.NotPossible as error:
            raise Problem(409, "already-ended", str(error)) from error
        return Response(self.get_serializer(job).data)


class JobRetry(generics.GenericAPIView[Job]):
    """Queues a failed or cancelled job's work again, as a new job."""

    permissions = JOBS
    serializer_class = JobSerializer

    @extend_schema(request=None, responses={201: JobSerializer})
    @idempotent
    def post(self, request: Request, pk: UUID) -> Response:
        try:
            job = services.retry(actor=actor_of(request), job=job_of(request, pk))
        except services.NotPossible as error:
            raise Problem(409, "not-ended", str(error)) from error
        return Response(self.get_serializer(job).data, status=201)


class JobLogList(generics.ListAPIView[JobLog]):
    """A job's log, oldest line first."""

    permissions = JOBS
    serializer_class = JobLogSerializer
    ordering = "pk"

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return JobLog.objects.none()
        return JobLog.objects.filter(job=job_of(self.request, self.kwargs["pk"]))
