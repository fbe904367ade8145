"""The one path of a request, in the one place that knows the order:
choose -> (task) -> lease -> call -> fall back -> account.

When the model is loaded and has a free slot, all of it runs without an await (`begin`). Whatever needs to
wait (a load, a queue, another attempt) goes on in a task, in the same order.
"""

import asyncio
import logging
from functools import partial

from msgspec.structs import replace

from rolecast.dialects.request import Request
from rolecast.errors import (
    BadRequest,
    Busy,
    Internal,
    RolecastError,
    UpstreamTimeout,
    WorkerDown,
)
from rolecast.fleet import Fleet, Lease, State
from rolecast.net.connection import Connection
from rolecast.routing import sticky
from rolecast.turn import departure, losses, special, verdict, warm
from rolecast.turn.accounts import Accounts
from rolecast.turn.again import RESTING, Again, asks_for, later
from rolecast.turn.ailing import Ailing
from rolecast.turn.call import Letter, call
from rolecast.turn.canary import turn_of
from rolecast.turn.departure import Departure
from rolecast.turn.exchange import Exchange, ExchangeIds, clock
from rolecast.turn.memory import Memory
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.turn.sending import brought_back, see_off
from rolecast.turn.sessions import Sessions
from rolecast.turn.silence import SWEEP_S, Silence
from rolecast.turn.stage import Equipper, Player
from rolecast.turn.under_way import UnderWay
from rolecast.turn.waiting import Waiting
from rolecast.values import Failure, Usage

log = logging.getLogger("rolecast.dispatch")

MAY_MEAN_OUR_WISH = frozenset({400, 415, 422, 500, 501})
"""Statuses with which a server may refuse a field that it does not know."""
REFUSES_OUR_WISH = MAY_MEAN_OUR_WISH - {500, 501}
"""The same of a provider in the cloud: those know the field, and a failure of their own is not doubled."""
MAY_MEAN_OUR_STREAM = MAY_MEAN_OUR_WISH | {200}
"""The same of a stream that nobody but us wished for, and an error within it."""
GONE = ("worker_lost", "unreachable")
"""Codes of a worker that went away, as one that died does."""


