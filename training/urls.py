"""The portal's pages of this app."""

from django.urls import URLPattern, URLResolver, path

from training.views import models, runs, versions

app_name = "training"
urlpatterns: list[URLPattern | URLResolver] = [
    path("models/", models.models, name="models"),
    path("models/<uuid:pk>/", models.model, name="model"),
    path("models/<uuid:pk>/roll-back/", models.roll_back, name="roll_back"),
    path("models/<uuid:pk>/publish/", models.publish, name="publish"),
    path("models/<uuid:pk>/nightly/", models.nightly, name="nightly"),
    path("models/versions/<uuid:pk>/", versions.version, name="version"),
    path("models/versions/<uuid:pk>/confirm/", models.confirm, name="confirm"),
    path("training/", runs.runs, name="runs"),
    path("training/new/<uuid:pk>/", runs.start, name="start"),
    path("training/gate/", versions.gate_page, name="gate"),
    path("training/gate/save/", versions.gate_save, name="gate_save"),
    path("training/<uuid:pk>/", runs.run, name="run"),
    path("training/<uuid:pk>/live/", runs.run_live, name="run_live"),
    path("training/<uuid:pk>/repeat/", runs.repeat, name="repeat"),
    path("training/<uuid:pk>/cancel/", runs.cancel, name="cancel"),
    path("training/<uuid:pk>/retry/", runs.retry, name="retry"),
    path("recommendation/", versions.recommended, name="recommendation"),
]
