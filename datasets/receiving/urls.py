"""The addresses of receiving: pages under /datasets/receivers/, resources under /api/v1/."""

from django.urls import URLPattern, path

from datasets.receiving import api, views
from datasets.receiving.web import qido, stow, wado

urlpatterns: list[URLPattern] = [
    path("receivers/", views.receivers, name="receivers"),
    path("receivers/add/", views.receiver_add, name="receiver_add"),
    path("receivers/<int:pk>/", views.receiver, name="receiver"),
    path("receivers/<int:pk>/remove/", views.receiver_remove, name="receiver_remove"),
    path("receivers/<int:pk>/peers/", views.peer_add, name="peer_add"),
    path("receivers/<int:pk>/peers/<int:peer>/remove/", views.peer_remove, name="peer_remove"),
]
STUDY = "dicomweb/studies/<str:study>"
SERIES = f"{STUDY}/series/<str:series>"
INSTANCE = f"{SERIES}/instances/<str:instance>"
web_urlpatterns: list[URLPattern] = [  # without slashes at the end, as PS3.18 has them
    path("dicomweb/studies", stow.Studies.as_view(), name="dicom_studies"),
    path("dicomweb/series", qido.SeriesSearch.as_view(), name="dicom_all_series"),
    path("dicomweb/instances", qido.InstanceSearch.as_view(), name="dicom_all_instances"),
    path(STUDY, wado.Retrieve.as_view(), name="dicom_study"),
    path(f"{STUDY}/metadata", wado.Metadata.as_view(), name="dicom_study_metadata"),
    path(f"{STUDY}/series", qido.SeriesSearch.as_view(), name="dicom_study_series"),
    path(f"{STUDY}/instances", qido.InstanceSearch.as_view(), name="dicom_study_instances"),
    path(SERIES, wado.Retrieve.as_view(), name="dicom_series"),
    path(f"{SERIES}/metadata", wado.Metadata.as_view(), name="dicom_series_metadata"),
    path(f"{SERIES}/instances", qido.InstanceSearch.as_view(), name="dicom_series_instances"),
    path(INSTANCE, wado.Retrieve.as_view(), name="dicom_instance"),
    path(f"{INSTANCE}/metadata", wado.Metadata.as_view(), name="dicom_instance_metadata"),
    path(f"{INSTANCE}/rendered", wado.Rendered.as_view(), name="dicom_rendered"),
    path(f"{INSTANCE}/frames/<str:frames>", wado.Frames.as_view(), name="dicom_frames"),
    path(f"{INSTANCE}/frames/<str:frames>/rendered", wado.Rendered.as_view(), name="dicom_frames_rendered"),
]
api_urlpatterns: list[URLPattern] = [
    path("receivers/", api.ReceiverList.as_view(), name="receivers"),
    path("receivers/<int:pk>/", api.ReceiverDetail.as_view(), name="receiver"),
    path("receivers/<int:pk>/peers/", api.PeerList.as_view(), name="peers"),
    path("receivers/<int:pk>/peers/<int:peer>/", api.PeerDetail.as_view(), name="peer"),
    *web_urlpatterns,
]
