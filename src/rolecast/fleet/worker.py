"""What is known of one model's worker: its state, its slots, its past. Decides nothing; `machine` does."""

from enum import StrEnum
from typing import TYPE_CHECKING

from rolecast.config.replicas import model_of
from rolecast.config.schema import Model
from rolecast.fleet.queue import Line
from rolecast.footprint import Footprint
from rolecast.values import Endpoint

if TYPE_CHECKING:
    from rolecast.fleet.copies import Copies

BREAKER = 3
"""After so many faults in a row, waiting requests are refused until the next try."""


class State(StrEnum):
    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """Finishes what it runs; stopped after that, because its settings changed or another model needs its memory."""
    ASLEEP = "asleep"
    """Its process lives and has given its memory back; it is asked nothing until it has woken, which is `LOADING`."""
    STOPPING = "stopping"
    FAILED = "failed"
    REMOTE = "remote"


class Worker:
    """State of one model's worker. Written only by the machine, except `active` and `last_used`,
    which the fleet's synchronous lease path also counts, `answered` and `heard`, which requests set, and `silent`,
    which who starts it knows."""

    __slots__ = (
        "active",
        "alone",
        "answered",
        "copies",
        "endpoint",
        "error",
        "failures",
        "faults",
        "full",
        "generation",
        "heard",
        "held",
        "idle_setting_s",
        "idle_timeout_s",
        "idles",
        "kept_s",
        "last_used",
        "later",
        "lead_s",
        "leaves_for",
        "leaving",
        "left_at",
        "line",
        "load_s",
        "loaded_at",
        "lulled",
        "lulls_s",
        "model_id",
        "of",
        "parallel",
        "parked",
        "pin_setting",
        "pinned",
        "pinned_by_hand",
        "queue_limit",
        "rest",
        "restarts",
        "rests_s",
        "retry_at",
        "silent",
        "since",
        "sleep_s",
        "started_at",
        "state",
        "waiting",
        "wakes",
        "wanted",
        "why",
    )

    def __init__(self, model_id: str, model: Model, queue_limit: int) -> None:
        self.model_id = model_id
        self.of = model_of(model_id)
        """The model whose copy it is, which mostly is the only one."""
        self.later = self.of != model_id
        """Whether it is a copy beyond the first: it is loaded for those who wait, and never unasked."""
        self.copies: Copies | None = None
        """All of its model, itself among them, where there are several."""
        self.pinned_by_hand: bool | None = None
        """What somebody wanted in place of the setting, until that changes."""
        self.pin_setting: bool | None = None
        self.kept_s: float | None = None
        """What the last request that spoke of it wanted in place of `idle_timeout`; infinity = never to leave."""
        self.lead_s = float("inf")
        """So long before it shall sleep that begins; infinity = it cannot. What its backend says."""
        self.set(model, queue_limit)
        self.state = State.COLD
        self.generation = 0
        self.endpoint: Endpoint | None = None
        self.active = 0
        self.line = Line()
        self.waiting = self.line.waiting
        self.last_used = 0.0
        self.started_at = 0.0
        self.loaded_at = 0.0
        self.retry_at = 0.0
        self.answered = -1
        """The newest generation that gave a byte of an answer to anybody."""
        self.heard = 0.0
        """When somebody got a byte of an answer from it, by `turn.exchange.clock`; as of the last look."""
        self.alone = -1
        """The newest generation that ran a request alone."""
        self.failures = 0
        """Ends in a row of which nothing had come. They lengthen the pause before the next start."""
        self.faults = 0.0
        """Those of them that speak against the model: it did not load, or ended under requests without an answer."""
        self.restarts = 0
        self.wanted = model.pinned
        self.error = ""
        self.silent = False
        """Whether no process came of its last start, so that none printed why."""
        self.why = ""
        """Why it is being stopped."""
        self.held = Footprint()
        """What it was admitted with: counted from before it starts until it is gone. Asleep, what it holds then."""
        self.full = Footprint()
        """The same while it is awake."""
        self.rest: Footprint | None = None
        """What it was seen to hold asleep."""
        self.lulled = -1.0
        """The last use after which somebody tried to put it to sleep: once is enough."""
        self.wakes = False
        """Whether its load is a waking."""
        self.since = 0.0
        """Since when it wants to be loaded and is not; 0 = it does not, or it loads."""
        self.left_at = 0.0
        """When a worker of it was last gone as it was told to: who waits since before has had its turn."""
        self.load_s = 0.0
        """What loading it took last; 0 = not known yet."""
        self.leaves_for = ""
        """The model that it makes room for, while it is closed and finishes what it runs."""
        self.parked: Endpoint | None = None
        """Where it is, while it is closed."""
        self.leaving = False
        """No longer configured: it ends with the requests it has."""

    @property
    def broken(self) -> bool:
        """Whether it failed so often that requests are refused until the next try."""
        return self.faults >= BREAKER

    @property
    def has_left(self) -> bool:
        """Whether nothing of it is left: it is configured no more, and neither runs nor has anybody waiting."""
        gone = self.state in (State.COLD, State.FAILED, State.REMOTE)
        return self.leaving and gone and not self.active and not self.waiting

    def set(self, model: Model, queue_limit: int) -> None:
        """Take over the settings that need no new process."""
        self.parallel = model.parallel
        if model.pinned != self.pin_setting:
            self.pin_setting, self.pinned_by_hand = model.pinned, None
        self.pinned = model.pinned if self.pinned_by_hand is None else self.pinned_by_hand
        self.idle_setting_s = float(model.idle_timeout) or float("inf")
        self.sleep_s = float(model.sleep)
        self.queue_limit = queue_limit
        self.keep(self.kept_s)

    def keep(self, seconds: float | None) -> None:
        """Leave after so long without a request; None = by the settings. What is pinned stays."""
        self.kept_s = seconds
        self.idle_timeout_s = self.idle_setting_s if seconds is None else seconds
        self.idles = not self.pinned and self.idle_timeout_s < float("inf")
        leaves_s = self.idle_timeout_s if self.idles else float("inf")
        sleeps = 0 < self.sleep_s < leaves_s and self.lead_s < float("inf")
        self.lulls_s = max(0.0, self.sleep_s - self.lead_s) if sleeps else float("inf")
        self.rests_s = min(leaves_s, self.lulls_s)

    def leave(self) -> None:
        """It is configured no more: it ends when nobody uses it."""
        self.leaving, self.idles, self.pinned, self.wanted, self.idle_timeout_s = True, True, False, False, 0.0
        self.lulls_s, self.rests_s = float("inf"), 0.0

    def elsewhere(self) -> None:
        """It is a server elsewhere, which neither leaves nor sleeps, unless it is to be forgotten."""
        self.idles, self.rests_s = self.leaving, 0.0 if self.leaving else float("inf")

    def leads(self, seconds: float) -> None:
        """So long before it shall sleep that begins."""
        self.lead_s = seconds
        self.keep(self.kept_s)
