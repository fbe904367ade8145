"""A worker that went away under a request: whether the request may be the cause, and its next lease. Or went silent."""

from collections.abc import Iterable, Iterator

from rolecast.errors import WorkerDown
from rolecast.fleet import Fleet, Lease
from rolecast.net.connection import Connection
from rolecast.turn.exchange import Exchange
from rolecast.turn.plan import Plan

MAX_LOSSES = 2
"""A request that was alone on two workers that died before they answered anybody gets no third: it is the cause."""
AT_ONCE_S = 1.0
"""A worker that is killed so soon after a request came is hardly killed by somebody else."""
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
            by_others = lost.worker.killed and exchange.lost_after_s > AT_ONCE_S
            exchange.suspicions += 0.5 if by_others else 1.0
    model_id = lost.worker.model_id
    if exchange.suspicions >= MAX_LOSSES:
        text = f"The worker of {model_id} ended {exchange.losses} times under this request, which may be the cause."
        raise WorkerDown(f"{text} See `rolecast logs {model_id}`.", code="worker_lost")
    exchange.patience = exchange.patience or fleet.deadline()
    alone = exchange.losses >= SHARED_LOSSES
    return await fleet.lease(model_id, deadline=exchange.patience, again=max(1, exchange.losses), alone=alone)


def is_suspect(active: Iterable[Exchange], exchange: Exchange, lost: Lease) -> bool:
    """Whether nothing but this request was on that worker, which had answered nobody since its start."""
    worker, generation = lost.worker, lost.generation
    return worker.answered != generation and not any(
        lease is not None and lease.worker is worker and lease.generation == generation
        for other in active
        if other is not exchange
        for lease in (other.lease, other.lost)
    )


def silent(active: Iterable[Exchange], now: float) -> Iterator[tuple[Exchange, Plan, Connection]]:
    """The requests whose worker has said nothing for longer than its model's timeout."""
    for exchange in active:
        plan, carrier = exchange.plan, exchange.carrier
        if plan is None or carrier is None or carrier.connection is None or exchange.task is not None:
            continue
        if carrier.connection.paused:  # the client is slow, not the worker
            carrier.last_activity = now
        elif now - carrier.last_activity > plan.model.timeout:
            yield exchange, plan, carrier.connection
