"""The site's registration with Django: it owns the management commands that span apps."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "aimass_site"