class Dispatch(UnderWay):
    """Takes exchanges with a decoded request and sees them through."""

    def __init__(self, plans: Plans, accounts: Accounts, fleet: Fleet, memory: Memory, new_id: ExchangeIds) -> None:
        super().__init__(plans, accounts, fleet)
        self.new_id = new_id
        self.memory = memory
        self.player: Player | None = None
        """Who sees tasks through; None = tasks are answered as the prompts that they hold."""
        self.sessions: Sessions | None = None
        """Who keeps sessions; None = requests that name one are like any other."""
        self.toolbox: Equipper | None = None
        """Who offers and runs tools; None = nobody does."""
        self.gate = accounts.gate
        self.deadlines = accounts.deadlines
        self.again = accounts.heed(Again(plans, accounts.paces))
        self.silence, self.ailing = Silence(fleet, self.active, self), Ailing(fleet)
        self.departure: Departure | None = None
        """Who sees requests off that leave this machine; None = they go as they are."""
        self.waiting: Waiting | None = None
        """Who tells clients that they wait; None = nobody does."""

    # -- choose -> lease -> call --------------------------------------------------------------------------

    def begin(self, exchange: Exchange, request: Request) -> None:
        """Start a request whose body is complete. Raises RolecastError when it cannot be routed."""
        exchange.request = request
        more = request.only or request.order or request.split or request.thread or request.session
        caller = exchange.caller
        if caller.held:
            self._enter(exchange, request)
        if (more or caller.session or caller.tools) and special.start(self, exchange, request):
            return
        port_model = caller.port_model
        asked = port_model or request.asked
        key = (asked, request.kind, port_model, request.needs, request.prefers)
        plan = self.plans.made.get(key) if request.settled is None else None
        if plan is None or len(request.body) > plan.fits:
            if special.wakes(self, exchange, request, asked):
                return
            plan = self.plans.make(asked, request, caller, exchange.dialect)
            if plan.choice.consult and request.settled is None:
                special.consult(self, exchange, request, plan)
                return
            if special.equips(self, exchange, request, plan):
                return
        if plan.shares or plan.canary is not None:
            plan = turn_of(self.plans, plan, request, caller, exchange.dialect)
        exchange.plan = plan
        exchange.routed = clock()
        self.enter(exchange)
        self.cork.running = len(self.active)
        lease = None if plan.leaves or caller.deadline_s else self.fleet.try_lease(plan.answerer_id)
        if lease is None:
            self.spawn(exchange, self._wait_and_call(exchange, plan, request))
            return
        try:
            call(exchange, plan, request, lease)
        except RolecastError as error:
            self._not_called(exchange, plan, error)

    def _not_called(self, exchange: Exchange, plan: Plan, error: RolecastError) -> None:
        """It cannot be said to this worker: who speaks otherwise may be told."""
        if isinstance(error, BadRequest):
            self.pass_on(exchange, plan, error, unable=True)
        else:
            exchange.fail(error)

    def _enter(self, exchange: Exchange, request: Request) -> None:
        """One that something is held to. Raises what refuses it."""
        if exchange.caller.gated:
            self.gate.enter(exchange, request)
        self.deadlines.begin(exchange)

    def remember(self, exchange: Exchange) -> None:
        """The answer is written: keep of it what its thread says."""
        request = exchange.request
        if request is not None and request.thread is not None and (kept := request.thread.kept()) is not None:
            stays = departure.stays(request.needs, self.departure)
            self.memory.keep(replace(kept, stays=stays), exchange.caller.key)

    async def _wait_and_call(
        self, exchange: Exchange, plan: Plan, request: Request, lost: tuple[Lease, bool] | None = None
    ) -> None:
        """Wait for a lease, then call.

        With `lost`, this is another attempt after that lease's worker went away, perhaps because of the request.
        """
        try:
            if lost is None and (other := warm.stand_in(self.fleet, self.plans, exchange, plan, request)) is not None:
                exchange.plan, plan = other, other
            if plan.leaves or exchange.due:
                admitted = await self.again.admitted(exchange, plan)
                lost = lost if admitted is plan else None
                exchange.plan = plan = admitted
            lease = await (
                self.fleet.lease(plan.answerer_id, key=exchange.caller.key, priority=exchange.caller.priority)
                if lost is None
                else losses.lease_again(self.fleet, exchange, *lost)
            )
        except RolecastError as error:
            await self._without_lease(exchange, plan, request, error)
            return
        if exchange.closed:
            exchange.task = None
            self.fleet.release(lease)
            return
        exchange.task = None
        exchange.plan = plan = self.plans.refreshed(plan)
        try:
            call(exchange, plan, request, lease)
        except RolecastError as error:
            self._not_called(exchange, plan, error)

    def leave(self, exchange: Exchange, letter: Letter) -> None:
        """The running attempt leaves this machine: see it off, and send it."""
        exchange.carrier = None  # of an attempt before
        self.spawn(exchange, see_off(exchange, letter, self))

    def bring_back(self, exchange: Exchange, letter: Letter) -> None:
        """The running attempt may go on with a conversation that was kept: have that looked up, then send it."""
        exchange.carrier = None  # of an attempt before
        self.spawn(exchange, brought_back(exchange, letter))

    async def _without_lease(self, exchange: Exchange, plan: Plan, request: Request, error: RolecastError) -> None:
        """It gets no slot there: the next model may have one."""
        following = None
        if isinstance(error, Busy | WorkerDown | UpstreamTimeout) and error.code != RESTING:
            self.plans.failed(plan)
            following = self.plans.next(plan)
        if following is None:
            exchange.task = None
            exchange.fail(error)
        else:
            exchange.plan, exchange.fell = following, exchange.fell or plan.model_id
            await self._wait_and_call(exchange, following, request)

    # -- failures -----------------------------------------------------------------------------------------

    def lost(self, exchange: Exchange, error: RolecastError) -> None:
        """The worker went away. Before the first byte another attempt is made; after it the stream says so."""
        if exchange.closed:
            return
        if not exchange.sink.started:
            exchange.give_up()
        if exchange.plan is not None:
            self.again.lost(exchange, exchange.plan, error)
        tries = exchange.attempts - exchange.forgiven
        if exchange.sink.started or tries >= self.again.attempts or not error.retryable:
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
        plan, request, lease = exchange.called()
        begun = exchange.sink.started
        if not begun and self.plans.unsaid.learns(exchange, plan, said, self.plans.kept()):
            exchange.first = 0.0
            call(exchange, plan, request, lease, again=True)
            return
        refusals = REFUSES_OUR_WISH if plan.model.provider else MAY_MEAN_OUR_WISH
        usage = request.edit_usage and exchange.status in refusals
        if not begun and (usage or (exchange.gathers and exchange.status in MAY_MEAN_OUR_STREAM)):
            exchange.unasked = usage and exchange.status != 500  # that may be any failure, and is not remembered
            exchange.first, exchange.gathers = 0.0, False
            # In case that it was our wish that the worker refused, or could not fulfil.
            call(exchange, plan, request, lease, again=True, plainly=True)
            return
        error = _explained(exchange.status, said, location, plan, lease)
        self.again.answered(exchange, plan, error, said)
        self.ailing.failed(plan, lease, exchange.status, error)
        unable = not error.retryable and verdict.is_unable(error, said)
        # One that may hold less may cut a prompt without a word, and its client would not learn to shorten it.
        more = unable and error.code == verdict.TOO_LONG
        room = (self.plans.room_of(plan) or len(request.body)) if more else 0
        if error.retryable or unable:
            self.pass_on(exchange, plan, error, unable, room)
        else:
            exchange.fail(error)

    def pass_on(self, exchange: Exchange, plan: Plan, error: RolecastError, unable: bool, room: int = 0) -> None:
        """Have the next model answer while nothing was sent; without one the error ends it. For the rest: `_retry`."""
        again = not exchange.sink.started and exchange.attempts < self.again.attempts
        if again and (self.plans.has_next(plan, room) or (not unable and self.again.may_repeat(exchange, plan, error))):
            self._retry(exchange, error, unable=unable, room=room)
        else:
            exchange.fail(error)

    def escalate(self, exchange: Exchange, used: Usage, why: str) -> None:
        """The first answer of a cascade is not good enough: have the next model answer, as if nobody had."""
        try:
            plan, request, lease = exchange.called()
            self.accounts.set_aside(exchange, self.new_id(), used, why)
            self.fleet.release(lease)
            exchange.lease = exchange.carrier = None
            exchange.first, exchange.forgiven = 0.0, exchange.forgiven + 1
            exchange.plan = following = self.plans.escalated(plan, why)
            self.spawn(exchange, self._wait_and_call(exchange, following, request))
        except RolecastError as error:
            exchange.fail(error)
        except Exception:  # called by a transport, as `_retry` is
            log.exception("request %s failed", exchange.id)
            exchange.fail(Internal())

    def ask_plainly(self, exchange: Exchange) -> None:
        """Ask the same worker once more, without a wish of ours."""
        plan, request, lease = exchange.called()
        call(exchange, plan, request, lease, again=True, plainly=True)

    def accepted(self, exchange: Exchange) -> None:
        """It was our wish that the worker refused: its streams are not asked for usage any more."""
        plan, _, _ = exchange.called()
        exchange.unasked = False
        if plan.model.stream_usage == "auto" and self.plans.silence(plan.answerer_id):
            log.info("%s refuses stream_options, so its tokens are counted here", plan.answerer_id)

    def _retry(self, exchange: Exchange, error: RolecastError, *, unable: bool = False, room: int = 0) -> None:
        """Have somebody else answer, or the same model once more. `unable` = its model is well, but not for this."""
        try:
            self._try_again(exchange, error, unable, room)
        except Exception:  # this is called by a transport, which would only log it, and the client would wait
            log.exception("request %s failed", exchange.id)
            exchange.fail(Internal())

    def _try_again(self, exchange: Exchange, error: RolecastError, unable: bool, room: int) -> None:
        plan, request, lost = exchange.called()
        log.info("request %s: attempt %d failed before its first byte (%s)", exchange.id, exchange.attempts, error.code)
        exchange.lost = lost
        exchange.lost_after_s = clock() - exchange.carrier.last_activity if exchange.carrier is not None else 0.0
        self.fleet.release(lost)
        spawned = plan.backend.spawns
        rest_s = asks_for(exchange) or error.retry_after or 0.0
        repeat = None if unable else self.again.next_wait(exchange, plan, error)
        exchange.lease = exchange.carrier = None
        exchange.first, exchange.unasked, exchange.gathers, request.edit_usage = 0.0, False, False, False
        if not unable:
            self.plans.failed(plan, rest_s)
        following = self.plans.next(plan, sticky.REFUSED if unable else "failed", room)
        if following is not None:
            exchange.plan, exchange.losses, exchange.suspicions = following, 0, 0.0
            exchange.fell = exchange.fell or plan.model_id
            exchange.forgiven += spawned and error.code in GONE
            exchange.tried = (*exchange.tried, plan) if plan.leaves else exchange.tried
            self.spawn(exchange, self._wait_and_call(exchange, following, request))
        elif repeat is not None:
            exchange.plan, wait_s = repeat
            exchange.repeats += 1
            self.spawn(
                exchange, later(wait_s, exchange, partial(self._wait_and_call, exchange, exchange.plan, request))
            )
        elif plan.leaves or (not spawned and error.code == "unreachable"):
            exchange.fail(error)
        else:
            suspect = losses.is_suspect(self.active, exchange, lost)
            self.spawn(exchange, self._wait_and_call(exchange, plan, request, (lost, suspect)))

    # -- time and the end ---------------------------------------------------------------------------------

    async def watch(self) -> None:
        """See to requests whose worker says nothing, and that wait; keep the time in their numbers, to `SWEEP_S`."""
        async with asyncio.TaskGroup() as looks:
            while True:
                await asyncio.sleep(SWEEP_S)
                self.new_id.look()
                if (waiting := self.waiting) is not None:
                    await waiting.measure(self.active)
                    waiting.look(self.active, clock())
                self.silence.sweep(looks)

    def timed_out(self, exchange: Exchange, plan: Plan, connection: Connection) -> None:
        """Its worker was silent for longer than the model's timeout: the next model may be quicker."""
        self._late(exchange, plan, connection, _silent(plan), once_more=False)

    def left_stuck(self, exchange: Exchange, plan: Plan, connection: Connection, *, suspect: bool) -> None:
        """Its worker was stuck and is replaced: the next one answers, unless this request may be the cause."""
        self._late(exchange, plan, connection, _silent(plan), once_more=not suspect)

    def _late(
        self, exchange: Exchange, plan: Plan, connection: Connection, error: RolecastError, *, once_more: bool
    ) -> None:
        if not exchange.sink.started:
            exchange.give_up()
        self.again.lost(exchange, plan, error)
        again = not exchange.sink.started and exchange.attempts - exchange.forgiven < self.again.attempts
        if again and (once_more or self.plans.has_next(plan)):
            connection.abort()  # which is how an engine stops
            self._retry(exchange, error)
        else:
            exchange.fail(error)


def _silent(plan: Plan) -> UpstreamTimeout:
    return UpstreamTimeout(f"{plan.answerer_id} sent nothing for {plan.model.timeout:g} s.")


def _explained(status: int, said: Failure, location: str, plan: Plan, lease: Lease) -> RolecastError:
    """What the worker's error means for the client: its own mistake, or somebody else's failure."""
    error = plan.backend.explain(status, said)
    if error is None:
        endpoint = lease.pool.endpoint
        remote = lease.worker.state is State.REMOTE
        where = f"{plan.answerer_id} at {endpoint.address}" if remote else plan.answerer_id
        error = verdict.on(status, said, where, location, endpoint.headers)
    return error
