"""The addresses of arrivals: pages under /datasets/arrivals/, resources under /api/v1/arrivals/."""

from django.urls import URLPattern, path

from datasets.arrivals import api, views

urlpatterns: list[URLPattern] = [
    path("arrivals/", views.arrival_list, name="arrivals"),
    path("arrivals/new/", views.send, name="arrival_send"),
    path("arrivals/quarantine/", views.quarantine, name="quarantine"),
    path("arrivals/files/<int:pk>/", views.file_detail, name="arrived_file"),
    path("arrivals/files/<int:pk>/frames/<int:index>/", views.file_frame, name="arrived_file_frame"),
    path("arrivals/files/<int:pk>/retry/", views.file_retry, name="arrived_file_retry"),
    path("arrivals/files/<int:pk>/discard/", views.file_discard, name="arrived_file_discard"),
    path("arrivals/<uuid:pk>/", views.arrival, name="arrival"),
    path("arrivals/<uuid:pk>/report/", views.report_csv, name="arrival_report"),
    path("arrivals/<uuid:pk>/discard/", views.discard_all, name="arrival_discard"),
    path("arrivals/<uuid:pk>/retry/", views.retry_all, name="arrival_retry"),
]
api_urlpatterns: list[URLPattern] = [
    path("arrivals/", api.ArrivalList.as_view(), name="arrivals"),
    path("arrivals/<uuid:pk>/", api.ArrivalDetail.as_view(), name="arrival"),
    path("arrivals/<uuid:pk>/files/", api.FileList.as_view(), name="arrived_files"),
    path("arrivals/<uuid:pk>/retry/", api.ArrivalRetry.as_view(), name="arrival_retry"),
    path("arrived-files/<int:pk>/", api.FileDetail.as_view(), name="arrived_file"),
    path("arrived-files/<int:pk>/retry/", api.FileRetry.as_view(), name="arrived_file_retry"),
    path("arrived-files/<int:pk>/discard/", api.FileDiscard.as_view(), name="arrived_file_discard"),
]
