"""What is awaited between a lease and the request itself.

Elsewhere what is private is taken out, and that it goes is written down. Here its conversation is brought back.
"""

from typing import Protocol

from msgspec.structs import replace

from rolecast.errors import RolecastError, StaysHere
from rolecast.turn import departure, keeping
from rolecast.turn.call import Letter
from rolecast.turn.departure import Departure
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans


class Desk(Protocol):
    """What dispatch has that is needed here."""

    plans: Plans
    departure: Departure | None

    def pass_on(self, exchange: Exchange, plan: Plan, error: RolecastError, unable: bool) -> None:
        """Have the next model answer; without one the error ends it."""
        ...


async def see_off(exchange: Exchange, letter: Letter, desk: Desk) -> None:
    """Make it ready, have it written down, and send it; or have another model answer that is here."""
    plan, request, lease = exchange.called()
    try:
        desk.plans.keep_here(request, exchange.caller, exchange.dialect)
        endpoint = lease.pool.endpoint
        path = f"{endpoint.base}{letter.path.decode()}"
        parcel = departure.addressed("request", plan, endpoint, path, letter.body)
        parcel = replace(
            parcel,
            content_type=letter.content_type,
            lines=exchange.caller.trace_lines,
            number=exchange.number,
            key=exchange.caller.key,
        )
        stays = departure.stays(request.needs, desk.departure)
        here = keeping.able(desk.plans.config, desk.plans.can, request.kind) if stays else ()
        caller = exchange.caller
        cleared = await departure.see_off(desk.departure, request.needs, caller, plan.model, parcel, here)
        exchange.task = None
        if exchange.closed:
            return
        if cleared.values:
            letter.read_by(exchange, plan, request, cleared.values)
        letter.send(exchange, lease, cleared)
    except StaysHere as error:
        exchange.task = None
        exchange.attempts -= 1  # nobody was asked, so who is here may still be
        desk.pass_on(exchange, plan, error, unable=True)
    except RolecastError as error:
        exchange.task = None
        exchange.fail(error)


async def brought_back(exchange: Exchange, letter: Letter) -> None:
    """Send it to a worker on this machine, once that has what the request goes on with, if it was kept."""
    _, _, lease = exchange.called()
    began = clock()
    if lease.station.keeps is not None:
        await lease.station.keeps.bring(lease.pool, letter.path, letter.body)
    exchange.task = None
    if not exchange.closed:
        exchange.load_us += int((clock() - began) * 1e6)
        letter.post(exchange, lease)
