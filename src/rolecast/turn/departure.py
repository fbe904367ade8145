"""What happens to a request before it leaves this machine: the seam, and the last look that nothing gets around."""

from typing import Protocol

from rolecast.dialects.request import Request
from rolecast.errors import StaysHere
from rolecast.fleet import Lease
from rolecast.turn.exchange import Exchange
from rolecast.turn.gate import LOCAL
from rolecast.turn.plan import Plan


class Departure(Protocol):
    """Who sees a request off."""

    async def leave(self, exchange: Exchange, plan: Plan, request: Request, lease: Lease) -> None:
        """Make it ready for a server elsewhere, and write down that it goes. Raises StaysHere, or what ends it.

        Called before each attempt whose plan `leaves`, with the lease taken. Whoever asked may go meanwhile, which
        cancels it.
        """
        ...


def check(request: Request, plan: Plan) -> None:
    """Raises StaysHere for one that must stay. Whoever chose has seen to it: this is in case that it was mistaken."""
    if LOCAL in request.needs:
        text = f"This request may not leave this machine, and {plan.answerer_id} is elsewhere."
        raise StaysHere(text)
