"""`GET /v1/events`: what happens in the gateway, as server-sent events, for as long as somebody listens."""

import asyncio
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rolecast.dialects.operation import EVENTS, Query, told
from rolecast.errors import RolecastError
from rolecast.pages.pas import reading
from rolecast.telemetry.events import Events, Happening

MOST_LISTENERS = 100
"""One more is refused: each costs memory."""
BREATH_S = 15.0
"""When nothing happens for so long, a comment shows that the gateway is there."""
HELLO = b": listening\n\n"
BREATH = b": still here\n\n"
MOST_TYPES = 32


class EventPages:
    """The events of the front door."""

    def __init__(self, events: Events, breath_s: float = BREATH_S) -> None:
        self._events = events
        self._breath_s = breath_s

    def routes(self) -> list[Route]:
        return [Route("/v1/events", self.follow, methods=["GET"])]

    @told(
        "What happens in the gateway",
        "Administration",
        answer=Happening,
        media=EVENTS,
        query=(Query("types", str, "names with commas between them; `*` stands for any part of one. Empty = all"),),
        errors=(403, 503),
    )
    async def follow(self, request: Request) -> Response:
        """Server-sent events: models that load and leave, reloads, jobs, services, budgets.

        Each is a plain `message`, its kind is `event_type`. Who comes back with `Last-Event-ID` gets what it missed,
        as far as it is kept: the last 100. A listener that reads too slowly misses the oldest; `number` shows it.
        """
        reading.require_admin(request)
        refuse_crowd(self._events)
        wanted = tuple(filter(None, map(str.strip, request.query_params.get("types", "").split(","))))[:MOST_TYPES]
        last = request.headers.get("last-event-id", request.query_params.get("last_event_id", ""))
        return StreamingResponse(
            self._written(wanted, after(self._events, last)),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    async def _written(self, wanted: tuple[str, ...], after: int | None) -> AsyncIterator[bytes]:
        with self._events.listening(after) as queue:
            yield HELLO
            while True:
                try:
                    happening = await asyncio.wait_for(queue.get(), self._breath_s)
                except TimeoutError:
                    yield BREATH
                    continue
                if happening is None:
                    return
                if not wanted or any(fnmatchcase(happening.event_type, each) for each in wanted):
                    yield written(self._events, happening)


def refuse_crowd(events: Events) -> None:
    """Raises RolecastError when so many listen that one more is too many."""
    if events.listeners >= MOST_LISTENERS:
        text = f"{MOST_LISTENERS} listen already, which is the most; try again when one has left."
        raise RolecastError(text, code="too_many_connections", status=503, retry_after=5)


def after(events: Events, last: str) -> int | None:
    """The number that a client has heard last: 0 for one of an earlier start, None when it has heard nothing yet."""
    if not last:
        return None
    epoch, _, number = last.rpartition("-")
    return int(number) if epoch == events.epoch and number.isascii() and number.isdigit() and len(number) < 19 else 0


def written(events: Events, happening: Happening) -> bytes:
    """One event on the wire."""
    body = msgspec.json.encode(happening)
    return b"id: %b-%d\ndata: %b\n\n" % (events.epoch.encode(), happening.number, body)
