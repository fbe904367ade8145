"""The copies of one model, one by one: a view for the pages that show it as one."""

from collections.abc import Mapping

import msgspec

from rolecast.fleet import Fleet


class Replica(msgspec.Struct):
    """One copy of a model."""

    id: str
    """The model's own of the first, `MODEL#2` of the second."""
    state: str
    pid: int | None
    memory_bytes: int
    """Resident memory of its worker with all it started."""
    active: int
    """Requests that it answers now."""
    slots: int
    error: str | None = None
    """Why it failed last, until it is loaded again."""


def replicas(fleet: Fleet, model_id: str, resident: Mapping[str, int]) -> list[Replica]:
    """The copies of a model that may have several; of any other none. `resident` has the bytes of each worker."""
    stations = fleet.stations.of(model_id)
    if len(stations) < 2:
        return []
    return [
        Replica(
            id=each.model_id,
            state=str(each.worker.state),
            pid=each.child.pid if each.child is not None else None,
            memory_bytes=resident.get(each.model_id, 0) if each.child is not None else 0,
            active=each.worker.active,
            slots=each.worker.parallel,
            error=each.worker.error or None,
        )
        for each in stations
    ]
