"""Anthropic's token counts: `POST /v1/messages/count_tokens`. Messages themselves are on the fast lane."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects import anthropic, dialect
from rolecast.server.asgi import json_response
from rolecast.server.lane import Lane
from rolecast.turn.count import Counter


class TokenCounts:
    """Counts the input of a message that is not sent yet."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def routes(self) -> list[Route]:
        return [Route(f"{prefix}/messages/count_tokens", self.count, methods=["POST"]) for prefix in ("/v1", "")]

    async def count(self, request: Request) -> Response:
        """`{"input_tokens":N}`, which is what the message would be charged with."""
        request.state.dialect = spoken = dialect("anthropic")
        lane: Lane = request.app.state.lane
        asked = anthropic.to_count(await request.body(), lane.limits)
        return json_response({"input_tokens": await self._counter.count(asked, spoken, lane.port_model)})
