"""manage.py demo_people: the demo's database brought up to date, and its people, with a password that everybody knows.

All of it in one command, because each start of Django takes seconds. Only under script/demo.
"""

from datetime import timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from accounts.keys import make_key
from accounts.models import ApiKey, Membership, Organisation, User
from accounts.permissions import ROLES

PASSWORD = "demo-hospital-2026"  # noqa: S105 - known to everybody on purpose
HOSPITAL = "Demo Hospital"
PEOPLE = {"admin": "administrator", "scientist": "data_scientist", "clinician": "clinician", "auditor": "auditor"}


class Command(BaseCommand):
    help = "Prepare the demo (safe to repeat); the last three lines are its people, their password and a key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--key-of", choices=PEOPLE, default="scientist", help="whose key is made")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("Demo accounts exist only under script/demo (AIMASS_DEMO=1).")
        call_command("compile_translations", verbosity=0)
        call_command("migrate", interactive=False, verbosity=0)
        call_command("ensure_schedules", verbosity=0)
        self.people(options["key_of"])

    @transaction.atomic
    def people(self, key_of: str) -> None:
        """The organisation, its people, and a fresh key."""
        organisation, _new = Organisation.objects.get_or_create(name=HOSPITAL)
        people = {name: self.person(name, role, organisation) for name, role in PEOPLE.items()}
        self.stdout.write(", ".join(user.email for user in people.values()))
        self.stdout.write(PASSWORD)
        self.stdout.write(self.key(people[key_of], PEOPLE[key_of], organisation))

    def person(self, name: str, role: str, organisation: Organisation) -> User:
        """One person with a verified address and a role."""
        email = f"{name}@demo.example"
        user, new = User.objects.get_or_create(
            email=email, defaults={"full_name": f"Demo {name}", "last_organisation": organisation}
        )
        if new:
            user.set_password(PASSWORD)
            user.save()
        EmailAddress.objects.get_or_create(user=user, email=email, defaults={"verified": True, "primary": True})
        Membership.objects.get_or_create(organisation=organisation, user=user, defaults={"role": role})
        return user

    def key(self, user: User, role: str, organisation: Organisation) -> str:
        """A fresh key of a day; the demo's earlier ones are revoked."""
        now = timezone.now()
        ApiKey.objects.filter(user=user, name="demo", revoked_at=None).update(revoked_at=now)
        plain, prefix, key_hash = make_key()
        ApiKey.objects.create(
            organisation=organisation, user=user, name="demo", prefix=prefix, key_hash=key_hash,
            scopes=sorted(ROLES[role].permissions), expires_at=now + timedelta(days=1),
        )  # fmt: skip
        return plain
