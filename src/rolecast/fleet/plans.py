"""From settings to what is started, or where it is: asks the backend, with the weights at hand.

Starts nothing and keeps nothing. Whether settings need another worker is decided here, by comparing plans.
"""

import asyncio
from collections.abc import Iterable

from rolecast import weights
from rolecast.backends import Backend
from rolecast.config import paths, secrets
from rolecast.config.schema import Model
from rolecast.errors import LoadFailed, RolecastError, SourceError
from rolecast.fleet.station import Station
from rolecast.values import Endpoint, Launch, Listen
from rolecast.weights import Finder


class Plans:
    """How models are started here, or reached elsewhere."""

    def __init__(self, find: Finder) -> None:
        self.find = find

    def present(self, model: Model) -> bool:
        """Whether the model could be started: its weights are here, or it needs none."""
        return not model.source or weights.found(self.find, model) is not None

    def address(self, model_id: str, model: Model, backend: Backend) -> Endpoint | None:
        """Where the model runs when that is not our doing, and nothing is missing. Raises ConfigError."""
        if backend.spawns or backend.missing(model):
            return None
        planned = backend.plan(model_id, model, None, Listen())
        return planned if isinstance(planned, Endpoint) else None

    def make(self, model_id: str, model: Model, backend: Backend, listen: Listen | None = None) -> Launch | Endpoint:
        """How one start of the model is done, or where it is. Raises SourceError without its weights.

        Without `listen` it is the plan as it is compared: for nowhere in particular.
        """
        found = self.find(model) if model.source else None
        if model.source and found is None:
            raise SourceError(absence(model_id, model))
        return backend.plan(model_id, model, found, listen or Listen())

    async def look(self, station: Station) -> None:
        """Raises LoadFailed or SourceError, with what a person can do, when its worker could not be started now."""
        model, backend = station.model, station.backend
        if model.source:  # a hash may have to be computed: not on the loop
            await asyncio.to_thread(self.find, model)
        if missing := backend.missing(model):
            is_variable = missing == secrets.unset(model.environment, model.key)  # we shall never see it
            raise LoadFailed(f"{missing}, then start the gateway again." if is_variable else f"{missing}.")
        self.make(station.worker.of, model, backend)

    def is_stale(self, station: Station, model: Model, backend: Backend) -> bool:
        """Whether what runs differs from what these settings ask for: then only another worker will do."""
        if station.planned is None:
            return model != station.model
        try:
            return self.make(station.worker.of, model, backend) != station.planned
        except (RolecastError, OSError):  # its weights are gone, perhaps, but it has them loaded
            return model != station.model


async def launches(find: Finder, stations: Iterable[Station]) -> list[Launch]:
    """How the workers of all models that could be started now would be."""
    may_start = [s for s in stations if s.backend.spawns and not (s.worker.leaving or s.worker.later)]
    return await asyncio.to_thread(_launches, Plans(find), may_start)


def _launches(plans: Plans, stations: Iterable[Station]) -> list[Launch]:
    found: list[Launch] = []
    for station in stations:
        try:
            lacks = station.backend.missing(station.model)
            plan = None if lacks else plans.make(station.model_id, station.model, station.backend)
        except (RolecastError, OSError):  # its weights are not here, or are none
            continue
        found += [plan] if isinstance(plan, Launch) else []
    return found


def absence(model_id: str, model: Model) -> str:
    """That a model's weights are not here, and what to do about it."""
    scheme, _, name = model.source.partition(":")
    path = paths.expanded(name) if scheme == "file" else None
    if path is not None and paths.is_lost(path):
        return f"the weights of {model_id} are not here: there is no file {path}; correct `source`, or bring the file."
    ways = {"file": "`rolecast check` says why", "ollama": f"run `ollama pull {name}`"}
    bring = ways.get(scheme, f"run `rolecast pull {model_id}`")
    return f"the weights of {model_id} are not here; {bring}."
