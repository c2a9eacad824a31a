"""The portal's pages of this app."""

from django.urls import URLPattern, URLResolver

app_name = "datasets"
urlpatterns: list[URLPattern | URLResolver] = []
