"""The REST resources of this app, under /api/v1/."""

from django.urls import URLPattern, URLResolver, path

from jobs import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("jobs/", api.JobList.as_view(), name="jobs"),
    path("jobs/<uuid:pk>/", api.JobDetail.as_view(), name="job"),
    path("jobs/<uuid:pk>/cancel/", api.JobCancel.as_view(), name="job_cancel"),
    path("jobs/<uuid:pk>/retry/", api.JobRetry.as_view(), name="job_retry"),
    path("jobs/<uuid:pk>/log/", api.JobLogList.as_view(), name="job_log"),
]
