"""`manage.py worker --queue heavy|light` or `--all`: works on the queues until it is told to stop."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobs.profiles import QUEUES


class Command(BaseCommand):
    help = "Runs the workers of one queue (or all) on this host and looks after them."
    requires_system_checks: list[str] = []  # they import every view of the portal; the portal has checked

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--queue", choices=QUEUES, action="append", help="may be given more than once")
        which.add_argument("--all", action="store_true", help="all queues")

    def handle(self, *args: Any, **options: Any) -> None:
        from jobs.supervisor import Supervisor

        queues = list(QUEUES) if options["all"] else list(dict.fromkeys(options["queue"]))
        sys.exit(Supervisor(queues).run())
