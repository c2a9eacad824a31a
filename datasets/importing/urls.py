"""The addresses of importers: pages under /datasets/importers/, resources under /api/v1/."""

from django.urls import URLPattern, path

from datasets.importing import api, views, views_setup

ONE = "importers/<uuid:pk>"
urlpatterns: list[URLPattern] = [
    path("importers/", views.importers, name="importers"),
    path("importers/add/", views_setup.importer_kinds, name="importer_kinds"),
    path("importers/add/<slug:kind>/", views_setup.importer_add, name="importer_add"),
    path(f"{ONE}/", views.importer, name="importer"),
    path(f"{ONE}/settings/", views_setup.importer_settings, name="importer_settings"),
    path(f"{ONE}/test/", views_setup.importer_test, name="importer_test"),
    path(f"{ONE}/look/", views_setup.importer_look, name="importer_look"),
    path(f"{ONE}/schedule/", views_setup.importer_schedule, name="importer_schedule"),
    path(f"{ONE}/run/", views.importer_start, name="importer_start"),
    path(f"{ONE}/pause/", views.importer_pause, name="importer_pause"),
    path(f"{ONE}/remove/", views_setup.importer_remove, name="importer_remove"),
    path(f"{ONE}/runs/<int:run>/", views.importer_run, name="importer_run"),
]
api_urlpatterns: list[URLPattern] = [
    path("importers/", api.ImporterList.as_view(), name="importers"),
    path("importers/kinds/", api.KindList.as_view(), name="importer_kinds"),
    path(f"{ONE}/", api.ImporterDetail.as_view(), name="importer"),
    path(f"{ONE}/test/", api.ImporterTest.as_view(), name="importer_test"),
    path(f"{ONE}/preview/", api.ImporterPreview.as_view(), name="importer_preview"),
    path(f"{ONE}/mapping/", api.ImporterMapping.as_view(), name="importer_mapping"),
    path(f"{ONE}/schedule/", api.ImporterSchedule.as_view(), name="importer_schedule"),
    path(f"{ONE}/run/", api.ImporterStart.as_view(), name="importer_start"),
    path(f"{ONE}/pause/", api.ImporterPause.as_view(), name="importer_pause"),
    path(f"{ONE}/runs/", api.RunList.as_view(), name="importer_runs"),
    path(f"{ONE}/runs/<int:run>/", api.RunDetail.as_view(), name="importer_run"),
]
