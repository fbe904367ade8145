"""`/admin/usage`: what was used in a stretch of time, from the ledger. Computed when asked for; keeps nothing."""

import asyncio
import time
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.books import spans, usage
from rolecast.books.store import Store
from rolecast.config.current import Current
from rolecast.dialects.operation import Query, told
from rolecast.errors import BadRequest
from rolecast.pages import asked
from rolecast.server.asgi import json_response

SINCE = "7d"
QUERY = (
    Query("since", says=f"{spans.FORMS}; {SINCE} without"),
    Query("until", says="the same; now without"),
    Query("by", usage.By, "what to sum up by; only the total without"),
)


class UsagePage:
    """What was used."""

    def __init__(self, current: Current, store: Store) -> None:
        self._current = current
        self._store = store

    def routes(self) -> list[Route]:
        return [Route("/admin/usage", self.usage, methods=["GET"])]

    @told("What was used", "Administration", answer="rolecast.books.usage:Report", query=QUERY, errors=(503,))
    async def usage(self, request: Request) -> Response:
        """Requests, tokens, money, energy and times, right to the row of the ledger; money in dollars, exactly.

        A key that may not do everything is told of its own requests alone.
        """
        query = request.query_params
        window = spans.window(query.get("since") or SINCE, query.get("until", ""), time.time())
        by = query.get("by", "")
        if by and by not in usage.BYS:
            raise BadRequest(f"`by` is one of {', '.join(get_args(usage.By))}, not {by[:50]!r}.", param="by")
        compared = await asyncio.to_thread(usage.compared, self._current.config)
        mine = asked.own(request)
        return json_response(await usage.report(self._store, window, compared, by or None, mine))
