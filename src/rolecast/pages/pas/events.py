"""The event stream of PAS (its port 6102): broadcasts come in, and go out to who listens by Socket.IO.

What the gateway tells goes out the same way. `GET /v1/events` on the front door has the same events.
"""

import time
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from rolecast.dialects.operation import TEXT, Query, told
from rolecast.errors import BadRequest, RateLimited, RolecastError, TooLarge
from rolecast.pages import asked
from rolecast.pages.pas import reading
from rolecast.pages.pas.sockets import Sockets, shown
from rolecast.server.asgi import json_response
from rolecast.telemetry.events import KEPT, Events

EXAMPLE = '{"event_type":"status_update","data":{"service_id":"x"}}'
TAG = "Events"
MOST_BYTES = 16 * 1024
"""Of one broadcast: a hundred of them are kept."""
PER_SECOND, AT_ONCE = 100.0, 200.0
"""So many broadcasts are taken in the long run, and after a rest."""
MOST_PACKETS = 64 * 1024
"""Of what a client of Socket.IO sends at once."""
ENDPOINTS = {
    "broadcast": "POST /broadcast",
    "recent": "GET /events/recent",
    "socket": "Socket.IO at /socket.io/ (long polling)",
    "health": "GET /health",
}


class Broadcast(msgspec.Struct):
    """What is to be told to everybody who listens."""

    event_type: Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[\w.:/-]+$")] = "unknown"
    data: dict[str, Any] | None = None


class Broadcasted(msgspec.Struct):
    """Who was told."""

    status: str
    event_type: str
    clients: int
    """So many listen now, by Socket.IO and by server-sent events."""


class Bucket:
    """A rate: so many in a second in the long run, and some more at once."""

    def __init__(self, per_second: float, at_once: float) -> None:
        self._per_second, self._at_once = per_second, at_once
        self._left, self._since = at_once, 0.0

    def wait_s(self, now: float) -> float:
        """Take one; 0.0, or in how many seconds there will be one again, and none was taken."""
        self._left = min(self._at_once, self._left + (now - self._since) * self._per_second)
        self._since = now
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0


class EventStream:
    """The pages of that port."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._sockets = Sockets(events)
        self._bucket = Bucket(PER_SECOND, AT_ONCE)

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/broadcast", self.broadcast, methods=["POST"]),
            Route("/events/recent", self.recent, methods=["GET"]),
            Route("/socket.io", self.socket, methods=["GET", "POST"]),
        ]

    @property
    def _clients(self) -> int:
        return self._sockets.clients + self._events.listeners - self._sockets.listens

    @told("What this port is", TAG, answer=dict[str, Any])
    async def root(self, request: Request) -> Response:
        """The service, and what it answers."""
        return json_response(reading.service(request, "event_stream", ENDPOINTS, connected_clients=self._clients))

    @told("Health", TAG, answer=dict[str, Any])
    async def health(self, request: Request) -> Response:
        """How many listen, and how many events are kept for who comes later."""
        return json_response(
            {
                "status": "ok",
                "service": "event_stream",
                "port": reading.port(request),
                "connected_clients": self._clients,
                "buffered_events": len(self._events.recent()),
                "timestamp": reading.iso(time.time()),
            }
        )

    @told(
        "Tell everybody who listens",
        TAG,
        body=Broadcast,
        example={"event_type": "status_update", "data": {"service_id": "x"}},
        answer=Broadcasted,
        errors=(413, 415, 422, 429),
    )
    async def broadcast(self, request: Request) -> Response:
        """An event of your own: `data` is any object, and gets a `timestamp` where it has none."""
        said = await reading.body(request, Broadcast, EXAMPLE, MOST_BYTES)
        if (wait_s := self._bucket.wait_s(time.monotonic())) > 0:
            text = f"More than {PER_SECOND:g} broadcasts in a second; wait a moment."
            raise RateLimited(text, retry_after=wait_s)
        data = said.data or {}
        data.setdefault("timestamp", reading.iso(time.time()))
        self._events.tell(said.event_type, data, "client")
        return json_response(Broadcasted("broadcasted", said.event_type, self._clients))

    @told(
        "The newest events",
        TAG,
        answer=dict[str, Any],
        query=(Query("limit", asked.Number, f"at most {KEPT}"),),
        errors=(403,),
    )
    async def recent(self, request: Request) -> Response:
        """Oldest first."""
        reading.require_admin(request)
        most = min(asked.number(request.query_params.get("limit", str(KEPT))), KEPT)
        events = [shown(each) for each in self._events.recent(most)]
        return json_response({"events": events, "count": len(events)})

    @told("Listen by Socket.IO", TAG, answer=str, media=TEXT, errors=(403, 501, 503))
    async def socket(self, request: Request) -> Any:
        """Socket.IO 5 over HTTP long polling.

        The server sends `connected`, `event` and `event_history`, and `pong` to a `ping`; clients may send `ping` and
        `request_history`.
        """
        reading.require_admin(request)
        if "j" in request.query_params:  # a script tag of any page could read such an answer
            raise BadRequest("JSONP is not spoken here; use polling by XMLHttpRequest or fetch.", param="j")
        if "upgrade" in request.headers:
            raise BadRequest("There is no WebSocket here; use the transport `polling`.")
        if "sid" not in request.query_params and self._sockets.is_full:
            raise RolecastError("Too many listen already; try again later.", code="too_many_connections", status=503)
        content = await request.body()
        if len(content) > MOST_PACKETS:
            raise TooLarge(f"More than {MOST_PACKETS:,} bytes were sent at once.")
        server = await self._sockets.server()
        sid = request.query_params.get("sid", "")

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._sockets.answer(server, sid, content, scope, send)

        return answer
