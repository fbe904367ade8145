"""Kept answers of the Responses API: look at one, at what was asked for it, delete it; and count tokens.

Makes no answer itself."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects.operation import told_in
from rolecast.dialects.responses_body import ID
from rolecast.dialects.thread import Kept
from rolecast.errors import BadRequest, NotFound
from rolecast.pages import asked
from rolecast.server.asgi import json_response
from rolecast.server.lane import Lane
from rolecast.turn.count import Counter
from rolecast.turn.memory import Memory

PATH = b"/v1/responses"
REFERENCE = "rolecast.dialects.responses_reference"
MOST, USUAL = 100, 20
"""So many items of an input are listed at once."""


class KeptResponses:
    """`/v1/responses/ID` and what is below it, also without `/v1`."""

    def __init__(self, memory: Memory, counter: Counter) -> None:
        self._memory = memory
        self._counter = counter

    def routes(self) -> list[Route]:
        """Of every port: who keeps an answer through one finds it through all."""
        return [
            route
            for start in ("/v1/responses", "/responses")
            for route in (
                Route(f"{start}/compact", self.elsewhere, methods=["POST"]),
                Route(f"{start}/input_tokens", self.count, methods=["POST"]),
                Route(f"{start}/{{id}}", self.show, methods=["GET"]),
                Route(f"{start}/{{id}}", self.delete, methods=["DELETE"]),
                Route(f"{start}/{{id}}/input_items", self.items, methods=["GET"]),
                Route(f"{start}/{{id}}/cancel", self.cancel, methods=["POST"]),
            )
        ]

    @told_in(f"{REFERENCE}:SHOW")
    async def show(self, request: Request) -> Response:
        """The answer as it was given."""
        if asked.flag(request.query_params.get("stream", "false")):
            raise BadRequest("`stream`: a kept answer is given whole.", param="stream", code="unsupported_value")
        kept = await self._kept(request)
        return Response(kept.answer, media_type="application/json")

    @told_in(f"{REFERENCE}:DELETE")
    async def delete(self, request: Request) -> Response:
        """Forget it, with what was asked for it."""
        name = _name(request)
        await self._memory.delete(name, asked.key(request))
        return json_response({"id": name, "object": "response", "deleted": True})

    @told_in(f"{REFERENCE}:ITEMS")
    async def items(self, request: Request) -> Response:
        """What was asked for it, the newest first unless `order=asc`."""
        kept = await self._kept(request)
        query = request.query_params
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise BadRequest("`order` must be asc or desc.", param="order")
        most = asked.number(query.get("limit", str(USUAL)))
        if not 1 <= most <= MOST:
            raise BadRequest(f"`limit` must lie in 1 to {MOST}.", param="limit")
        found = msgspec.json.decode(kept.asked, type=list[dict[str, msgspec.Raw]])
        ids = [msgspec.json.decode(item["id"]) for item in found]
        if order == "desc":
            found.reverse()
            ids.reverse()
        if after := query.get("after"):
            if after not in ids:
                raise BadRequest("`after` must be the id of an item of this list.", param="after")
            begin = ids.index(after) + 1
            found, ids = found[begin:], ids[begin:]
        ends = {"first_id": ids[0], "last_id": ids[:most][-1]} if ids else {"first_id": "", "last_id": ""}
        return json_response({"object": "list", "data": found[:most], **ends, "has_more": len(found) > most})

    @told_in(f"{REFERENCE}:CANCEL")
    async def cancel(self, request: Request) -> Response:
        """Nothing runs in the background, so that there is nothing to cancel."""
        kept = await self._kept(request)
        text = f"{kept.id} is complete: only answers made in the background can be cancelled, and there are none here."
        raise BadRequest(f"{text} A client that hangs up ends its own.", code="not_cancellable")

    @told_in(f"{REFERENCE}:COUNT")
    async def count(self, request: Request) -> Response:
        """How many tokens a request has that is not sent yet."""
        lane: Lane = request.app.state.lane
        wanted = lane.hot[PATH].read(await request.body())
        if wanted.chat is None and wanted.thread is not None:
            await self._memory.recall(wanted, asked.key(request))
        tokens = await self._counter.count(wanted, lane.hot[PATH].dialect, asked.caller(request))
        return json_response({"object": "response.input_tokens", "input_tokens": tokens})

    @told_in(f"{REFERENCE}:COMPACT")
    async def elsewhere(self, request: Request) -> Response:
        """What OpenAI has besides."""
        raise NotFound(
            f"{request.scope['path']} is not here: conversations are not compacted. Send what is to be gone on with."
        )

    async def _kept(self, request: Request) -> Kept:
        return await self._memory.get(_name(request), asked.key(request))


def _name(request: Request) -> str:
    """The id of the path. Raises NotFound for what never was one."""
    name: str = request.path_params["id"]
    if not ID.match(name):
        raise NotFound(f"There is no response {name[:100]!r}.", code="response_not_found")
    return name
