"""gunicorn's settings, found when it is started in this folder; its own options and GUNICORN_CMD_ARGS go before these.

WEB_CONCURRENCY gives the number of worker processes (as always with gunicorn); one for each core does well.
"""

import sys
from typing import Any

# A thread that waits for the database's disk lets another one compute: several commits share one flush.
worker_class = "gthread"
threads = 4
timeout = 120


def post_worker_init(worker: Any) -> None:
    """The worker serves already while champions are loaded."""
    if "aimass_site.wsgi" in sys.modules:  # not another application that is started in this folder
        from inference.warming import start

        start()
