"""The end of a request: its slot is freed, it is counted, and its row is written into the ledger.

Also knows which requests are under way. Runs for every request before its last byte goes out, so nothing here waits.
"""

from msgspec.structs import replace

from rolecast.books.ledger import Ledger
from rolecast.dialects.request import Request
from rolecast.errors import RolecastError
from rolecast.fleet import Fleet
from rolecast.telemetry.metrics import Place, Telemetry
from rolecast.turn.bonds import Bonds
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.gate import Gate
from rolecast.turn.paces import LEAST_S, Paces
from rolecast.turn.plan import Plan
from rolecast.values import Outcome, Usage


class Accounts:
    """The requests that run, and the books of those that did."""

    def __init__(self, fleet: Fleet, ledger: Ledger, telemetry: Telemetry, paces: Paces, bonds: Bonds) -> None:
        self._fleet = fleet
        self._cork = fleet.cork
        self._ledger = ledger
        self._telemetry = telemetry
        self._paces = paces
        self._bonds = bonds
        self.active: set[Exchange] = set()
        self.gate = Gate()
        """What callers are held to."""

    def settle(self, exchange: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        """Free the slot, count, and queue the ledger row. Called exactly once per exchange."""
        self.active.discard(exchange)
        self._cork.running = len(self.active)
        plan, request, caller = exchange.plan, exchange.request, exchange.caller
        if exchange.lease is not None:
            self._fleet.release(exchange.lease)
            if request is not None and request.stay_s is not None:
                self._fleet.keep(exchange.lease.worker.model_id, request.stay_s)
        if plan is None or request is None:
            self._refused_at(exchange, error)
            return
        if plan.rates is not None or caller.gated:
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

    def _learn(
        self, exchange: Exchange, plan: Plan, request: Request, usage: Usage, first_s: float, total_s: float
    ) -> None:
        """Note how fast the model was."""
        waited_s = (exchange.queue_us + exchange.load_us) / 1e6
        self._paces.answered(
            plan.answerer_id, usage, first_s - waited_s, total_s - waited_s, request.stream, plan.choice.task
        )

    def _charge(self, exchange: Exchange, plan: Plan, usage: Usage) -> None:
        """Tell who counts for the caller what it took."""
        rates, cached, written = plan.rates, usage.cached_tokens, usage.written_tokens
        cost = 0 if rates is None else rates.cost(usage.prompt_tokens, usage.completion_tokens, cached, written)
        if exchange.caller.gated:
            self.gate.leave(exchange, usage, cost)

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
        waits = lease.queue_us, lease.load_us
        self._ledger.record(number, route, 200, "ok", None, request.stream, usage, first_s, total_s, 1, *waits, "")

    def let_go(self, part: Exchange) -> None:
        """Free the slot of a part of a request; the books are the whole's."""
        self.active.discard(part)
        self._cork.running = len(self.active)
        if part.lease is not None:
            self._fleet.release(part.lease)

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
