"""`POST /v1/route`: who would answer a request, and why, without asking a model."""

import asyncio
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects import any_shape
from rolecast.dialects.any_shape import Hot
from rolecast.dialects.operation import told
from rolecast.errors import RolecastError
from rolecast.pages import asked
from rolecast.pages.turns import Turn, Turns
from rolecast.server.asgi import json_response
from rolecast.server.lane import Lane, by_name
from rolecast.turn.rehearsal import Rehearsal, Routed
from rolecast.values import Caller

EXAMPLE = '{"prompt":"Write a regex for e-mail addresses"}'

AT_ONCE = 100_000
"""A longer body is taken apart in a thread: that takes longer than others should wait."""


class Failed(msgspec.Struct, frozen=True):
    """What is said of a prompt that could not be routed."""

    message: str
    type: str
    param: str | None
    code: str | None


class NotRouted(msgspec.Struct, frozen=True):
    """One of several prompts that could not be routed."""

    error: Failed


class Routes(msgspec.Struct, frozen=True):
    """One answer for each prompt, in their order."""

    routes: list[Routed | NotRouted]


class Asked(msgspec.Struct):
    """A chat in the words of any dialect, or a prompt, or several; the rest is as in a request."""

    model: str | None = None
    """As in a request; absent or `auto` = let the gateway choose."""
    prompt: str | None = None
    prompts: list[str] | None = None
    """Up to 1,000; then the answer is `routes`."""
    messages: list[Any] | None = None
    input: Any = None
    tools: list[Any] | None = None
    metadata: Any = None
    """What the caller knows of the request: an object of texts."""


class RoutePage:
    """The dry run."""

    def __init__(self, rehearsal: Rehearsal, turns: Turns) -> None:
        self._rehearsal = rehearsal
        self._turns = turns

    def routes(self) -> list[Route]:
        return [Route(path, self.route, methods=["POST"]) for path in ("/v1/route", "/route")]

    @told(
        "Who would answer, and why",
        "Routing",
        body=Asked,
        example={"prompt": "Translate 'good morning' into Polish."},
        answer="rolecast.pages.shapes:ROUTED",
        errors=(404, 415, 422, 501, 503),
    )
    async def route(self, request: HTTPRequest) -> Response:
        """Runs nothing and books nothing. Takes the body of a chat in any dialect, or `prompt`, or `prompts`, and the
        headers of a request; answers what a real one would get."""
        asked.require_json(request, EXAMPLE)
        lane: Lane = request.app.state.lane
        caller = lane.caller(by_name(request.scope["headers"]))
        turn = partial(self._turns.one, request)
        return json_response(await answer(await request.body(), lane.hot, caller, self._rehearsal, turn))


async def answer(body: bytes, hot: Hot, caller: Caller, rehearsal: Rehearsal, turn: Turn) -> Routed | Routes:
    """The answer to such a body. Raises RolecastError for one request; of several each has its own error."""
    several = any_shape.bodies(body) if len(body) < AT_ONCE else await asyncio.to_thread(any_shape.bodies, body)
    if several is None:
        return await rehearsal.of(*any_shape.read(body, hot), caller)
    found: list[Routed | NotRouted] = []
    for each in several:
        async with turn():
            try:
                found.append(await rehearsal.of(*any_shape.read(each, hot), caller))
            except RolecastError as error:
                found.append(NotRouted(Failed(error.message, error.type, error.param, error.code)))
    return Routes(found)
