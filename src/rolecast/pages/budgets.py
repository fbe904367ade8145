"""`/admin/budgets`: what runs and keys may spend, and how that stands. Amounts in dollars, exact in both directions."""

from decimal import Decimal
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.access.budget import SCOPES, Level, Scope, Standing, Window
from rolecast.access.budgets import Budgets
from rolecast.access.keyring import Keyring
from rolecast.config.current import Current
from rolecast.dialects.operation import Query, told
from rolecast.errors import UNREADABLE, BadRequest, Conflict, Invalid, NotFound
from rolecast.money import MOST, PICO, pico
from rolecast.pages import asked
from rolecast.server.guard import ids_of

TAG = "Administration"
BODY = {"scope": "run", "name": "nightly", "amount_usd": 2.5, "window": "day"}
EXAMPLE = '{"scope":"run","name":"nightly","amount_usd":2.5,"window":"day"}'
MOST_NAME = 200
MOST_USD = MOST // PICO
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Set(msgspec.Struct):
    """A budget as it is to be."""

    name: str
    """Of the run, or the id of a key of `server.keys`; keys of the database keep their budgets themselves."""
    amount_usd: Decimal
    """Dollars; a number, or its digits as a text."""
    scope: Scope = "run"
    window: Window = "total"
    """`total`, or a `day` or `month` of UTC, after which nothing is spent again."""


class Stands(msgspec.Struct, frozen=True):
    """How a budget stands, in dollars."""

    scope: Scope
    name: str
    window: Window
    amount_usd: Decimal
    spent_usd: Decimal
    reserved_usd: Decimal
    """What requests in flight may come to."""
    remaining_usd: Decimal
    percent_used: Decimal
    level: Level
    """`ok` below 75 %, `caution` below 90 %, `warning` below 100 %, `critical`."""
    can_proceed: bool
    """Whether another request may cost something."""
    renews_at: float | None
    """In seconds since 1970; null = never."""
    called: str = ""
    """What people call the key, if its budget is one of a key that has a name."""


class Listed(msgspec.Struct, frozen=True):
    """All budgets."""

    budgets: list[Stands]


class Removed(msgspec.Struct, frozen=True):
    """That it is gone."""

    status: Literal["removed"]
    scope: Scope
    name: str


def shown(standing: Standing, called: str = "") -> Stands:
    """In dollars."""
    return Stands(
        standing.scope,
        standing.name,
        standing.window,
        standing.amount_usd,
        standing.spent_usd,
        standing.reserved_usd,
        standing.remaining_usd,
        standing.percent,
        standing.level,
        standing.can_proceed,
        standing.renews_at,
        called,
    )


class BudgetPages:
    """Lists, sets and removes them."""

    def __init__(self, budgets: Budgets, keyring: Keyring, current: Current) -> None:
        self._budgets = budgets
        self._ring = keyring
        self._current = current

    def routes(self) -> list[Route]:
        return [
            Route("/admin/budgets", self.all, methods=["GET"]),
            Route("/admin/budgets", self.set, methods=["POST"]),
            Route("/admin/budgets", self.remove, methods=["DELETE"]),
        ]

    @told("The budgets", TAG, answer=Listed)
    async def all(self, request: Request) -> Response:
        """How each stands, by scope and name."""
        return _answer(Listed([shown(each, self._called(each)) for each in self._budgets.all()]))

    @told("Set a budget", TAG, body=Set, example=BODY, answer=Stands, errors=(404, 409, 415, 422, 503))
    async def set(self, request: Request) -> Response:
        """Let a run, or the holder of a key, spend so much; what it has spent in this window counts."""
        asked.require_json(request, EXAMPLE)
        try:
            given = msgspec.json.decode(await request.body(), type=Set)
        except msgspec.ValidationError as exc:
            raise Invalid(f"{exc}. Send such as {EXAMPLE}.") from None
        except UNREADABLE as exc:
            raise BadRequest(f"The body must be JSON such as {EXAMPLE}: {exc}.", code="bad_json") from None
        if not given.name or len(given.name) > MOST_NAME or not given.name.isprintable():
            text = f"`name` must be the name of a run or the id of a key, of 1 to {MOST_NAME} printable characters."
            raise Invalid(text, param="name")
        amount = given.amount_usd
        if not amount.is_finite() or not 0 <= amount <= MOST_USD:
            raise Invalid("`amount_usd` must be dollars, from 0 to 9,000,000.", param="amount_usd")
        if given.scope == "key":
            await self._require_key(given.name)
        return _answer(shown(await self._budgets.set(given.scope, given.name, pico(amount), given.window)))

    @told(
        "Remove a budget",
        TAG,
        answer=Removed,
        query=(Query("name", says="of the run, or the id of the key"), Query("scope", Scope, "`run` without")),
        errors=(404, 503),
    )
    async def remove(self, request: Request) -> Response:
        """Let it spend what it wants."""
        asked.refuse_forms(request)
        scope, name = request.query_params.get("scope", "run"), request.query_params.get("name", "")
        if scope not in SCOPES:
            raise BadRequest(f"`scope` must be {' or '.join(SCOPES)}, not {scope[:50]!r}.", param="scope")
        if "\0" in name or not await self._budgets.remove(scope, name):
            raise NotFound(f"There is no budget of the {scope} {name[:MOST_NAME]!r}; `rolecast budget` lists them.")
        return _answer(Removed("removed", scope, name))

    async def _require_key(self, name: str) -> None:
        """A budget under a name that is no key's would bind nobody, and nobody would notice."""
        if name in ids_of(self._current.config.server.keys):
            return
        key = await self._ring.table.get(name)
        called = key.name or key.id
        text = f"The key {called!r} keeps its budget itself: `rolecast keys change {called} --budget 5/month`."
        raise Conflict(text, param="name")

    def _called(self, standing: Standing) -> str:
        key = self._ring.of(standing.name) if standing.scope == "key" else None
        return "" if key is None else key.name


def _answer(value: msgspec.Struct) -> Response:
    """Decimals as numbers: JSON has no bound for their digits."""
    return Response(_encode(value), media_type="application/json")
