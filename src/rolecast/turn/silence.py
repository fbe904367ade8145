"""Requests whose worker says nothing: a slow request is told from a stuck worker.

A worker that has requests and gave nobody a byte of an answer for its model's `timeout` is looked at, however its
server answers health checks: one that does not even compute is stuck, and is replaced. One that computes may be
reading a long prompt: that costs the request that waited too long, and a doubt; a second doubt with not a byte between
is enough. A worker that serves others is never blamed for one slow request. Knows no order of a request's attempts.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator
from typing import Protocol

import msgspec

from rolecast.fleet import Fleet, Lease
from rolecast.fleet.station import SERVING
from rolecast.net.connection import Connection
from rolecast.turn import losses
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.plan import Plan

log = logging.getLogger("rolecast.dispatch")

SWEEP_S = 0.5
"""How often is looked for what takes too long."""
LONGEST_STEP_S = 2 * SWEEP_S
"""Time in which we did not look ourselves is nobody's silence."""

Silent = tuple[Exchange, Plan, Connection]


class Owner(Protocol):
    """Who sees requests through: `dispatch`."""

    def timed_out(self, exchange: Exchange, plan: Plan, connection: Connection) -> None:
        """Its worker took too long for it."""
        ...

    def left_stuck(self, exchange: Exchange, plan: Plan, connection: Connection, *, suspect: bool) -> None:
        """Its worker was stuck and is replaced; `suspect` = perhaps because of this request."""
        ...


class Vigil(msgspec.Struct):
    """What is known of the silence of one start of a worker."""

    generation: int
    heard: float
    """When it was heard last."""
    quiet_s: float = 0.0
    """So long it had requests since, and said nothing."""
    doubted: bool = False
    """It was looked at since, and computed."""


class Silence:
    """Looks after all requests that are under way."""

    def __init__(self, fleet: Fleet, active: Collection[Exchange], owner: Owner) -> None:
        self._fleet = fleet
        self._active = active
        self._owner = owner
        self._vigils: dict[str, Vigil] = {}
        self._looking: set[str] = set()
        self._swept = clock()

    def sweep(self, looks: asyncio.TaskGroup) -> None:
        """Look at all requests once; called every `SWEEP_S`. What takes longer goes on in the group."""
        now = clock()
        step_s, self._swept = min(now - self._swept, LONGEST_STEP_S), now
        for lease, timeout_s in self._listen(now, step_s):
            model_id = lease.worker.model_id
            if self._vigils[model_id].quiet_s > timeout_s and model_id not in self._looking:
                self._look(lease, timeout_s, looks)
        for exchange, plan, connection in silent(list(self._active), now):
            held = exchange.lease
            if held is None or not self._may_be_stuck(held, plan, now):
                self._owner.timed_out(exchange, plan, connection)
            elif held.worker.model_id not in self._looking:
                self._look(held, plan.model.timeout, looks)

    def _listen(self, now: float, step_s: float) -> list[tuple[Lease, float]]:
        """Note which workers were heard; those that have requests of which none waits for its own client."""
        serving: dict[str, tuple[Lease, float]] = {}
        excused: set[str] = set()
        for exchange in self._active:
            lease, plan, carrier = exchange.lease, exchange.plan, exchange.carrier
            if lease is None or plan is None or not plan.backend.spawns or carrier is None or not is_here(lease):
                continue
            worker = lease.worker
            serving[worker.model_id] = lease, plan.model.timeout
            if carrier.connection is not None and carrier.connection.paused:
                excused.add(worker.model_id)
            elif exchange.first:
                worker.heard = max(worker.heard, carrier.last_activity)
        for model_id, (lease, _) in serving.items():
            worker, vigil = lease.worker, self._vigils.get(model_id)
            if vigil is None or vigil.generation != worker.generation or worker.heard > vigil.heard:
                self._vigils[model_id] = Vigil(worker.generation, worker.heard)
            elif model_id not in excused:
                vigil.quiet_s += step_s
        return [serving[model_id] for model_id in serving.keys() - excused]

    def _may_be_stuck(self, lease: Lease, plan: Plan, now: float) -> bool:
        """Whether it is a worker of ours that gave nobody a byte for so long."""
        return plan.backend.spawns and is_here(lease) and now - lease.worker.heard > plan.model.timeout

    def _look(self, lease: Lease, timeout_s: float, looks: asyncio.TaskGroup) -> None:
        self._looking.add(lease.worker.model_id)
        looks.create_task(self._look_at(lease, timeout_s))

    async def _look_at(self, lease: Lease, timeout_s: float) -> None:
        try:
            await self._judge(lease, timeout_s)
        except Exception:  # or nobody would look after any request from then on
            log.exception("worker of %s could not be looked at", lease.worker.model_id)
        finally:
            self._looking.discard(lease.worker.model_id)

    async def _judge(self, lease: Lease, timeout_s: float) -> None:
        """Find out whether that worker does anything, and act on it."""
        worker, heard = lease.worker, lease.worker.heard
        works = await self._fleet.works(lease)
        self._listen(clock(), 0.0)
        if not is_here(lease) or worker.heard > heard:
            return
        vigil = self._vigils.setdefault(worker.model_id, Vigil(worker.generation, heard))
        waiting = [each for each in silent(list(self._active), clock()) if _is_on(each[0], lease)]
        if works is False or vigil.doubted:
            suspects = [losses.is_suspect(self._active, each[0], lease) for each in waiting]
            doing = "computes nothing" if works is False else "went on computing"
            self._fleet.replace(lease, f"it sent nobody anything for {timeout_s:g} s (timeout) and {doing}")
            for (exchange, plan, connection), suspect in zip(waiting, suspects, strict=True):
                self._owner.left_stuck(exchange, plan, connection, suspect=suspect)
            return
        vigil.doubted, vigil.quiet_s = True, 0.0
        for exchange, plan, connection in waiting:
            self._owner.timed_out(exchange, plan, connection)


def is_here(lease: Lease) -> bool:
    """Whether that worker serves still."""
    return lease.generation == lease.worker.generation and lease.worker.state in SERVING


def silent(active: Collection[Exchange], now: float) -> Iterator[Silent]:
    """The requests whose worker has said nothing for longer than its model's timeout."""
    for exchange in active:
        plan, carrier = exchange.plan, exchange.carrier
        if plan is None or carrier is None or carrier.connection is None or exchange.task is not None:
            continue
        if carrier.connection.paused:  # the client is slow, not the worker
            carrier.last_activity = now
        elif now - carrier.last_activity > plan.model.timeout:
            yield exchange, plan, carrier.connection


def _is_on(exchange: Exchange, lease: Lease) -> bool:
    own = exchange.lease
    return own is not None and own.worker is lease.worker and own.generation == lease.generation
