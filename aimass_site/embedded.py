"""The portal for one person on their own machine: what `ai_mass` starts when it is given neither address nor key."""

import base64
import getpass
import os
import secrets
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

ORGANISATION = "This computer"
_lock = threading.Lock()
_started: tuple[Any, str] | None = None


def start() -> tuple[Any, str]:
    """(WSGI application, API key). Sets Django up, brings the database up to date, makes the local organisation."""
    global _started
    with _lock:
        if _started is None:
            prepare_environment()
            import django

            django.setup()
            _started = application(), local_key()
        return _started


def prepare_environment() -> None:
    """Settings of the embedded portal; what the user set already is kept. Jobs' subprocesses inherit them."""
    home = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.setdefault("AIMASS_DATA_DIR", str(home / ".data"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["DJANGO_SETTINGS_MODULE"] = "aimass_site.settings"
    os.environ.setdefault("SECRET_KEY", secret_key(folder / "secret_key"))
    if not _in_file(home / ".env", "AIMASS_PATIENT_KEYS"):  # an own file's keys are used by the portal, so here too
        os.environ.setdefault("AIMASS_PATIENT_KEYS", secret_key(folder / "patient_key", fernet_key))
    os.environ.setdefault("ALLOWED_HOSTS", "embedded.aimass")
    os.environ.setdefault("AIMASS_DISPATCH", "embedded")
    os.environ.setdefault("LOG_LEVEL", "ERROR")


def secret_key(path: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(50)) -> str:
    """The installation's own secret, made on first use and readable by its owner only."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
    return path.read_text()


def fernet_key() -> str:
    """For what names a patient behind a pseudonym: without one no DICOM is taken."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _in_file(path: Path, name: str) -> bool:
    return path.exists() and any(line.startswith(f"{name}=") for line in path.read_text(encoding="utf-8").splitlines())


def application() -> Any:
    """The portal's WSGI application, with its database up to date."""
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0, interactive=False)
    return get_wsgi_application()


def local_key() -> str:
    """A key for the person at this machine, who administers the local organisation; older ones are revoked."""
    from django.utils import timezone

    from accounts.keys import make_key
    from accounts.models import ApiKey, Membership, Organisation, User
    from accounts.permissions import ROLES

    user, _new = User.objects.get_or_create(
        email=f"{getpass.getuser()}@localhost", defaults={"full_name": getpass.getuser(), "password": "!"}
    )
    membership = Membership.objects.filter(user=user, organisation__name=ORGANISATION).first()
    if membership is None:
        organisation = Organisation.objects.create(name=ORGANISATION, created_by=user)
        membership = Membership.objects.create(organisation=organisation, user=user, role="administrator")
        user.last_organisation = organisation
        user.save(update_fields=["last_organisation"])
    now = timezone.now()
    ApiKey.objects.filter(user=user, name="embedded", revoked_at=None, expires_at__lt=now).update(
        revoked_at=now
    )
    plain, prefix, key_hash = make_key()
    ApiKey.objects.create(
        organisation=membership.organisation,
        user=user,
        name="embedded",
        prefix=prefix,
        key_hash=key_hash,
        scopes=sorted(ROLES["administrator"].permissions),
        expires_at=now + timedelta(days=7),
    )
    return plain
