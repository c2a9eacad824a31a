"""Compiles locale/*/LC_MESSAGES/django.po to .mo with Babel: GNU gettext need not be installed."""

import os
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


def compile_catalogue(source: Path) -> int:
    """Write the .mo beside the .po in one step (a portal may be reading it). Returns how many messages it has."""
    target = source.with_suffix(".mo")
    with source.open("rb") as file:
        catalogue = read_po(file, abort_invalid=True)
    temporary = target.with_suffix(f".mo.{os.getpid()}")
    with temporary.open("wb") as file:
        write_mo(file, catalogue)
    temporary.replace(target)
    return len(catalogue)


class Command(BaseCommand):
    help = "Compile the portal's translations (quick: files that have not changed are skipped)."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        sources = [path for root in settings.LOCALE_PATHS for path in sorted(Path(root).glob("*/LC_MESSAGES/*.po"))]
        for source in sources:
            target = source.with_suffix(".mo")
            if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
                continue
            try:
                count = compile_catalogue(source)
            except Exception as error:
                raise CommandError(f"{source}: {error}") from error
            self.stdout.write(f"{source.relative_to(settings.BASE_DIR)}: {count} messages")
