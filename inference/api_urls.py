"""The REST resources of this app, under /api/v1/."""

from django.urls import URLPattern, URLResolver, path

from inference import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("diagnoses/", api.DiagnosesView.as_view(), name="diagnoses"),
    path("diagnoses/<uuid:pk>/", api.DiagnosisView.as_view(), name="diagnosis"),
    path("diagnoses/<uuid:pk>/review/", api.ReviewView.as_view(), name="diagnosis-review"),
    path("batches/<uuid:pk>/", api.BatchView.as_view(), name="batch"),
]
