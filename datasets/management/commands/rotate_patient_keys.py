"""manage.py rotate_patient_keys: encrypt the keys to patients with the first of AIMASS_PATIENT_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from datasets.dicom.services import rotate
from datasets.dicom.vault import VaultClosed


class Command(BaseCommand):
    help = "Encrypt all keys from pseudonym to patient with the first key of AIMASS_PATIENT_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = rotate()
        except VaultClosed as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{count} entries are encrypted with the first key.")
