"""`/admin/egress`: what left this machine, from the egress ledger."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.books.store import Store
from rolecast.dialects.operation import Query, told
from rolecast.egress import ledger
from rolecast.egress.chain import Entry
from rolecast.errors import BadRequest
from rolecast.pages import asked
from rolecast.server.asgi import json_response

MOST = 1000


class Head(msgspec.Struct, frozen=True):
    """The newest entry of a gateway: who notes its hash can tell later that nothing was cut off."""

    place: str
    seq: int
    hash: str


class Left(msgspec.Struct, frozen=True):
    """What left, the newest first, and how far each chain goes."""

    entries: list[Entry]
    heads: list[Head]


class EgressPage:
    """Shows it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [Route("/admin/egress", self.show, methods=["GET"])]

    @told(
        "What left this machine",
        "Administration",
        answer=Left,
        query=(
            Query("limit", asked.Number, f"at most {MOST:,}"),
            Query("since", float, "only what left since then, in seconds since 1970"),
        ),
        errors=(503,),
    )
    async def show(self, request: Request) -> Response:
        """Each request, count, image and call of a tool that went to a server elsewhere; no word of any."""
        most = min(asked.number(request.query_params.get("limit", "50")), MOST)
        since_us = _moment(request.query_params.get("since", "0"))
        entries = await ledger.newest(self._store, most, since_us)
        heads = [Head(*each) for each in await ledger.heads(self._store)]
        return json_response(Left(entries, heads))


def _moment(text: str) -> int:
    """Seconds since 1970 as microseconds. Raises BadRequest."""
    try:
        moment = float(text)
    except ValueError:
        moment = -1.0
    if not 0 <= moment < 1e11:
        raise BadRequest(f"`since` must be a number of seconds since 1970, not {text[:50]!r}.", param="since")
    return int(moment * 1_000_000)
