"""The energy of requests: what the machine took while they kept its workers busy, divided among them.

It is measured where a counter can be read, else estimated by the `watts` of models that have them. Between two looks at
the counters the power counts as constant, and whoever is busy at the same time takes an equal part. So the parts never
come to more than was measured; what the machine takes while nobody is busy is nobody's. Time in a queue or for a load
does not count, nor does what is answered elsewhere.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rolecast.books.store import Row, Store
from rolecast.config.edit import Change, Edit
from rolecast.config.schema import Config
from rolecast.errors import RolecastError
from rolecast.telemetry.energy import Busy, Meter, meters, shares, total
from rolecast.telemetry.metrics import Telemetry
from rolecast.turn.accounts import Accounts
from rolecast.turn.exchange import Exchange, clock
from rolecast.values import Outcome, Usage

log = logging.getLogger("rolecast.energy")

EVERY_S = 0.5
"""Counters are read so often while requests run, and never while none does."""
MOST_WAITING = 50_000
"""Rows that wait for a database that cannot be written; beyond that the oldest go."""
MICRO = 1_000_000


Span = tuple[int, float, float, str, float]
"""A request by its number, from when to when it was busy, the model's id and its `watts`."""


class EnergyBooks:
    """Divides energy among requests, and writes what each took: stands before `Accounts` while any is known."""

    def __init__(self, accounts: Accounts, store: Store, telemetry: Telemetry) -> None:
        self._accounts = accounts
        self._active = accounts.active
        self._store = store
        self._telemetry = telemetry
        self.on_change: Callable[[EnergyBooks | None], None] = lambda energy: None
        """Told whether energy is to be booked; app.py sets it."""
        self.meters: Sequence[Meter] = ()
        self._ended: list[Span] = []
        self._taken: dict[int, float] = defaultdict(float)
        """Microjoules of requests that have no row yet."""
        self._rows: list[Row] = []
        self._running: asyncio.Task[None] | None = None
        self._at = 0.0
        """The last look: whoever was busy before has its part of that."""
        self._counted: int | None = None
        """What the counters told then."""
        self._hurry = asyncio.Event()

    async def look(self, config: Config) -> None:
        """Find what can be read here, at the start."""
        if config.money.energy:
            self.meters = await asyncio.to_thread(meters)
            log.debug("energy is measured by %s", ", ".join(meter.name for meter in self.meters) or "nothing")
        self._consider(config)

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse."""
        return Change(partial(self._consider, edit.config))

    def _consider(self, config: Config) -> None:
        known = self.meters or any(model.watts for model in config.models.values())
        self.on_change(self if config.money.energy and known else None)

    # -- told by the turn ------------------------------------------------------------------------------------

    def enter(self, exchange: Exchange) -> None:
        """A request has come."""
        self._active.add(exchange)
        if self._running is None:
            self._running = asyncio.create_task(self._watch())

    def settle(self, exchange: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        """It is over."""
        self._over(exchange)
        self._accounts.settle(exchange, outcome, usage, error)

    def let_go(self, part: Exchange) -> None:
        """A part of one is over."""
        self._over(part)
        self._accounts.let_go(part)

    def _over(self, exchange: Exchange) -> None:
        if (span := _span(exchange, clock())) is not None:
            self._ended.append(span)

    async def close(self) -> None:
        """Book what is still to be booked: no request runs any more."""
        self._hurry.set()
        if self._running is not None:
            await self._running

    # -- the watch -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at the counters until nobody is left."""
        try:
            self._at, self._counted = clock(), await self._read()
            while self._active or self._ended or self._taken:
                try:
                    async with asyncio.timeout(EVERY_S):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
                counted = await self._read()
                await self._book(clock(), counted)
                if self._hurry.is_set():
                    break
        except Exception:
            log.exception("the energy of requests is not known for now")
        finally:
            self._running = None

    async def _read(self) -> int | None:
        if not self.meters:
            return None
        try:
            return await asyncio.to_thread(total, self.meters)
        except OSError as error:
            log.warning("energy is not measured any more: %s", error)
            self.meters = ()
            return None

    async def _book(self, now: float, counted: int | None) -> None:
        """Divide what was taken since the last look, and write the rows of those that are over."""
        spans, self._ended = self._ended, []
        spans += filter(None, (_span(exchange, now) for exchange in self._active))
        taken = None if counted is None or self._counted is None else max(counted - self._counted, 0)
        parts = divided(spans, self._at, now, taken)
        self._at, self._counted = now, counted
        models = {span[0]: span[3] for span in spans}
        for number, microjoules in parts.items():
            self._taken[number] += microjoules
            self._telemetry.took(models[number], microjoules / MICRO, measured=taken is not None)
        live = {exchange.number for exchange in self._active}
        measured = int(taken is not None)
        for number in [each for each in self._taken if each not in live]:
            self._rows.append((number, round(self._taken.pop(number)), measured))
        await self._write()

    async def _write(self) -> None:
        if not self._rows:
            return
        try:
            await self._store.insert([("energy", self._rows)])
        except Exception as error:
            log.debug("energy waits to be written: %s", self._store.meaning(error))
            del self._rows[: max(0, len(self._rows) - MOST_WAITING)]
        else:
            self._rows = []


def divided(spans: Iterable[Span], since: float, until: float, taken: int | None) -> dict[int, float]:
    """Microjoules of each request between two looks.

    `taken` is what the machine took, in microjoules, which all share who were busy; None = each model's `watts` are
    shared by those that it answered, and requests of models without are left out.
    """
    within = [(number, max(begin, since), min(end, until), model, watts) for number, begin, end, model, watts in spans]
    if taken is not None:
        power = taken / (until - since) if until > since else 0.0
        return {number: power * s for number, s in shares((n, b, e) for n, b, e, _, _ in within).items()}
    of_models: dict[tuple[str, float], list[Busy]] = defaultdict(list)
    for number, begin, end, model, watts in within:
        if watts:
            of_models[model, watts].append((number, begin, end))
    found: dict[int, float] = defaultdict(float)
    for (_, watts), busy in of_models.items():
        for number, seconds in shares(busy).items():
            found[number] += watts * MICRO * seconds
    return dict(found)


def _span(exchange: Exchange, until: float) -> Span | None:
    """From when on it kept a worker of this machine busy: not while it waited for one. None = it keeps none."""
    plan = exchange.plan
    if plan is None or exchange.lease is None or plan.leaves:
        return None
    began = exchange.routed + (exchange.queue_us + exchange.load_us) / 1e6
    return exchange.number, began, until, plan.answerer_id, plan.model.watts
