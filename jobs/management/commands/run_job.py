"""`manage.py run_job ID`: run one job in this process; what every executor starts."""

import sys
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Runs one job in this process. Safe to call twice: only one call gets the job."
    requires_system_checks: list[str] = []  # a job's start should be quick; the portal has checked

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", type=UUID)
        parser.add_argument("--owner", default="", help="the claim that was made for this process")
        parser.add_argument("--watch", action="store_true", help="nobody else watches memory and time")

    def handle(self, *args: Any, **options: Any) -> None:
        from jobs.process import main

        owner = options["owner"] or f"by hand/{uuid4().hex}"
        sys.exit(main(options["job"], owner, watch_itself=options["watch"] or not options["owner"]))
