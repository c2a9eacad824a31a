"""The peer of `bench.intake tus`: drf-tus as its documentation sets it up, under WSGI.

`python -m bench.drf_tus` makes its tables. Read from the environment: AIMASS_DATA_DIR, the folder that it may use.
"""

import os
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.urls import include, path

FOLDER = Path(os.environ["AIMASS_DATA_DIR"]) / "drf-tus"
FOLDER.mkdir(exist_ok=True)
settings.configure(
    SECRET_KEY="only-for-the-measurement",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    BASE_DIR=FOLDER,
    MEDIA_ROOT=FOLDER / "media",
    DATA_UPLOAD_MAX_MEMORY_SIZE=64 * 1024 * 1024,  # or it refuses pieces of 8 MB
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "tus.sqlite3",
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    },
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "rest_framework",
        "rest_framework_tus",
    ],
    MIDDLEWARE=["rest_framework_tus.middleware.TusMiddleware"],
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []},
)
django.setup()
urlpatterns: list[Any] = [path("", include("rest_framework_tus.urls", namespace="rest_framework_tus"))]

from django.core.wsgi import get_wsgi_application  # noqa: E402  the settings above come first

application = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
