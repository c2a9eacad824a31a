"""Champions are loaded soon after a web process has started, so that the first patient does not wait for it.

Importing the engine and reading an artefact takes seconds. It is done in a thread after the worker serves already
(gunicorn.conf.py), never while modules are imported; a request that comes earlier loads what it needs itself.
"""

import logging
from threading import Thread

from django.db import connection

from inference import serving
from inference.errors import ModelUnavailable
from inference.models import Diagnosis
from training.models import Model, ModelVersion

logger = logging.getLogger(__name__)
MOST_VERSIONS = 8
MOST_BYTES = 500_000_000  # of artefacts together
RECENT = 2000  # the last diagnoses, which tell what is used


def wanted() -> list[ModelVersion]:
    """The champions that were asked last, then the newest others, within the limits."""
    asked = list(dict.fromkeys(Diagnosis.objects.order_by("-pk").values_list("model_id", flat=True)[:RECENT]))
    place = {pk: i for i, pk in enumerate(asked)}
    models = Model.objects.filter(champion__gate_passed=True, champion__retired_at=None).select_related(
        "champion"
    )
    champions = [model.champion for model in models if model.champion is not None]
    champions.sort(key=lambda v: (place.get(v.model_id, len(place)), -v.created_at.timestamp()))
    chosen, room = [], MOST_BYTES
    for version in champions[:MOST_VERSIONS]:
        if version.artefact_bytes <= room:
            chosen.append(version)
            room -= version.artefact_bytes
    return chosen


def warm() -> int:
    """Load them into this process; how many could be. One that cannot is left to the request that asks for it."""
    loaded = 0
    for version in wanted():
        try:
            serving.fitted_of(serving.servable(version.pk).version)
            loaded += 1
        except ModelUnavailable:
            logger.warning("Version %s could not be loaded ahead", version.pk)
    return loaded


def _run() -> None:
    try:
        import engine  # noqa: F401 (also without a champion yet, the first one should be quick)

        warm()
    except (
        Exception
    ) as error:  # the server serves all the same: a database that is not there yet, for example
        logger.warning("Champions were not loaded ahead: %s", type(error).__name__)
    finally:
        connection.close()


def start() -> Thread:
    """Begin in the background."""
    thread = Thread(target=_run, name="warm-champions", daemon=True)
    thread.start()
    return thread
