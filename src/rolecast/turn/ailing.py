"""Workers that live, answer health checks, and fail every request: as after a fault of a GPU, which lasts as long as
the process. They are told from requests that fail wherever they are asked.

A worker that failed so many requests without one that went well between is replaced: it takes no new request and ends
those it has. The next one must have answered somebody before it may be replaced for that again, so that a client which
asks for the impossible costs one load.
"""

from rolecast.errors import RolecastError
from rolecast.fleet import Fleet, Lease
from rolecast.turn.plan import Plan

FAILURES = 5
"""So many in a row. A client that tries three times, as most do, is no row."""
FAULTS = frozenset({200, 500, 502, 504})
"""What such a server says; 200 = its stream began with the error. 503 is one that has too much to do."""


class Ailing:
    """Told of every error that a worker answers."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rows: dict[str, tuple[int, float, int]] = {}
        """The newest row of failures of each worker: of which start, when that was heard last, how many."""
        self._replaced: dict[str, float] = {}
        """When the worker that was replaced last had been heard."""

    def failed(self, plan: Plan, lease: Lease, status: int, error: RolecastError) -> None:
        """It answered with that."""
        if not plan.backend.spawns or status not in FAULTS or error.status < 500:
            return
        worker = lease.worker
        row = worker.generation, worker.heard
        generation, heard, failures = self._rows.get(worker.model_id, (*row, 0))
        failures = failures + 1 if (generation, heard) == row else 1
        self._rows[worker.model_id] = (*row, failures)
        if failures >= FAILURES and worker.heard > self._replaced.get(worker.model_id, -1.0):
            self._replaced[worker.model_id] = worker.heard
            self._fleet.refresh(lease, f"it answered {failures} requests in a row with errors ({status})")
