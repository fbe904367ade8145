"""`/openapi.json`: what this port serves, for programs; `/docs`: the same for people.

Every port has its own, since ports differ. The document is made when somebody first asks for it, and again when the
configuration changes what the port serves.
"""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects.operation import PAGE, told
from rolecast.pages import ui
from rolecast.server.lane import Lane


def routes() -> list[Route]:
    """Of every port."""
    return [
        Route("/openapi.json", document, methods=["GET"]),
        Route("/docs", page, methods=["GET"]),
    ]


class _Made(msgspec.Struct, frozen=True):
    """A document, and what it was made of."""

    hot: object
    keyed: bool
    name: str
    written: bytes


@told("This document", "Reference", answer=dict)
async def document(request: Request) -> Response:
    """OpenAPI 3.1, of this port."""
    lane: Lane = request.app.state.lane
    made: _Made | None = getattr(request.app.state, "openapi", None)
    if made is None or made.hot is not lane.hot or (made.keyed, made.name) != (lane.guard.keyed, lane.name):
        made = await asyncio.to_thread(_make, lane, request.app.routes)
        request.app.state.openapi = made
    return Response(made.written, media_type="application/json", headers={"cache-control": "no-cache"})


@told("The reference for people", "Reference", answer=str, media=PAGE)
async def page(request: Request) -> Response:
    """Shows what `/openapi.json` says, and lets it be tried."""
    return ui.file("docs.html", "text/html")


def _make(lane: Lane, routes: list[Route]) -> _Made:
    from rolecast.pages import openapi_document

    hot, keyed, name = lane.hot, lane.guard.keyed, lane.name
    made = openapi_document.document(f"Rolecast, {name}", hot, routes, keyed=keyed)
    return _Made(hot, keyed, name, msgspec.json.encode(made))
