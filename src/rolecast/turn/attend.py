"""A request that wants no answer: a model is loaded, or leaves, and the client learns how that ended."""

from rolecast.dialects.request import Request
from rolecast.errors import Conflict, RolecastError
from rolecast.fleet import Fleet
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.plan import Plan
from rolecast.values import Done, Usage


async def load_or_leave(exchange: Exchange, plan: Plan, request: Request, fleet: Fleet) -> None:
    """Load the model, or let it go when it has nothing to do, and answer with how that ended."""
    assert request.only
    try:
        if request.only == "load":
            await fleet.load(plan.answerer_id)
        elif fleet.worker(plan.answerer_id).pinned and plan.choice.source != "variant":
            # A variant has nothing of its own to let go.
            text = f"{plan.answerer_id} is pinned, so it stays; `rolecast unload` takes it away"
            raise Conflict(f"{text}, and `rolecast unpin` lets it go when it is idle.")
    except RolecastError as error:
        exchange.task = None
        exchange.fail(error)
        return
    exchange.task = None
    if exchange.closed:
        return
    if request.stay_s is not None:
        fleet.keep(plan.answerer_id, request.stay_s)
    exchange.first = clock()
    exchange.status, exchange.load_us = 200, int((clock() - exchange.routed) * 1e6)
    outlet = exchange.sink.outlet(exchange)
    outlet.take([Done(request.only)])
    exchange.account("ok", Usage())
    outlet.end()
