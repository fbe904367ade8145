"""What the small services of PAS read of a request and say of themselves, each in the same way."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from rolecast.errors import UNREADABLE, BadRequest, Forbidden, Invalid, TooLarge
from rolecast.pages import asked
from rolecast.server.lane import Lane, by_name
from rolecast.values import Caller

T = TypeVar("T")
VERSION = "1.0.0"
"""Of the wire that is spoken there."""


async def body(request: Request, kind: type[T], example: str, most: int = 0) -> T:
    """The body as such a struct, of at most so many bytes. Raises UnsupportedMedia, TooLarge, BadRequest or Invalid."""
    asked.require_json(request, example)
    content = await request.body()
    if most and len(content) > most:
        raise TooLarge(f"The body has {len(content):,} bytes; at most {most:,} are taken here.")
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"{error}. Send such as {example}.") from None
    except UNREADABLE as error:
        raise BadRequest(f"The body must be JSON such as {example}: {error}.", code="bad_json") from None


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of it, as long as the client waits; one that leaves ends it. Its body must have been read.

    Raises ClientDisconnect, and whatever the work does.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def caller(request: Request) -> Caller:
    """Who asks. Raises what the guard raises, and LoopDetected for what this gateway has sent itself."""
    lane: Lane = request.app.state.lane
    return lane.caller(by_name(request.scope["headers"]))


def require_admin(request: Request) -> None:
    """For what tells of everybody, or is for everybody. Raises Forbidden for a key that may not."""
    rights = caller(request).rights
    if rights is not None and not rights.admin:
        raise Forbidden("This needs a key with the scope `admin`; `rolecast keys list` shows what each key may.")


def port(request: Request) -> int:
    """The port that was asked."""
    return int((request.scope.get("server") or ("", 0))[1] or 0)


def iso(at: float) -> str:
    """A time since 1970 as PAS writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def service(request: Request, name: str, endpoints: dict[str, str], **more: Any) -> dict[str, Any]:
    """What a port says of itself at its root."""
    about = {"service": name, "version": VERSION, "port": port(request), "status": "running"}
    return {**about, **more, "endpoints": endpoints, "docs": "/openapi.json"}
