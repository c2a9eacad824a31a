"""The REST resources of this app, under /api/v1/."""

from django.urls import URLPattern, URLResolver, path

from training import api, api_models

urlpatterns: list[URLPattern | URLResolver] = [
    path("training-runs/", api.RunList.as_view(), name="training-runs"),
    path("training-runs/<uuid:pk>/", api.RunDetail.as_view(), name="training-run"),
    path("training-runs/<uuid:pk>/cancel/", api.RunCancel.as_view(), name="training-run-cancel"),
    path("training-runs/<uuid:pk>/repeat/", api.RunRepeat.as_view(), name="training-run-repeat"),
    path("recipe-options/", api.RecipeOptions.as_view(), name="recipe-options"),
    path("gate/", api.GateView.as_view(), name="gate"),
    path("models/", api_models.ModelList.as_view(), name="models"),
    path("models/<uuid:pk>/", api_models.ModelDetail.as_view(), name="model"),
    path("models/<uuid:pk>/roll-back/", api_models.ModelRollBack.as_view(), name="model-roll-back"),
    path("models/<uuid:pk>/publish/", api_models.ModelPublish.as_view(), name="model-publish"),
    path("model-versions/", api_models.VersionList.as_view(), name="model-versions"),
    path("model-versions/<uuid:pk>/", api_models.VersionDetail.as_view(), name="model-version"),
    path(
        "model-versions/<uuid:pk>/confirm/", api_models.VersionConfirm.as_view(), name="model-version-confirm"
    ),
    path(
        "model-versions/<uuid:pk>/evaluate/",
        api_models.VersionEvaluate.as_view(),
        name="model-version-evaluate",
    ),
    path("leaderboard/", api_models.LeaderboardView.as_view(), name="leaderboard"),
    path("recommendation/", api.RecommendationView.as_view(), name="recommendation"),
]
