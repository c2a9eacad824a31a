"""`manage.py dicom_receiver`: receives DICOM (C-STORE, C-ECHO) from the peers that organisations have allowed."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Receives DICOM images from modalities and archives, until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.DICOM_HOST, help="address to listen on (AIMASS_DICOM_HOST)")
        parser.add_argument("--port", type=int, default=settings.DICOM_PORT, help="port to listen on (AIMASS_DICOM_PORT)")
        parser.add_argument("--processes", type=int, default=1, help="how many processes receive side by side")

    def handle(self, *args: Any, **options: Any) -> None:
        from datasets.receiving.processes import Processes, listening

        if not 1 <= options["processes"] <= 64:
            raise CommandError("--processes takes 1 to 64.")
        try:
            sock = listening(options["host"], options["port"])
        except OSError as error:
            where = f"{options['host']}:{options['port']}"
            raise CommandError(f"Can't listen on {where}: {error.strerror}. Choose another --host or --port.") from error
        host, port = sock.getsockname()[:2]
        self.stdout.write(f"Receiving DICOM on {host}:{port}, {options['processes']} processes.")
        self.stdout.flush()
        Processes(sock, options["processes"]).run()
