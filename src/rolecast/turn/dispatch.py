"""The one path of a request, in the one place that knows the order:
choose -> (task) -> lease -> call -> fall back -> account.

When the model is loaded and has a free slot, all of it runs without an await (`begin`). Whatever needs to
wait (a load, a queue, another attempt) goes on in a task, in the same order.
"""

import asyncio
import logging

import msgspec

from rolecast.books.ledger import Ledger
from rolecast.config.current import Current
from rolecast.dialects.request import Request
from rolecast.errors import Busy, Internal, RolecastError, UpstreamTimeout, WorkerDown
from rolecast.fleet import Fleet, Lease, State
from rolecast.net.connection import Connection
from rolecast.routing import build, choose, shares
from rolecast.routing.abilities import Can
from rolecast.routing.spread import Spread
from rolecast.telemetry.metrics import Place, Telemetry
from rolecast.turn import verdict
from rolecast.turn.conversion import Conversion
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.passage import Passage
from rolecast.turn.plan import Plan, look
from rolecast.values import Choice, Facts, Failure, Outcome, Usage

log = logging.getLogger("rolecast.dispatch")

MAX_ATTEMPTS = 3
MAY_MEAN_OUR_WISH = frozenset({400, 415, 422, 500, 501})
"""Statuses with which a server may refuse a field that it does not know."""
MAX_LOSSES = 2
"""A request that was alone on two workers that died before they answered anybody gets no third: it is the cause."""
AT_ONCE_S = 1.0
"""A worker that is killed so soon after a request came is hardly killed by somebody else."""
SHARED_LOSSES = 2
"""After so many deaths under a request it runs alone, so that the next one shows whether it is the cause."""
GONE = ("worker_lost", "unreachable")
"""Codes of a worker that went away, as one that died does."""
SWEEP_S = 0.5
SETTLE_S = 2.0
"""After a lost connection the fleet has this long to learn whether the worker died."""


