"""`manage.py ensure_schedules`: the schedules that django-q2 keeps, created or corrected."""

from typing import Any

from django.core.management.base import BaseCommand

from jobs.schedules import ensure


class Command(BaseCommand):
    help = "Creates the periodic schedules, or corrects them. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        for name in ensure():
            self.stdout.write(name)
