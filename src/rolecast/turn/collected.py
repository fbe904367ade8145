"""A request of a page that is seen through like any client's, and whose whole answer the page gets.

Its body is the client's in one of the dialects, so that nothing is lost on the way, and so is the answer. Nothing is
passed on before it is complete: an answer that breaks off is one more failed attempt.
"""

import asyncio
from collections.abc import Callable

import msgspec

from rolecast.dialects import Dialect
from rolecast.dialects.request import Request
from rolecast.errors import RolecastError, UpstreamError
from rolecast.turn.call import Letter
from rolecast.turn.conversion import Written
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.exchange import Exchange
from rolecast.turn.plan import Plan
from rolecast.values import Caller, Failure, Outcome, Usage

MOST_BYTES = 32 * 1024**2
"""No answer is longer."""


class Collected(msgspec.Struct, frozen=True):
    """What became of a request."""

    number: int
    body: bytes
    """The answer; b'' where there is none."""
    error: RolecastError | None
    usage: Usage
    cost: int
    """In picodollars."""
    plan: Plan | None
    """Who answered, or was asked last."""
    fell: str
    """The model that was to answer first, where another one was asked after it."""
    total_us: int


class Books:
    """The owner of such a request: all is done by `dispatch`, and what it took is noted besides."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self.usage = Usage()
        self.total_us = 0

    def settle(self, exchange: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        self.usage, self.total_us = usage, exchange.phases().total_us
        self._dispatch.settle(exchange, outcome, usage, error)

    def begin(self, exchange: Exchange, request: Request) -> None:
        self._dispatch.begin(exchange, request)

    def remember(self, exchange: Exchange) -> None:
        self._dispatch.remember(exchange)

    def lost(self, exchange: Exchange, error: RolecastError) -> None:
        self._dispatch.lost(exchange, error)

    def answered_error(self, exchange: Exchange, said: Failure, location: str = "") -> None:
        self._dispatch.answered_error(exchange, said, location)

    def escalate(self, exchange: Exchange, used: Usage, why: str) -> None:
        self._dispatch.escalate(exchange, used, why)

    def bring_back(self, exchange: Exchange, letter: Letter) -> None:
        self._dispatch.bring_back(exchange, letter)

    def leave(self, exchange: Exchange, letter: Letter) -> None:
        self._dispatch.leave(exchange, letter)

    def ask_plainly(self, exchange: Exchange) -> None:
        self._dispatch.ask_plainly(exchange)

    def accepted(self, exchange: Exchange) -> None:
        self._dispatch.accepted(exchange)


class Vessel:
    """Takes an answer whole: the sink of its exchange."""

    started = False
    """Never: until it is whole nobody has anything of it."""

    def __init__(self, target: tuple[str, str]) -> None:
        self.target = target
        self.over = asyncio.Event()
        self.body = b""
        self.error: RolecastError | None = None
        self.exchange: Exchange | None = None
        self._parts: list[bytes] = []
        self._held = 0

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        self.body = body
        self.over.set()

    def start(self, status: int, head: bytes, length: int | None) -> None:
        self._parts, self._held = [], 0

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._held += len(data)
        if self._held > MOST_BYTES and self.exchange is not None:
            text = f"The answer is longer than {MOST_BYTES:,} bytes, which is the most that is taken here."
            self.exchange.fail(UpstreamError(text))

    def finish(self, data: bytes = b"") -> None:
        self.respond(200, b"", b"".join(self._parts) + data)

    def refuse(self, error: RolecastError, head: bytes) -> None:
        self.error = error
        self.over.set()

    def break_off(self, error: RolecastError, last: bytes | None) -> None:
        self.refuse(error, b"")

    def outlet(self, exchange: Exchange) -> Written:
        request, plan = exchange.request, exchange.plan
        assert request is not None
        assert plan is not None
        return Written(exchange, exchange.dialect.writer(request, request.asked or plan.model_id))


class Collector:
    """Asks, and waits for the whole answer."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def ask(
        self,
        request: Request,
        caller: Caller,
        dialect: Dialect,
        target: tuple[str, str],
        fell: str = "",
        begin: Callable[[Exchange, Request], None] | None = None,
    ) -> Collected:
        """The answer, or the error that ended it. Whoever is cancelled meanwhile frees the slot.

        `fell` = who was to answer and could not be asked; `begin` = what is done in place of asking a model.
        """
        books, vessel = Books(self._dispatch), Vessel(target)
        exchange = Exchange(books, vessel, self._dispatch.new_id(), caller, dialect)
        vessel.exchange = exchange
        exchange.fell = fell
        try:
            try:
                (begin or self._dispatch.begin)(exchange, request)
            except RolecastError as error:
                exchange.fail(error)
            await vessel.over.wait()
        finally:
            exchange.client_gone()
            vessel.exchange = None
        return Collected(
            number=exchange.number,
            body=vessel.body,
            error=vessel.error,
            usage=books.usage,
            cost=exchange.cost or 0,
            plan=exchange.plan,
            fell=exchange.fell,
            total_us=books.total_us,
        )

    def only_book(self, exchange: Exchange, request: Request) -> None:
        """Choose who would answer and write the row of a request that asks nobody. Raises RolecastError."""
        dispatch, caller = self._dispatch, exchange.caller
        exchange.request = request
        if caller.gated:
            dispatch.gate.enter(exchange, request)
        exchange.plan = dispatch.plans.make(request.asked, request, caller, exchange.dialect)
        exchange.status = 200
        exchange.account("ok", Usage())
        exchange.sink.respond(200, b"", b"")
