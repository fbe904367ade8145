"""`/v1/feedback`: what people think of answers is taken and shown. What is made of it is a backtest's."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.books import feedback
from rolecast.books.feedback import Opinion, Summary
from rolecast.books.ledger import Ledger
from rolecast.books.store import Store
from rolecast.config import labels
from rolecast.config.current import Current
from rolecast.dialects.operation import Query, told
from rolecast.errors import UNREADABLE, BadRequest, Invalid, NotFound
from rolecast.pages import asked
from rolecast.server.asgi import json_response
from rolecast.server.lane import Lane, by_name

EXAMPLE = '{"request_id":"req_1a1fef800e300006","rating":"up"}'
MOST = 1000
THUMBS: Mapping[str | int, float] = {"up": 1.0, "down": 0.0, "1": 1.0, "+1": 1.0, "-1": 0.0, -1: 0.0}
"""Besides numbers from 0 to 1."""
"""As the learned model calls them."""
_ID = re.compile(r"req_([0-9a-f]{16})\Z")


class Given(msgspec.Struct):
    """What somebody thinks of an answer; besides the id one of the others is needed."""

    request_id: str
    """`x-request-id` of the answer."""
    rating: str | float | None = None
    """`up` or 1, `down` or -1, or a number from 0 to 1."""
    label: dict[str, str] | None = None
    """What would have been right: `category`, `role`, `tier`, `domain`, `model`, or a set of labels of your own."""
    comment: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    """Kept as it is; write nothing into it that the database must not hold."""


class Kept(msgspec.Struct, frozen=True):
    """What is kept now."""

    status: Literal["stored"]
    feedback: Opinion


class Listed(msgspec.Struct, frozen=True):
    """The newest, and all in numbers."""

    summary: Summary
    feedback: list[Opinion]


class FeedbackPage:
    """Takes and shows it."""

    def __init__(self, current: Current, ledger: Ledger, store: Store) -> None:
        self._current = current
        self._ledger = ledger
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("/v1/feedback", self.take, methods=["POST"]),
            Route("/v1/feedback", self.show, methods=["GET"]),
        ]

    @told(
        "Say what you think of an answer",
        "Routing",
        body=Given,
        example={"request_id": "req_1a1fef800e300006", "rating": "up", "label": {"category": "translation"}},
        answer=Kept,
        errors=(404, 415, 422, 503),
    )
    async def take(self, request: Request) -> Response:
        """Of one key the last word about a request counts, so the same may be sent twice. The request must be over."""
        given = await self._given(request)
        rating, label = _rating(given.rating), given.label or {}
        if rating is None and not label and not given.comment:
            raise Invalid("Nothing was said: send `rating`, `label` or `comment`.", param="rating")
        config = self._current.config
        allowed = self._allowed()
        for of, value in label.items():
            if of not in allowed:
                sets = ", ".join(allowed)
                raise Invalid(f"`label`: there are no labels of {of[:100]!r}; use {sets}.", param="label")
            if of != "model" and value not in allowed[of] and labels.TWINS.get(value) not in allowed[of]:
                words = ", ".join(allowed[of])
                raise Invalid(f"`label.{of}`: {value[:100]!r} is none; use {words}.", param=f"label.{of}")
            if of == "model" and value not in config.models:
                text = f"`label.model`: there is no model {value[:100]!r}; GET /v1/models lists them."
                raise Invalid(text, param="label.model")
        found = _ID.match(given.request_id)
        number = int(found[1], 16) if found else -1
        if not 0 <= number < 2**63 or not await self._ledger.holds(number):
            raise NotFound(
                f"There is no request {given.request_id[:100]!r} in the ledger: send the `x-request-id` of an answer "
                "that is complete.",
                param="request_id",
                code="request_not_found",
            )
        lane: Lane = request.app.state.lane
        key = lane.caller(by_name(request.scope["headers"])).key
        label = {of: labels.TWINS.get(value, value) if of == "category" else value for of, value in label.items()}
        at = await feedback.put(self._store, number, key, rating, label, given.comment)
        kept = Opinion(given.request_id, key, at, rating, label, given.comment)
        return json_response(Kept("stored", kept))

    @told(
        "What was said of answers",
        "Routing",
        answer=Listed,
        query=(Query("limit", asked.Number, f"at most {MOST:,}"),),
        errors=(503,),
    )
    async def show(self, request: Request) -> Response:
        """The newest first, and what all of it comes to."""
        most = min(asked.number(request.query_params.get("limit", "50")), MOST)
        found = await feedback.newest(self._store, most)
        return json_response(Listed(await feedback.summary(self._store), found))

    async def _given(self, request: Request) -> Given:
        asked.require_json(request, EXAMPLE)
        body = await request.body()
        try:
            return msgspec.json.decode(body, type=Given)
        except msgspec.ValidationError as exc:
            raise Invalid(f"{exc}. Send such as {EXAMPLE}.") from None
        except UNREADABLE as exc:
            raise BadRequest(f"The body must be JSON such as {EXAMPLE}: {exc}.", code="bad_json") from None

    def _allowed(self) -> dict[str, tuple[str, ...]]:
        config = self._current.config
        own = {name: tuple(each.examples) for name, each in config.routing.labels.items()}
        return {
            "category": labels.CATEGORIES,
            "role": tuple(dict.fromkeys((*labels.ROLES, *config.roles))),
            "tier": labels.TIERS,
            "domain": labels.DOMAINS,
            "model": tuple(config.models),
            **own,
        }


def _rating(said: str | float | None) -> float | None:
    """From 0 to 1. Raises Invalid."""
    if said is None:
        return None
    if said in THUMBS:
        return THUMBS[said]  # type: ignore[index]  # a float that equals a key is as good
    if isinstance(said, str) or math.isnan(said) or not 0 <= said <= 1:
        raise Invalid("`rating` must be `up` or 1, `down` or -1, or a number from 0 to 1.", param="rating")
    return float(said)
