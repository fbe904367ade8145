"""The requests under way, and the end of one that somebody cancels: `/v1/admin/requests`.

A key without the scope `admin` sees and cancels its own. The rows of requests that are over are the ledger's.
"""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.books.ledger import Ledger
from rolecast.books.receipt import Receipt
from rolecast.dialects.operation import Query, told
from rolecast.errors import BadRequest, NotFound, ScopeMissing
from rolecast.fleet import Fleet
from rolecast.pages import asked
from rolecast.server.asgi import json_response
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.in_flight import InFlight, Phase, cancel, find, seen

TAG = "Administration"
MOST = 1000
STATES = ("running", "ended")


class UnderWay(msgspec.Struct):
    """Those under way, the oldest first; `more` were left out."""

    requests: list[InFlight]
    more: int = 0


class Ended(msgspec.Struct):
    """Those that are over, the newest first."""

    requests: list[Receipt]


class Cancelled(msgspec.Struct):
    """One that was cancelled, and what it was doing."""

    id: str
    cancelled: Literal[True]
    phase: Phase
    model: str


LISTED = (UnderWay, Ended)
LISTS = (
    Query("state", Literal["running", "ended"], "`running` unless said: those under way, in line or loading, too"),
    Query("limit", asked.Number, f"at most {MOST:,}"),
)


class InFlightPages:
    """What runs now, and its end."""

    def __init__(self, dispatch: Dispatch, fleet: Fleet, ledger: Ledger) -> None:
        self._dispatch = dispatch
        self._fleet = fleet
        self._ledger = ledger

    def routes(self) -> list[Route]:
        return [
            Route("/v1/admin/requests", self.listed, methods=["GET"]),
            Route("/v1/admin/requests/{id}", self.one, methods=["GET"]),
            Route("/v1/admin/requests/{id}", self.cancel, methods=["DELETE"]),
        ]

    @told("Requests under way", TAG, answer="rolecast.pages.in_flight:LISTED", query=LISTS)
    async def listed(self, request: Request) -> Response:
        state = request.query_params.get("state", "running")
        limit = min(asked.number(request.query_params.get("limit", "200")), MOST)
        if state not in STATES:
            raise BadRequest(f"`state` is `running` or `ended`, not {state[:50]!r}.", param="state")
        own = asked.own(request)
        if state == "ended":
            if own is not None:
                raise ScopeMissing("Rows of requests that are over need a key with the scope `admin`.")
            return json_response(Ended(await self._ledger.tail(limit)))
        found = self._seen(own)
        return json_response(UnderWay(found[:limit], max(0, len(found) - limit)))

    @told("One request under way", TAG, answer=InFlight, errors=(404,))
    async def one(self, request: Request) -> Response:
        wanted = request.path_params["id"]
        found = next((each for each in self._seen(asked.own(request)) if each.id == wanted), None)
        if found is None:
            raise _unknown(wanted)
        return json_response(found)

    @told("Cancel a request", TAG, answer=Cancelled, errors=(404,))
    async def cancel(self, request: Request) -> Response:
        """Its engine stops, and its client gets status 499, or an error event in a stream that was begun."""
        wanted, own = request.path_params["id"], asked.own(request)
        exchange = find(self._dispatch.active, wanted, own)
        shown = next((each for each in self._seen(own) if each.id == wanted), None)
        if exchange is None or shown is None:
            raise _unknown(wanted)
        by = "" if own is None else " with the key that it was sent with"
        cancel(exchange, f"The request was cancelled{by}.")
        return json_response(Cancelled(wanted, True, shown.phase, shown.model))

    def _seen(self, own: str | None) -> list[InFlight]:
        return seen(self._dispatch.active, self._fleet, own)


def _unknown(request_id: str) -> NotFound:
    lists = "`rolecast requests`, or `GET /v1/admin/requests`, lists them"
    return NotFound(f"No request {request_id[:60]!r} is under way here; {lists}.", param="id")
