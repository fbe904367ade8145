"""A worker that went away under a request: whether the request may be the cause, and its next lease."""

from collections.abc import Iterable

from rolecast.errors import WorkerDown
from rolecast.fleet import Fleet, Lease
from rolecast.fleet.death import Cause, Death
from rolecast.turn.exchange import Exchange

MAX_LOSSES = 2
"""A request that was alone on two workers that died before they answered anybody gets no third: it is the cause."""
AT_ONCE_S = 1.0
"""A worker that is killed so soon after a request came is hardly killed by somebody else."""
BY_OTHERS = 0.25
"""So much of a suspicion is a death by somebody else, for certain: nothing that a request does ends so."""
PERHAPS_BY_OTHERS = 0.5
"""The same where the system would not say that it was for memory, of which a request may have taken too much."""
SHARED_LOSSES = 2
"""After so many deaths under a request it runs alone, so that the next one shows whether it is the cause."""
SETTLE_S = 2.0
"""After a lost connection the fleet has this long to learn whether the worker died."""


async def lease_again(fleet: Fleet, exchange: Exchange, lost: Lease, suspect: bool) -> Lease:
    """A lease after that one's worker went away, within the deadline of the first wait. Raises what ends it."""
    if await fleet.settle(lost, SETTLE_S):
        exchange.forgiven += 1
        exchange.losses += 1
        if suspect:
            exchange.suspicions += _weight(lost.station.death, exchange.lost_after_s)
    model_id = lost.worker.model_id
    if exchange.suspicions >= MAX_LOSSES:
        text = f"The worker of {model_id} ended {exchange.losses} times under this request, which may be the cause."
        raise WorkerDown(f"{text} See `rolecast logs {model_id}`.", code="worker_lost")
    exchange.patience = exchange.patience or fleet.deadline()
    alone = exchange.losses >= SHARED_LOSSES
    key, priority = exchange.caller.key, exchange.caller.priority
    return await fleet.lease(
        lost.worker.of,
        deadline=exchange.patience,
        again=max(1, exchange.losses),
        alone=alone,
        key=key,
        priority=priority,
    )


def _weight(death: Death | None, after_s: float) -> float:
    """How much a death speaks against the only request that the worker had."""
    if death is None or death.cause not in (Cause.KILLED, Cause.STOPPED):
        return 1.0
    if death.certain:
        return BY_OTHERS if death.cause is Cause.KILLED else 0.0
    return PERHAPS_BY_OTHERS if after_s > AT_ONCE_S else 1.0


def is_suspect(active: Iterable[Exchange], exchange: Exchange, lost: Lease) -> bool:
    """Whether nothing but this request was on that worker, which had answered nobody since its start."""
    worker, generation = lost.worker, lost.generation
    return worker.answered != generation and not any(
        lease is not None and lease.worker is worker and lease.generation == generation
        for other in active
        if other is not exchange
        for lease in (other.lease, other.lost)
    )
