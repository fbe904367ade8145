"""A stream whose head is out before anything of its answer is there, so that its client can be told that it waits.

What was sent is no answer: the request may still be tried again, or go to another model, and whoever asks whether its
answer has `started` hears no. What a head would have said of who answers is told in a comment, and an error, whose
status nobody hears any more, as the event that ends the stream. Knows server-sent events and no dialect.
"""

from typing import Protocol, runtime_checkable

from rolecast.errors import RolecastError
from rolecast.turn.exchange import Exchange, Outlet, Sink

EVENTS = b"text/event-stream"
_TOLD = (b"x-rolecast-", b"server-timing:")
"""Header lines of an answer that are worth a comment."""


@runtime_checkable
class Framed(Protocol):
    """An outlet that says in which media type it writes."""

    @property
    def content_type(self) -> bytes:
        """Of the answer."""


def can_open(exchange: Exchange) -> bool:
    """Whether the client of this request reads server-sent events, of which comments are no part."""
    request = exchange.request
    if request is None or exchange.plan is None or not request.stream or request.upload is not None:
        return False
    if request.kind not in ("chat", "completion") or request.only:
        return False
    outlet = exchange.sink.outlet(exchange)
    return isinstance(outlet, Framed) and outlet.content_type.startswith(EVENTS)


class Opened:
    """The sink of such a stream, in place of the one that it had."""

    def __init__(self, exchange: Exchange) -> None:
        self.started = False
        self._sink: Sink = exchange.sink
        self._exchange = exchange
        self._told = b""
        outlet = self._sink.outlet(exchange)
        assert isinstance(outlet, Framed)
        self._sink.start(200, _head(exchange, outlet.content_type), None)
        exchange.sink = self

    def tell(self, said: str, ping: bytes) -> None:
        """Say that nothing is lost: a comment, and what clients of this dialect take for a sign of life besides."""
        if not self.started:
            self._sink.write(b": %b\n%b" % (said.encode(), ping or b"\n"))

    # -- turn.exchange.Sink -----------------------------------------------------------------------------------

    @property
    def target(self) -> tuple[str, str]:
        return self._sink.target

    @property
    def peer(self) -> str:
        """The address of the client."""
        return getattr(self._sink, "peer", "")

    def start(self, status: int, head: bytes, length: int | None) -> None:
        lines = [line for line in head.splitlines() if line.startswith(_TOLD)]
        self._told = b"".join(b": %b\n" % line for line in lines) + b"\n" * bool(lines)

    def write(self, data: bytes) -> None:
        if not self.started:
            self.started, data = True, self._told + data
        self._sink.write(data)

    def finish(self, data: bytes = b"") -> None:
        if not self.started:
            self.started, data = True, self._told + data
        self._close()
        self._sink.finish(data)

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A server that was asked for a stream gave a whole answer: it is told as a stream."""
        exchange = self._exchange
        assert exchange.plan is not None
        reader, outlet = exchange.plan.speaks().reader(streaming=False), exchange.sink.outlet(exchange)
        self.start(status, head, None)
        outlet.take([*reader.read(body), *reader.end()])
        outlet.end()

    def refuse(self, error: RolecastError, head: bytes) -> None:
        self.started = True
        self._close()
        self._sink.finish(self._sink.outlet(self._exchange).last_words(error))

    def break_off(self, error: RolecastError, last: bytes | None) -> None:
        self._close()
        self._sink.break_off(error, last)

    def outlet(self, exchange: Exchange) -> Outlet:
        return self._sink.outlet(exchange)

    def _close(self) -> None:
        """It is over. No cycle: what it stood in for is back in its place."""
        self._exchange.sink = self._sink


def _head(exchange: Exchange, content_type: bytes) -> bytes:
    """What is known before anybody answers."""
    return b"%bcontent-type: %b\r\ncache-control: no-cache\r\n%bx-request-id: %b\r\n" % (
        exchange.caller.answer_lines,
        content_type,
        exchange.id_line(),
        exchange.id.encode(),
    )
