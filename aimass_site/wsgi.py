"""The WSGI application."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aimass_site.settings")
django_application = get_wsgi_application()

from inference.quick import QuickDiagnoses  # noqa: E402 (needs the apps to be loaded)

application = QuickDiagnoses(django_application)
