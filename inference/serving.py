"""Which version answers, and its fitted model kept warm in this process.

Who the champion is, is asked of the database at each diagnosis, so that a roll-back works at once in every process. What
never changes about a version (its columns, its artefact) is kept per process.
"""

import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.http import Http404
from django.utils.translation import gettext as _

from accounts.actor import Actor
from accounts.held import Held
from datasets.models import Column
from inference.errors import ModelUnavailable, NoChampion, NotServing
from inference.validation import Columns
from training.models import Model, ModelVersion

KEPT_VERSIONS = 32


@dataclass
class Servable:
    """A version that serves: its row, its columns compiled for checking."""

    version: ModelVersion
    columns: Columns
    classes: list[str] = field(default_factory=list)

    @property
    def model(self) -> Model:
        return self.version.model


_kept: OrderedDict[UUID, Servable] = OrderedDict()
_lock = Lock()

_STATE = """
SELECT m.organisation_id, m.published_at, m.champion_id, v.id, v.gate_passed, v.retired_at
FROM training_model m LEFT JOIN training_modelversion v ON v.id = {version}
WHERE {where}
"""
_BY_MODEL = _STATE.format(version="m.champion_id", where="m.id = %s")
_BY_VERSION = _STATE.format(version="%s", where="m.id = v.model_id")


@dataclass(frozen=True)
class State:
    """What decides whether a version may serve, as it is in the database now."""

    owner: UUID
    published: bool
    champion: UUID | None
    version: UUID | None
    gate_passed: bool
    retired: bool


@dataclass(frozen=True)
class Standing:
    """That a version was its model's serving champion when last looked at: to be asked again by the very statement that
    writes the diagnosis, so that one journey to the database does both and a roll-back still counts at once."""

    model: UUID
    version: UUID
    organisation: UUID


# Its parameters: model, version, organisation.
STILL_CHAMPION = """
SELECT 1 FROM training_model m JOIN training_modelversion v ON v.id = m.champion_id
WHERE m.id = %s AND v.id = %s AND v.gate_passed AND v.retired_at IS NULL
AND (m.published_at IS NOT NULL OR m.organisation_id = %s)
"""
_standing: Held[Standing] = Held(seconds=60)


def champion_standing(actor: Actor, model_id: UUID) -> tuple[Servable, Standing | None]:
    """The champion and, when it is only remembered, what must be asked again while writing. Raises as `champion_of`."""
    organisation = actor.organisation
    if organisation is None or connections[DEFAULT_DB_ALIAS].vendor == "sqlite":
        return champion_of(actor, model_id), None  # the file is next door: reading it costs nothing
    name = f"{organisation.pk}:{model_id}"
    standing = _standing.get(name)
    if standing is not None:
        return servable(standing.version), standing
    served = champion_of(actor, model_id)
    _standing.set(name, Standing(model_id, served.version.pk, organisation.pk))
    return served, None


def forget(standing: Standing) -> None:
    """It is the champion no more."""
    _standing.delete(f"{standing.organisation}:{standing.model}")


def _read(sql: str, pk: UUID) -> State | None:
    """One query without the ORM: it is asked before every diagnosis."""
    using = connections[DEFAULT_DB_ALIAS]
    with using.wrap_database_errors:
        if using.vendor == "sqlite":  # straight to the driver: Django's cursor costs more than the query
            using.ensure_connection()
            row = using.connection.execute(sql.replace("%s", "?"), [pk.hex]).fetchone()
        else:
            with using.cursor() as cursor:
                cursor.execute(sql, [str(pk)])
                row = cursor.fetchone()
    return _state(row) if row is not None else None


@lru_cache(maxsize=256)
def _state(row: tuple[Any, ...]) -> State:
    to_python = ModelVersion._meta.pk.to_python
    owner, published_at, champion, version, gate_passed, retired_at = row
    return State(
        owner=to_python(owner),
        published=published_at is not None,
        champion=to_python(champion),
        version=to_python(version),
        gate_passed=bool(gate_passed),
        retired=retired_at is not None,
    )


def champion_of(actor: Actor, model_id: UUID) -> Servable:
    """The model's champion now. Http404 when the model is not the actor's to see; NoChampion, NotServing."""
    state = _read(_BY_MODEL, model_id)
    if state is None or not _visible(actor, state):
        raise Http404
    if state.version is None:
        raise NoChampion(model_id)
    return _serving(state, state.version)


def version_of(actor: Actor, version_id: UUID) -> Servable:
    """One version by its id. Http404 when it is not the actor's to see; NotServing when it may not serve."""
    state = _read(_BY_VERSION, version_id)
    if state is None or not _visible(actor, state):
        raise Http404
    own = actor.organisation is not None and state.owner == actor.organisation.pk
    if not own and state.champion != version_id:
        raise NotServing(version_id, _("Of another organisation's published model only the champion serves."))
    return _serving(state, version_id)


def _visible(actor: Actor, state: State) -> bool:
    return actor.organisation is not None and (state.published or state.owner == actor.organisation.pk)


def _serving(state: State, version_id: UUID) -> Servable:
    if not state.gate_passed:
        raise NotServing(version_id, _("This version did not pass the gate, so it gives no diagnoses."))
    if state.retired:
        raise NotServing(version_id, _("This version is retired: ask the model's champion instead."))
    return servable(version_id)


def servable(version_id: UUID) -> Servable:
    """The version's unchanging parts, read from the database once per process."""
    with _lock:
        kept = _kept.get(version_id)
        if kept is not None:
            _kept.move_to_end(version_id)
            return kept
    version = ModelVersion.objects.select_related("model").get(pk=version_id)
    # What tells who the patient is was decided by people in the data set; texts are masked as they were for the training.
    telling = Column.objects.filter(dataset=version.model.dataset_id, identifies=True)
    columns = Columns.of(version.schema, frozenset(telling.values_list("name", flat=True)))
    made = Servable(version=version, columns=columns, classes=[str(c) for c in version.classes])
    with _lock:
        _kept[version_id] = made
        while len(_kept) > KEPT_VERSIONS:
            _kept.popitem(last=False)
    return made


def fitted_of(version: ModelVersion) -> Any:
    """The version's `engine.Fitted`, from this process's cache. Raises ModelUnavailable."""
    from engine import EngineError
    from training.artefacts import load_fitted

    try:
        fitted = load_fitted(version)
    except (EngineError, OSError) as error:
        raise ModelUnavailable(version.pk, getattr(error, "code", type(error).__name__)) from error
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)  # a second thread made latency 40 times worse on two cores (DESIGN section 3)
    return fitted
