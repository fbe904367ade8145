"""The end of a request: its slot is freed, it is counted, and its row is written into the ledger.

Also knows which requests are under way. Runs for every request before its last byte goes out, so nothing here waits.
"""

from collections.abc import Collection

from msgspec.structs import replace

from rolecast.books.ledger import Charge, Ledger
from rolecast.dialects.request import Request
from rolecast.errors import RolecastError
from rolecast.fleet import Fleet, Lease
from rolecast.money import MOST
from rolecast.telemetry.metrics import Place, Telemetry
from rolecast.turn.again import Again
from rolecast.turn.bonds import Bonds
from rolecast.turn.deadline import Deadlines
from rolecast.turn.exchange import Exchange, clock, cost_of
from rolecast.turn.gate import Gate
from rolecast.turn.paces import LEAST_S, Paces
from rolecast.turn.plan import Plan
from rolecast.values import Caller, Outcome, Usage


class Accounts:
    """The requests that run, and the books of those that did."""

    def __init__(self, fleet: Fleet, ledger: Ledger, telemetry: Telemetry, paces: Paces, bonds: Bonds) -> None:
        self._fleet = fleet
        self._cork = fleet.cork
        self._ledger = ledger
        self._telemetry = telemetry
        self.paces = paces
        self._bonds = bonds
        self.active: set[Exchange] = set()
        self.gate = Gate()
        """What callers are held to."""
        self.deadlines = Deadlines()
        """Who must be answered by when."""
        self.again: Again | None = None
        """Who hears what became of requests to servers that failed lately."""
        self._troubled: Collection[str] = ()

    def heed(self, again: Again) -> Again:
        """Tell that one."""
        self.again, self._troubled = again, again.troubled
        return again

    def settle(self, exchange: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        """Free the slot, count, and queue the ledger row. Called exactly once per exchange."""
        self.active.discard(exchange)
        self._cork.running = len(self.active)
        plan, request, caller = exchange.plan, exchange.request, exchange.caller
        if self._troubled or caller.deadline_s or outcome == "error":
            self._watched(exchange, outcome)
        if exchange.lease is not None:
            self._free(exchange.lease, request, outcome)
        if plan is None or request is None:
            self.drop(exchange)
            self._refused_at(exchange, error)
            return
        if plan.billed or caller.gated or exchange.spent or exchange.fell:
            self._charge(exchange, plan, usage)
        ended, began = clock(), exchange.began
        total_s = ended - began
        first_s = exchange.first - began if exchange.first else 0.0
        self._telemetry.last_request[caller.listener] = ended
        plan.stats.count(outcome, usage, first_s * 1000, total_s * 1000)
        if task := request.found or plan.choice.task:
            self._telemetry.did(task, outcome, usage, first_s * 1000, total_s * 1000)
        if total_s >= LEAST_S and outcome == "ok" and exchange.attempts == 1:
            self._learn(exchange, plan, request, usage, first_s, total_s)
        place = (caller.listener, caller.key)
        route = plan.routes.get(place) or plan.routes.setdefault(place, self._route(exchange, plan, request))
        if plan.choice.seen is not None:
            if plan.conversation and outcome != "error":
                self._bonds.note(plan.conversation, plan.model_id, plan.choice)
            self._ledger.decided(exchange.number, plan.choice)
        self._ledger.record(
            exchange.number,
            route,
            exchange.status if error is None else error.status,
            outcome,
            None if error is None else error.code,
            request.stream,
            usage,
            first_s,
            total_s,
            exchange.attempts,
            exchange.queue_us,
            exchange.load_us,
            caller.client_id,
        )
        if self._telemetry.requests.wanted:
            self._log(exchange, plan, request, outcome, usage, error, first_s, total_s)

    def _free(self, lease: Lease, request: Request | None, outcome: Outcome) -> None:
        """Give its slot back; a request may say how long its model stays."""
        if outcome == "ok":
            lease.worker.heard = clock()
        self._fleet.release(lease)
        if request is not None and request.stay_s is not None:
            self._fleet.keep(lease.worker.model_id, request.stay_s)

    def _watched(self, exchange: Exchange, outcome: Outcome) -> None:
        """Tell that it is over to who had an eye on it."""
        self.deadlines.over(exchange)
        if self.again is not None and exchange.plan is not None:
            self.again.over(exchange, exchange.plan, outcome)

    def _learn(
        self, exchange: Exchange, plan: Plan, request: Request, usage: Usage, first_s: float, total_s: float
    ) -> None:
        """Note how fast the model was."""
        waited_s = (exchange.queue_us + exchange.load_us) / 1e6
        self.paces.answered(
            plan.answerer_id, usage, first_s - waited_s, total_s - waited_s, request.stream, plan.choice.task
        )

    def _charge(self, exchange: Exchange, plan: Plan, usage: Usage) -> None:
        """Write down what it cost, and tell who counts for the caller."""
        caller = exchange.caller
        cost = min(exchange.price(usage), MOST)
        if plan.rates is not None or cost:
            exchange.cost = cost
        plan.stats.charge(plan.provider, cost, fell=bool(exchange.fell))
        if plan.billed or cost or caller.run or exchange.fell:
            fallback = exchange.fell if exchange.fell != plan.model_id else ""
            self._charged(exchange.number, plan, cost, usage, caller, fallback)
        if caller.gated:
            self.gate.leave(exchange, usage, cost + exchange.aside)

    def _log(
        self,
        exchange: Exchange,
        plan: Plan,
        request: Request,
        outcome: Outcome,
        usage: Usage,
        error: RolecastError | None,
        first_s: float,
        total_s: float,
    ) -> None:
        caller, choice = exchange.caller, plan.choice
        self._telemetry.requests.answered(
            exchange.id,
            caller.listener,
            request.kind,
            plan.model_id,
            plan.answerer_id,
            choice.role,
            request.found or choice.task,
            request.stream,
            exchange.status if error is None else error.status,
            outcome,
            "" if error is None else error.code or "",
            usage,
            exchange.queue_us / 1000,
            exchange.load_us / 1000,
            first_s * 1000,
            total_s * 1000,
            exchange.attempts,
            caller.key,
            caller.client_id,
        )

    def set_aside(self, exchange: Exchange, number: int, usage: Usage, why: str) -> None:
        """Write the row of an answer that nobody gets: the first of a cascade. The request goes on."""
        plan, request, lease = exchange.called()
        told = plan.told(plan.asked, replace(plan.choice, source="cascade", reason=why))
        first_s = exchange.first - exchange.began if exchange.first else 0.0
        total_s = clock() - exchange.began
        plan.stats.count("ok", usage, first_s * 1000, total_s * 1000)
        route = self._route(exchange, told, request)
        if plan.billed or exchange.caller.run:
            cost = 0 if plan.rates is None else min(cost_of(plan.rates, usage), MOST)
            exchange.aside += cost
            self._charged(number, plan, cost, usage, exchange.caller)
        waits = lease.queue_us, lease.load_us
        self._ledger.record(number, route, 200, "ok", None, request.stream, usage, first_s, total_s, 1, *waits, "")

    def let_go(self, part: Exchange) -> None:
        """Free the slot of a part of a request; the books are the whole's."""
        self.active.discard(part)
        self._cork.running = len(self.active)
        if part.lease is not None:
            part.lease.worker.heard = max(part.lease.worker.heard, part.first)
            self._fleet.release(part.lease)
        if self._troubled or part.due:
            self._watched(part, "ok")

    def _charged(self, number: int, plan: Plan, cost: int, usage: Usage, caller: Caller, fallback: str = "") -> None:
        written = usage.written_tokens
        self._ledger.charged(
            Charge(number, plan.provider, cost, written, caller.key, caller.run, caller.agent, fallback)
        )

    def drop(self, exchange: Exchange) -> None:
        """It has no row: it came to no model, or another one's has what it took."""
        if exchange.caller.gated and exchange.request is not None and exchange.request.entered:
            self.gate.leave(exchange, Usage(), 0)

    def _refused_at(self, exchange: Exchange, error: RolecastError | None) -> None:
        """It reached no model, but the gate may have let it in."""
        if exchange.caller.gated and exchange.request is not None and exchange.request.entered:
            self.gate.leave(exchange, Usage(), 0)
        if error is not None and exchange.status:
            method, path = exchange.sink.target
            asked = exchange.request.asked if exchange.request else ""
            self.refused(error, Place(exchange.caller.listener, method, path, asked))

    def refused(self, error: RolecastError, place: Place) -> None:
        """Count and note a request that never reached a model."""
        self._telemetry.refuse(error, place)

    def _route(self, exchange: Exchange, plan: Plan, request: Request) -> int:
        return self._ledger.route(
            exchange.caller.listener,
            request.kind,
            plan.asked,
            plan.model_id,
            plan.answerer_id,
            plan.choice.role,
            plan.route,
            exchange.caller.key,
        )
