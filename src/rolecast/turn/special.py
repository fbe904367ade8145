"""Requests that are more than one question to one model: loading, tasks, sessions, kept answers, several answers.

`dispatch` comes here with them first. Each is begun by who knows its kind, and what that asks of models goes through
`dispatch` again.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Protocol

from rolecast.dialects.request import Request, Several
from rolecast.errors import BadRequest, RolecastError
from rolecast.fleet import Fleet
from rolecast.turn import attend, fan
from rolecast.turn import consult as consulting
from rolecast.turn.accounts import Accounts
from rolecast.turn.departure import Departure
from rolecast.turn.exchange import Exchange, ExchangeIds
from rolecast.turn.memory import Memory
from rolecast.turn.part import Whole
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.turn.sessions import Sessions
from rolecast.turn.stage import Equipper, Player
from rolecast.values import KINDS


class Desk(Whole, Protocol):
    """Who sees requests through: `dispatch`."""

    plans: Plans
    memory: Memory
    fleet: Fleet
    new_id: ExchangeIds
    active: set[Exchange]
    accounts: Accounts
    player: Player | None
    sessions: Sessions | None
    toolbox: Equipper | None
    departure: Departure | None

    def spawn(self, exchange: Exchange, coroutine: "asyncio._CoroutineLike[None]") -> None:
        """Go on in a task, which ends with the client."""

    def in_task(self, exchange: Exchange, plan: Plan, coroutine: "asyncio._CoroutineLike[None]") -> None:
        """The same with a plan: before a worker is leased for it."""


def start(desk: Desk, exchange: Exchange, request: Request) -> bool:
    """Start such a request; False = it is like any other. Raises RolecastError when it cannot be routed."""
    if request.thread is not None and request.chat is None:  # nobody can judge it before its words are there
        recalled = desk.memory.recall(request, exchange.caller.key)
        desk.spawn(exchange, _begin_after(desk, exchange, request, recalled))
        return True
    desk.plans.keep_here(request, exchange.caller, exchange.dialect)  # its parts do not say so themselves
    if request.only:
        plan = _of_any_kind(desk.plans, request, exchange)
        desk.in_task(exchange, plan, attend.load_or_leave(exchange, plan, request, desk.fleet))
        return True
    if request.order is not None and desk.player is not None:
        return _perform(desk, exchange, request, desk.player)
    if desk.sessions is not None and not (request.joined or exchange.part) and _join(desk, exchange, request):
        return True
    if exchange.caller.tools and desk.toolbox is not None and desk.toolbox.asked(exchange, request):
        return _equip(desk, exchange, request, desk.toolbox)
    return request.split is not None and _divide(desk, exchange, request)


def wakes(desk: Desk, exchange: Exchange, request: Request, asked: str) -> bool:
    """Whether this request has to wait for the learned model, which nobody needed before; then it does."""
    if not (desk.plans.mind.asleep and desk.plans.reads(asked, request)):
        return False
    desk.spawn(exchange, _begin_after(desk, exchange, request, desk.plans.mind.wake()))
    return True


def equips(desk: Desk, exchange: Exchange, request: Request, plan: Plan) -> bool:
    """Whether this request has tools by whom it is for; then it is answered with them."""
    if desk.toolbox is None or not desk.toolbox.given(exchange, request, plan):
        return False
    desk.in_task(exchange, plan, desk.toolbox.perform(exchange, request, plan, desk))
    return True


def consult(desk: Desk, exchange: Exchange, request: Request, plan: Plan) -> None:
    """Have a model asked who answers. Until that is known, `plan` is what the books have of the request."""
    desk.in_task(exchange, plan, consulting.resolve(exchange, request, plan, desk))


def _perform(desk: Desk, exchange: Exchange, request: Request, player: Player) -> bool:
    """Have a task written, or played, by who knows how. Raises RolecastError without anybody to ask."""
    if (plan := _known(desk, exchange, request)) is not None:
        desk.in_task(exchange, plan, player.play(exchange, request, plan, desk))
    return True


def _equip(desk: Desk, exchange: Exchange, request: Request, toolbox: Equipper) -> bool:
    """Have a chat answered with tools that the gateway runs. Raises RolecastError without anybody to ask."""
    if (plan := _known(desk, exchange, request)) is not None:
        desk.in_task(exchange, plan, toolbox.perform(exchange, request, plan, desk))
    return True


def _join(desk: Desk, exchange: Exchange, request: Request) -> bool:
    """Put a chat into its session, if it has one that counts. Raises BadRequest where that cannot be."""
    assert desk.sessions is not None
    name = desk.sessions.named(request, exchange.caller)
    if not name:
        return False
    work = desk.sessions.go_on(exchange, request, name, partial(desk.begin, exchange, request))
    desk.spawn(exchange, work)
    return True


def _divide(desk: Desk, exchange: Exchange, request: Request) -> bool:
    """Ask for several answers one by one, if a model that may answer takes no request for them. Raises likewise."""
    if (plan := _known(desk, exchange, request)) is None:
        return True
    if desk.plans.reads(plan.asked, request):
        request.settled = plan.choice  # one choice for all its answers
    if desk.plans.take_several(plan):
        request.split = None
        return False
    several = request.split(request) if request.split is not None else Several((), 1)
    desk.active.add(exchange)
    try:
        fan.start(exchange, several, plan, desk)
    except RolecastError as error:
        exchange.fail(error)
    return True


def _known(desk: Desk, exchange: Exchange, request: Request) -> Plan | None:
    """The plan for the whole request; None = it waits for something first, and comes again. Raises RolecastError."""
    if wakes(desk, exchange, request, exchange.caller.port_model or request.asked):
        return None
    plan = desk.plans.known(request, exchange.caller, exchange.dialect)
    if plan.choice.consult and request.settled is None:
        consult(desk, exchange, request, plan)
        return None
    return plan


async def _begin_after(desk: Desk, exchange: Exchange, request: Request, wanted: Awaitable[None]) -> None:
    """Begin once what it waits for is there."""
    try:
        await wanted
        exchange.task = None
        if not exchange.closed:
            desk.begin(exchange, request)
    except RolecastError as error:
        exchange.task = None
        exchange.fail(error)


def _of_any_kind(plans: Plans, request: Request, exchange: Exchange) -> Plan:
    """A plan for a request that only means the model, whatever it is for; its kind becomes one that fits."""
    asked = exchange.caller.port_model or request.asked
    for kind in KINDS:
        request.kind = kind
        try:
            return plans.make(asked, request, exchange.caller, exchange.dialect)
        except BadRequest:
            if kind == KINDS[-1]:
                raise
    raise AssertionError  # there are kinds
