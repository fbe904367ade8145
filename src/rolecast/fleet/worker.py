"""What is known of one model's worker: its state, its slots, its past. Decides nothing; `machine` does."""

from collections import deque
from enum import StrEnum

from rolecast.config.schema import Model
from rolecast.fleet.queue import Waiter
from rolecast.values import Endpoint


class State(StrEnum):
    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """Finishes what it runs; stopped after that, because its settings changed."""
    STOPPING = "stopping"
    FAILED = "failed"
    REMOTE = "remote"


class Worker:
    """State of one model's worker. Written only by the machine, except `active` and `last_used`,
    which the fleet's synchronous lease path also counts, and `answered`, which an exchange sets."""

    __slots__ = (
        "active",
        "alone",
        "answered",
        "endpoint",
        "error",
        "failures",
        "faults",
        "generation",
        "idle_setting_s",
        "idle_timeout_s",
        "idles",
        "kept_s",
        "killed",
        "last_used",
        "leaving",
        "loaded_at",
        "model_id",
        "parallel",
        "pinned",
        "queue_limit",
        "restarts",
        "retry_at",
        "started_at",
        "state",
        "waiting",
        "wanted",
        "why",
    )

    def __init__(self, model_id: str, model: Model, queue_limit: int) -> None:
        self.model_id = model_id
        self.kept_s: float | None = None
        """What the last request that spoke of it wanted in place of `idle_timeout`; infinity = never to leave."""
        self.set(model, queue_limit)
        self.state = State.COLD
        self.generation = 0
        self.endpoint: Endpoint | None = None
        self.active = 0
        self.waiting: deque[Waiter] = deque()
        self.last_used = 0.0
        self.started_at = 0.0
        self.loaded_at = 0.0
        self.retry_at = 0.0
        self.answered = -1
        """The newest generation that gave a byte of an answer to anybody."""
        self.alone = -1
        """The newest generation that ran a request alone."""
        self.failures = 0
        """Ends in a row of which nothing had come. They lengthen the pause before the next start."""
        self.faults = 0
        """Those of them that speak against the model: it did not load, or ended under requests without an answer."""
        self.killed = False
        """Whether somebody else ended it when it ended last."""
        self.restarts = 0
        self.wanted = model.pinned
        self.error = ""
        self.why = ""
        """Why it is being stopped."""
        self.leaving = False
        """No longer configured: it ends with the requests it has."""

    def set(self, model: Model, queue_limit: int) -> None:
        """Take over the settings that need no new process."""
        self.parallel = model.parallel
        self.pinned = model.pinned
        self.idle_setting_s = float(model.idle_timeout) or float("inf")
        self.queue_limit = queue_limit
        self.keep(self.kept_s)

    def keep(self, seconds: float | None) -> None:
        """Leave after so long without a request; None = by the settings. What is pinned stays."""
        self.kept_s = seconds
        self.idle_timeout_s = self.idle_setting_s if seconds is None else seconds
        self.idles = not self.pinned and self.idle_timeout_s < float("inf")