class Dispatch:
    """Takes exchanges with a decoded request and sees them through."""

    def __init__(
        self,
        current: Current,
        fleet: Fleet,
        ledger: Ledger,
        telemetry: Telemetry,
        can: Can,
    ) -> None:
        self._current = current
        self._can = can
        self._strategies = build(current.names, current.config, can)
        self.fleet = fleet
        self._ledger = ledger
        self._telemetry = telemetry
        self._plans: dict[tuple[str, str, str, frozenset[str], frozenset[str]], Plan] = {}
        self._spread = Spread(lambda model_id: fleet.load_of(current.answerer_of(model_id)), clock)
        self._silent: set[str] = set()
        """Workers that refused to be asked for usage."""
        self._closing = False
        self.active: set[Exchange] = set()
        self.cork = fleet.cork
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    # -- choose -> lease -> call --------------------------------------------------------------------------

    def begin(self, exchange: Exchange, request: Request) -> None:
        """Start a request whose body is complete. Raises RolecastError when it cannot be routed."""
        exchange.request = request
        port_model = exchange.caller.port_model
        asked = port_model or request.asked
        key = (asked, request.kind, port_model, request.needs, request.prefers)
        plan = self._plans.get(key) or self._make_plan(asked, request, exchange)
        if plan.shares:
            plan = plan.shares[self._spread.pick([share.model_id for share in plan.shares])]
        exchange.plan = plan
        exchange.routed = clock()
        self.active.add(exchange)
        self.cork.running = len(self.active)
        lease = self.fleet.try_lease(plan.answerer_id)
        if lease is None:
            self._spawn(exchange, self._wait_and_call(exchange, None))
        else:
            self._call(exchange, lease)

    def renew(self) -> None:
        """Choose by the configuration that applies now; what runs keeps the choice that was made for it."""
        self._strategies = build(self._current.names, self._current.config, self._can)
        self._plans.clear()
        self._silent.clear()

    def choose(self, facts: Facts) -> Choice:
        """The choice for a request, without running anything."""
        return choose(facts, self._strategies)

    def _make_plan(self, asked: str, request: Request, exchange: Exchange) -> Plan:
        if self._closing:
            raise _shutting_down()
        facts, port_model = look(request, asked), exchange.caller.port_model
        choice = self.choose(facts)
        if port_model:
            choice = msgspec.structs.replace(choice, source="listener", reason=f"port of {port_model}")
        plan = self._concrete(asked, choice, choice.model)
        plan.shares = tuple(self._concrete(asked, share, share.model) for share in shares(choice))
        if not (facts.needs or facts.prefers) or self._known(choice):
            self._plans[asked, request.kind, port_model, facts.needs, facts.prefers] = plan
        return plan

    def _known(self, choice: Choice) -> bool:
        """Whether a choice by abilities can be kept: weights that are still to come may tell something else."""
        return all(self.fleet.present(self._current.answerer_of(m)) for m in (choice.model, *choice.alternatives))

    def _concrete(self, asked: str, choice: Choice, model_id: str, answerer_id: str = "") -> Plan:
        answerer_id = answerer_id or self._current.answerer_of(model_id)
        plan = Plan(
            asked,
            choice,
            model_id,
            answerer_id,
            self._current.config.models[answerer_id],
            self.fleet.backends[answerer_id],
            self._telemetry.models[model_id],
        )
        plan.injects = plan.injects and answerer_id not in self._silent
        return plan

    def _call(self, exchange: Exchange, lease: Lease) -> None:
        plan, request = exchange.plan, exchange.request
        assert plan is not None
        assert request is not None
        exchange.lease = lease
        exchange.attempts += 1
        if lease.queue_us or lease.load_us:
            exchange.queue_us += lease.queue_us
            exchange.load_us += lease.load_us
        if plan.counts and request.stream:
            request.edit_usage = plan.injects and not request.wants_usage
        self._send(exchange, plan, request, lease)

    def _send(self, exchange: Exchange, plan: Plan, request: Request, lease: Lease) -> None:
        """Ask the worker, as the client wrote it where both speak alike. Raises what `Plan.written` raises."""
        carrier: Passage | Conversion
        if request.family == plan.family:
            carrier = Passage(exchange)
            if plan.counts and request.stream:
                carrier.counts = True
            path = request.path
            body = plan.body(request) if plan.edits or request.edit or request.edit_usage else request.body
        else:
            if request.chat is None:
                request.chat = exchange.dialect.chat(request)
            path, body = plan.written(request, request.chat)
            carrier = Conversion(exchange, plan.speaks())
        exchange.carrier = carrier
        carrier.last_activity = clock()
        lease.pool.send(lease.pool.post(path, body, exchange.caller.trace_lines), carrier)

    async def _wait_and_call(self, exchange: Exchange, lost: tuple[Lease, bool] | None) -> None:
        """Wait for a lease, then call.

        With `lost`, this is another attempt after that lease's worker went away, perhaps because of the request.
        """
        plan = exchange.plan
        assert plan is not None
        try:
            lease = await (self.fleet.lease(plan.answerer_id) if lost is None else self._lease_again(exchange, *lost))
        except RolecastError as error:
            self._spread.failed(plan.model_id)
            elsewhere = isinstance(error, Busy | WorkerDown | UpstreamTimeout)
            following = self._alternative(exchange) if elsewhere else None
            if following is None:
                exchange.task = None
                exchange.fail(error)
            else:
                exchange.plan = following
                await self._wait_and_call(exchange, None)
            return
        exchange.task = None
        if exchange.closed:
            self.fleet.release(lease)
        else:
            exchange.plan = self._refreshed(plan)
            try:
                self._call(exchange, lease)
            except RolecastError as error:
                exchange.fail(error)

    async def _lease_again(self, exchange: Exchange, lost: Lease, suspect: bool) -> Lease:
        """A lease after that one's worker went away, within the deadline of the first wait. Raises what ends it."""
        if await self.fleet.settle(lost, SETTLE_S):
            exchange.forgiven += 1
            exchange.losses += 1
            if suspect:
                by_others = lost.worker.killed and exchange.lost_after_s > AT_ONCE_S
                exchange.suspicions += 0.5 if by_others else 1.0
        model_id = lost.worker.model_id
        if exchange.suspicions >= MAX_LOSSES:
            text = f"The worker of {model_id} ended {exchange.losses} times under this request, which may be the cause."
            raise WorkerDown(f"{text} See `rolecast logs {model_id}`.", code="worker_lost")
        exchange.patience = exchange.patience or self.fleet.deadline()
        alone = exchange.losses >= SHARED_LOSSES
        return await self.fleet.lease(model_id, deadline=exchange.patience, again=max(1, exchange.losses), alone=alone)

    def _is_suspect(self, exchange: Exchange, lost: Lease) -> bool:
        """Whether nothing but this request was on that worker, which had answered nobody since its start."""
        worker, generation = lost.worker, lost.generation
        return worker.answered != generation and not any(
            lease is not None and lease.worker is worker and lease.generation == generation
            for other in self.active
            if other is not exchange
            for lease in (other.lease, other.lost)
        )

    def _refreshed(self, plan: Plan) -> Plan:
        """The same choice by the settings that apply now: they may have changed while the request waited."""
        model = self._current.config.models.get(plan.answerer_id)
        if model is None or not model.enabled or model == plan.model:
            return plan
        return self._concrete(plan.asked, plan.choice, plan.model_id, plan.answerer_id)

    # -- failures -----------------------------------------------------------------------------------------

    def lost(self, exchange: Exchange, error: RolecastError) -> None:
        """The worker went away. Before the first byte another attempt is made; after it the stream says so."""
        if exchange.closed:
            return
        tries = exchange.attempts - exchange.forgiven
        if exchange.sink.started or tries >= MAX_ATTEMPTS or not error.retryable:
            exchange.fail(error)
            return
        self._retry(exchange, error)

    def answered_error(self, exchange: Exchange, said: Failure, location: str = "") -> None:
        """The worker answered with an error: ask without our own wish, or elsewhere if that helps; else pass it on."""
        try:
            self._judge(exchange, said, location)
        except Exception:  # called by a transport, as `_retry` is
            log.exception("request %s failed", exchange.id)
            exchange.fail(Internal())

    def _judge(self, exchange: Exchange, said: Failure, location: str) -> None:
        begun = exchange.sink.started
        wished = exchange.request is not None and exchange.request.edit_usage
        if wished and not begun and exchange.status in MAY_MEAN_OUR_WISH:
            self._ask_without_usage(exchange)
            return
        error = self._explained(exchange, said, location)
        again = error.retryable and not begun and exchange.attempts < MAX_ATTEMPTS
        if again and self._alternative(exchange, peek=True):
            self._retry(exchange, error)
        else:
            exchange.fail(error)

    def _explained(self, exchange: Exchange, said: Failure, location: str) -> RolecastError:
        """What the worker's error means for the client: its own mistake, or somebody else's failure."""
        plan, lease = exchange.plan, exchange.lease
        assert plan is not None
        assert lease is not None
        error = plan.backend.explain(exchange.status, said)
        if error is None:
            endpoint = lease.pool.endpoint
            where = f"{plan.answerer_id} at {endpoint.address}" if _is_remote(lease) else plan.answerer_id
            error = verdict.on(exchange.status, said, where, location, endpoint.headers)
        return error

    def _ask_without_usage(self, exchange: Exchange) -> None:
        """Send the request as the client wrote it, in case that it was our wish for usage that the worker refused."""
        plan, request, lease = exchange.plan, exchange.request, exchange.lease
        assert plan is not None
        assert request is not None
        assert lease is not None
        exchange.unasked = exchange.status != 500  # that may be any failure, and is not remembered
        exchange.first = 0.0
        request.edit_usage = False
        self._send(exchange, plan, request, lease)

    def accepted(self, exchange: Exchange) -> None:
        """It was our wish that the worker refused: its streams are not asked for usage any more."""
        plan = exchange.plan
        assert plan is not None
        exchange.unasked = False
        if plan.model.stream_usage == "auto" and plan.answerer_id not in self._silent:
            log.info("%s refuses stream_options, so its tokens are counted here", plan.answerer_id)
            self._silent.add(plan.answerer_id)
            for kept in self._plans.values():
                for known in (kept, *kept.shares):
                    known.injects = known.injects and known.answerer_id != plan.answerer_id

    def _retry(self, exchange: Exchange, error: RolecastError) -> None:
        try:
            self._try_again(exchange, error)
        except Exception:  # this is called by a transport, which would only log it, and the client would wait
            log.exception("request %s failed", exchange.id)
            exchange.fail(Internal())

    def _try_again(self, exchange: Exchange, error: RolecastError) -> None:
        assert exchange.plan is not None
        assert exchange.lease is not None
        log.info(
            "request %s: attempt %d failed before its first byte (%s)",
            exchange.id,
            exchange.attempts,
            error.code,
        )
        lost = exchange.lost = exchange.lease
        exchange.lost_after_s = clock() - exchange.carrier.last_activity if exchange.carrier is not None else 0.0
        self.fleet.release(lost)
        spawned = exchange.plan.backend.spawns
        exchange.lease = exchange.carrier = None
        exchange.first, exchange.unasked = 0.0, False
        if exchange.request is not None:
            exchange.request.edit_usage = False
        self._spread.failed(exchange.plan.model_id)
        following = self._alternative(exchange)
        if following is not None:
            exchange.plan, exchange.losses, exchange.suspicions = following, 0, 0.0
            exchange.forgiven += spawned and error.code in GONE
            self._spawn(exchange, self._wait_and_call(exchange, None))
        elif not spawned and error.code == "unreachable":
            exchange.fail(error)
        else:
            self._spawn(exchange, self._wait_and_call(exchange, (lost, self._is_suspect(exchange, lost))))

    def _alternative(self, exchange: Exchange, *, peek: bool = False) -> Plan | None:
        """The next model of the choice that was not tried yet."""
        plan = exchange.plan
        assert plan is not None
        order = (plan.choice.model, *plan.choice.alternatives)
        rest = order[order.index(plan.model_id) + 1 :] if plan.model_id in order else ()
        if not peek:
            rest = self._spread.lead(rest, plan.choice.equals)
        for i, model_id in enumerate(rest):
            model = self._current.config.models.get(model_id)  # an edit may have removed or disabled it meanwhile
            if model is not None and model.enabled and self._current.answerer_of(model_id) != plan.answerer_id:
                if peek:
                    return plan
                reason, left = f"{plan.model_id} failed", rest[i + 1 :]
                choice = msgspec.structs.replace(
                    plan.choice, model=model_id, source="fallback", reason=reason, alternatives=left
                )
                return self._concrete(plan.asked, choice, model_id)
        return None

    # -- account ------------------------------------------------------------------------------------------

    def settle(self, exchange: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        """Free the slot, count, and queue the ledger row. Called exactly once per exchange."""
        self.active.discard(exchange)
        self.cork.running = len(self.active)
        if exchange.lease is not None:
            self.fleet.release(exchange.lease)
        plan, request = exchange.plan, exchange.request
        if plan is None or request is None:
            if error is not None and exchange.status:
                method, path = exchange.sink.target
                self.refused(error, Place(exchange.caller.listener, method, path, request.asked if request else ""))
            return
        ended, began, caller = clock(), exchange.began, exchange.caller
        total_s = ended - began
        first_s = exchange.first - began if exchange.first else 0.0
        self._telemetry.last_request[caller.listener] = ended
        plan.stats.count(outcome, usage, first_s * 1000, total_s * 1000)
        place = (caller.listener, caller.key)
        route = plan.routes.get(place)
        if route is None:
            route = plan.routes[place] = self._route(exchange, plan, request)
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

    def refused(self, error: RolecastError, place: Place) -> None:
        """Count and note a request that never reached a model."""
        self._telemetry.refuse(error, place)

    # -- time and the end ---------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Fail requests whose worker has been silent for longer than the model's timeout."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = clock()
            for exchange in list(self.active):
                plan, carrier = exchange.plan, exchange.carrier
                if plan is None or carrier is None or carrier.connection is None or exchange.task is not None:
                    continue
                if carrier.connection.paused:  # the client is slow, not the worker
                    carrier.last_activity = now
                elif now - carrier.last_activity > plan.model.timeout:
                    self._timed_out(exchange, plan, carrier.connection)

    def _timed_out(self, exchange: Exchange, plan: Plan, connection: Connection) -> None:
        error = UpstreamTimeout(f"{plan.answerer_id} sent nothing for {plan.model.timeout:g} s.")
        again = not exchange.sink.started and exchange.attempts < MAX_ATTEMPTS
        if again and self._alternative(exchange, peek=True):
            connection.abort()  # which is how an engine stops
            self._retry(exchange, error)
        else:
            exchange.fail(error)

    async def drain(self, timeout_s: float, hurry: asyncio.Event) -> None:
        """Take no new request and wait for running ones; what is left after `timeout_s` or at `hurry` gets an error."""
        self._closing = True
        self._plans.clear()  # so that every new request comes past `_make_plan`
        deadline = self._loop.time() + timeout_s
        while self.active and self._loop.time() < deadline and not hurry.is_set():  # noqa: ASYNC110  # the end of a set
            await asyncio.sleep(0.02)
        for exchange in list(self.active):
            exchange.fail(_shutting_down())

    def _spawn(self, exchange: Exchange, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(coroutine)
        exchange.task = task
        self._tasks.add(task)

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (exc := task.exception()):
                log.error("request %s failed", exchange.id, exc_info=exc)
                exchange.fail(Internal())

        task.add_done_callback(ended)


def _shutting_down() -> WorkerDown:
    return WorkerDown("The gateway is shutting down.", code="shutting_down", retry_after=1.0)


def _is_remote(lease: Lease) -> bool:
    return lease.worker.state is State.REMOTE
