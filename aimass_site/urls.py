"""Every address of the portal and the API."""

from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView

from accounts.views.profile import language
from aimass_site import views

api: list[URLPattern | URLResolver] = [
    path("", include("accounts.api_urls")),
    path("", include("jobs.api_urls")),
    path("", include("datasets.api_urls")),
    path("", include("training.api_urls")),
    path("", include("inference.api_urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
]

urlpatterns = [
    path("", views.home, name="home"),
    path("health/", views.health, name="health"),
    path("language/", language, name="set_language"),
    path("accounts/", include("allauth.urls")),
    path("", include("accounts.urls")),
    path("jobs/", include("jobs.urls")),
    path("datasets/", include("datasets.urls")),
    path("", include("training.urls")),
    path("", include("inference.urls")),
    path("api/v1/", include((api, "api"))),
    path("api/docs/", views.api_docs, name="api_docs"),
]

handler400 = "aimass_site.views.bad_request"
handler403 = "aimass_site.views.permission_denied"
handler404 = "aimass_site.views.page_not_found"
handler500 = "aimass_site.views.server_error"

if settings.DEBUG:
    from django.contrib.staticfiles.urls import staticfiles_urlpatterns

    urlpatterns += staticfiles_urlpatterns()
