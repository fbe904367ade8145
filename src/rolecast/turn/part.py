"""A request that is answered by several exchanges: its carrier, and who sees its parts through.

A part is chosen, leased, called and tried again like any exchange, but has no books: its end is the whole's. Who
divides a request, or asks something on its way, writes down only what differs.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from rolecast.dialects.request import Request
from rolecast.errors import Internal, RolecastError
from rolecast.turn.exchange import Exchange, Outlet, Owner, clock
from rolecast.values import Failure, Outcome, Report, Usage

if TYPE_CHECKING:
    from rolecast.turn.call import Letter


class Whole(Owner, Protocol):
    """Who sees a request through, and may be asked to let go of a part."""

    def let_go(self, part: Exchange) -> None:
        """The part is over: free its slot. No books are written."""


class Delegated:
    """The owner of a part: all is done by the owner of the whole, but for its end, which is `over`."""

    def __init__(self, owner: Whole) -> None:
        self._owner = owner

    def over(self, part: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        """The part has ended, and its slot is free: what it took."""
        raise NotImplementedError

    def settle(self, exchange: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        self._owner.let_go(exchange)
        self.over(exchange, outcome, usage, error)

    def begin(self, exchange: Exchange, request: Request) -> None:
        self._owner.begin(exchange, request)

    def remember(self, exchange: Exchange) -> None:
        """Parts belong to no conversation."""

    def bring_back(self, exchange: Exchange, letter: "Letter") -> None:
        self._owner.bring_back(exchange, letter)

    def leave(self, exchange: Exchange, letter: "Letter") -> None:
        self._owner.leave(exchange, letter)

    def lost(self, exchange: Exchange, error: RolecastError) -> None:
        self._owner.lost(exchange, error)

    def answered_error(self, exchange: Exchange, said: Failure, location: str = "") -> None:
        self._owner.answered_error(exchange, said, location)

    def escalate(self, exchange: Exchange, used: Usage, why: str) -> None:
        self._owner.escalate(exchange, used, why)

    def ask_plainly(self, exchange: Exchange) -> None:
        self._owner.ask_plainly(exchange)

    def accepted(self, exchange: Exchange) -> None:
        self._owner.accepted(exchange)


class Composite:
    """The carrier of a request whose answer is made of those to its parts."""

    lines = b""
    events = 0
    paused = False
    exchange: Exchange
    _outlet: Outlet

    def parts(self) -> Iterable[Exchange]:
        """Those that run."""
        raise NotImplementedError

    def abort(self) -> None:
        """Nobody wants the answer any more: end all parts."""
        raise NotImplementedError

    def produced(self) -> Usage:
        """What all parts took so far."""
        raise NotImplementedError

    def pause(self) -> None:
        """The client reads slowly."""
        self.paused = True
        for part in self.parts():
            part.pause()

    def resume(self) -> None:
        """The client reads again."""
        self.paused = False
        for part in self.parts():
            part.resume()

    @property
    def connection(self) -> Any:
        """What an exchange does to a worker's connection is done to those of all parts."""
        return self

    @connection.setter
    def connection(self, connection: Any) -> None:
        """It has no other."""

    @property
    def last_activity(self) -> float:
        """Now: who is silent for too long is asked of each part."""
        return clock()

    @last_activity.setter
    def last_activity(self, at: float) -> None:
        """Nothing to note."""

    @property
    def closed(self) -> bool:
        """Nobody wants the answer any more."""
        return self.exchange.closed or self.exchange.carrier is not self

    @property
    def streaming(self) -> bool:
        """Whether the client gets a stream."""
        return self.exchange.request is not None and self.exchange.request.stream

    def gone(self) -> Usage | None:
        """Never the whole answer: with its last part it is over at once."""
        return None

    def last_words(self, error: RolecastError) -> bytes | None:
        """The error as the end of a stream."""
        return self._outlet.last_words(error) if self.streaming else None

    def report(self, used: Usage) -> Report:
        """What the client is told of the whole."""
        return Report(used)

    def close(self, used: Usage) -> None:
        """The answer is complete: the books come before the last byte."""
        exchange = self.exchange
        exchange.first = exchange.first or clock()
        self._outlet.take([self.report(used)])
        exchange.status = 200
        exchange.account("ok", used)
        self._outlet.end()

    def on_head(self, status: int, headers: Any) -> None:
        raise Internal  # each part has a carrier of its own

    def on_body(self, parts: list[bytes], last: bool) -> None:
        raise Internal

    def on_end(self) -> None:
        raise Internal

    def on_whole(self, head: Any, body: bytes) -> None:
        raise Internal

    def on_lost(self, error: Exception) -> None:
        raise Internal
