"""Anthropic's pages: token counts, and how its clients read the list of models. Messages are on the fast lane."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects import anthropic, dialect
from rolecast.dialects.operation import told_in
from rolecast.server.asgi import json_response
from rolecast.server.lane import Lane
from rolecast.turn.count import Counter


class TokenCounts:
    """Counts the input of a message that is not sent yet."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def routes(self) -> list[Route]:
        return [Route(f"{prefix}/messages/count_tokens", self.count, methods=["POST"]) for prefix in ("/v1", "")]

    @told_in("rolecast.dialects.anthropic_reference:COUNT")
    async def count(self, request: Request) -> Response:
        """`{"input_tokens":N}`, which is what the message would be charged with."""
        lane: Lane = request.app.state.lane
        asked = anthropic.to_count(await request.body(), lane.limits)
        caller = lane.beside(request.scope["headers"])
        return json_response({"input_tokens": await self._counter.count(asked, dialect("anthropic"), caller)})


# -- models ------------------------------------------------------------------------------------------------------


def speaks(request: Request) -> bool:
    """Whether a client of Anthropic's asks: it names the version of its API."""
    return "anthropic-version" in request.headers


def card(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A model as its clients read it."""
    made = datetime.fromtimestamp(entry["created"], UTC).isoformat().replace("+00:00", "Z")
    context = entry["context_length"]
    return {
        "type": "model",
        "id": entry["id"],
        "display_name": entry["id"],
        "created_at": made,
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }


def listed(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All models, on one page."""
    cards = [card(entry) for entry in entries]
    ends = (cards[0]["id"], cards[-1]["id"]) if cards else (None, None)
    return {"data": cards, "has_more": False, "first_id": ends[0], "last_id": ends[1]}
