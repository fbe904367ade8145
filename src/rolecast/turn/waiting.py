"""Tells clients of streams that they wait: for a model that loads, or for a slot.

A client, or a proxy before it, gives a silent connection up after a while. So who has waited for some seconds gets the
head of its answer, and from then on a comment every few seconds until the answer begins; `opened` says what that means
for the answer. Looked at twice a second, with what takes too long: a request that does not wait pays nothing.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

from rolecast.config.current import Current
from rolecast.fleet import Fleet, State
from rolecast.turn.exchange import Exchange
from rolecast.turn.in_flight import phase_of, wholes
from rolecast.turn.opened import Opened, can_open

log = logging.getLogger("rolecast.dispatch")

LEAST_S = 0.5
"""Nobody is told more often: so often it is looked."""
MOST_CHARS = 200


class Waiting:
    """Who waits, and when each was told so."""

    def __init__(self, current: Current, fleet: Fleet) -> None:
        self._current = current
        self._fleet = fleet
        self._told_at: dict[Exchange, float] = {}
        """When each was told last; infinity for one whose client cannot be told."""
        self._resident: Mapping[str, int] = {}
        self.percent: Callable[[str, Mapping[str, int]], int | None] = lambda model_id, resident: None
        """How much of a load is done, in percent, by what workers hold now; None = not known. app.py sets it."""

    async def measure(self, active: Iterable[Exchange]) -> None:
        """See what workers hold, while somebody waits and something loads."""
        loads = any(w.state is State.LOADING for w in self._fleet.machine.workers.values())
        if not (loads and any(exchange.lease is None for exchange in active)):
            return
        try:
            self._resident = await self._fleet.stations.resident()
        except Exception:  # who waits is told without
            log.exception("what workers hold could not be measured")

    def look(self, active: Iterable[Exchange], now: float) -> None:
        """Tell all that have waited long enough since the last time."""
        every_s = float(self._current.config.server.tell_waiting)
        if not every_s:
            return
        every_s = max(LEAST_S, every_s)
        late = [e for e in active if not (e.first or e.part or e.closed) and now - e.began >= every_s]
        if not late:
            self._told_at.clear()
            return
        self._told_at = {e: at for e, at in self._told_at.items() if not e.closed}
        for exchange, parts in wholes([*late, *(e for e in active if e.part)]):
            if now - self._told_at.get(exchange, float("-inf")) < every_s:
                continue
            try:
                self._tell(exchange, parts, now)
            except Exception:  # it still waits, and whoever looks goes on with the others
                self._told_at[exchange] = float("inf")
                log.exception("the client of request %s could not be told that it waits", exchange.id)

    def _tell(self, exchange: Exchange, parts: list[Exchange], now: float) -> None:
        sink = exchange.sink
        phase, model_id = phase_of(exchange, parts, self._fleet)
        if not isinstance(sink, Opened):
            if phase == "running" or sink.started:
                return
            if not can_open(exchange):
                self._told_at[exchange] = float("inf")
                return
            sink = Opened(exchange)
        self._told_at[exchange] = now
        assert exchange.plan is not None
        name = exchange.plan.model_id if model_id == exchange.plan.answerer_id else model_id
        sink.tell(self._said(phase, model_id, _plain(name), now - exchange.began), exchange.dialect.ping)

    def _said(self, phase: str, model_id: str, name: str, age_s: float) -> str:
        if phase == "running":
            return f"{name} reads the request ({age_s:.0f} s)"
        if phase == "queued":
            of = "memory for " * self._fleet.wants_memory(model_id)
            return f"waiting for {of}{name} ({age_s:.0f} s)"
        percent = self.percent(model_id, self._resident)
        return f"loading {name}" + (f" {percent} %" if percent is not None else f" ({age_s:.0f} s)")


def _plain(name: str) -> str:
    """A name on one line."""
    return "".join(c if c.isprintable() else "?" for c in name[:MOST_CHARS])
