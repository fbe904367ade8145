"""The requests that are under way, and the tasks in which they wait. Knows no order of theirs."""

import asyncio
import logging
from collections.abc import Callable

from rolecast.errors import Internal, ShuttingDown
from rolecast.fleet import Fleet
from rolecast.turn.accounts import Accounts
from rolecast.turn.energy import EnergyBooks
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans

log = logging.getLogger("rolecast.dispatch")


class UnderWay:
    """What `Dispatch` has of the requests that it sees through."""

    def __init__(self, plans: Plans, accounts: Accounts, fleet: Fleet) -> None:
        self.plans = plans
        self.accounts = accounts
        self.fleet = fleet
        self.active = accounts.active
        self.enter: Callable[[Exchange], None] = accounts.active.add
        self.let_go = accounts.let_go
        self.settle = accounts.settle  # the very method: this is called for every request
        self.refused = accounts.refused
        self.cork = fleet.cork
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def measure(self, energy: EnergyBooks | None) -> None:
        """Have the energy of requests booked from now on, or not any more; without it, it costs no request anything."""
        books = energy or self.accounts
        self.enter = energy.enter if energy is not None else self.active.add
        self.let_go, self.settle = books.let_go, books.settle

    async def drain(self, timeout_s: float, hurry: asyncio.Event) -> None:
        """Take no new request and wait for running ones; what is left after `timeout_s` or at `hurry` gets an error."""
        self.plans.close()
        deadline = self._loop.time() + timeout_s
        while self.active and self._loop.time() < deadline and not hurry.is_set():  # noqa: ASYNC110  # the end of a set
            await asyncio.sleep(0.02)
        for exchange in list(self.active):
            if not exchange.sink.started:
                exchange.give_up()
            exchange.fail(ShuttingDown())

    def in_task(self, exchange: Exchange, plan: Plan, coroutine: "asyncio._CoroutineLike[None]") -> None:
        """Go on with a request that waits for something, or asks something, before a worker is leased for it."""
        exchange.plan = plan
        exchange.routed = clock()
        self.enter(exchange)
        self.cork.running = len(self.active)
        self.spawn(exchange, coroutine)

    def spawn(self, exchange: Exchange, coroutine: "asyncio._CoroutineLike[None]") -> None:
        """Go on in a task, which ends with the client."""
        task = self._loop.create_task(coroutine)
        exchange.task = task
        self._tasks.add(task)

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (exc := task.exception()):
                log.error("request %s failed", exchange.id, exc_info=exc)
                exchange.fail(Internal())

        task.add_done_callback(ended)
