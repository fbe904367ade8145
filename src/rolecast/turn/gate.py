"""What a caller may do and spend, asked before a request is routed and told when it is over.

Knows the order only. Each check is somebody else's: rights and rates, budgets.
"""

from collections.abc import Sequence
from typing import Protocol

from rolecast.dialects.request import Request
from rolecast.errors import RolecastError
from rolecast.turn.exchange import Exchange
from rolecast.values import Usage

LOCAL = "local"
"""The need of a request that may not leave this machine."""
FREE = "free"
"""The need of a request that may not cost anything."""


class Check(Protocol):
    """One thing that callers are held to. Only asked for callers that are gated."""

    def enter(self, exchange: Exchange, request: Request) -> frozenset[str]:
        """What this request needs of its model because of who asks. Raises what refuses it.

        Called once for each request of a client, and again for each part that it is cut into (`exchange.part`), and
        when it begins anew: what is counted must be counted once (`request.entered`).
        """
        ...

    def leave(self, exchange: Exchange, usage: Usage, cost: int) -> None:
        """It is over, and took so much with all its parts; `cost` in picodollars. Called once for each request."""
        ...


class Gate:
    """All checks, in their order."""

    def __init__(self) -> None:
        self.checks: Sequence[Check] = ()

    def enter(self, exchange: Exchange, request: Request) -> None:
        """Let a request in, with what it needs besides. Raises what refuses it."""
        needs = request.needs
        if exchange.caller.local_only:
            needs |= {LOCAL}
        passed: list[Check] = []
        try:
            for check in self.checks:
                needs |= check.enter(exchange, request)
                passed.append(check)
        except RolecastError:
            if not (request.entered or exchange.part):  # it never comes to its end, so those hear of it now
                for check in passed:
                    check.leave(exchange, Usage(), 0)
            raise
        request.needs = needs
        request.entered = True

    def leave(self, exchange: Exchange, usage: Usage, cost: int) -> None:
        """Tell all that it is over."""
        for check in self.checks:
            check.leave(exchange, usage, cost)
