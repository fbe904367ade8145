"""The lane between: client and worker speak alike, and it is no wire whose tail holds the counts.

The worker's bytes go to the client as they come; its family reads them besides, for the books and for errors. Nothing
is sent before the answer says something, so what fails before that can be asked elsewhere.
"""

import asyncio

from rolecast.dialects import Family
from rolecast.errors import RolecastError
from rolecast.net.connection import Headers
from rolecast.turn.conversion import Conversion
from rolecast.turn.exchange import Exchange
from rolecast.turn.passage import END_S, complete
from rolecast.values import Done, Event


class Relay(Conversion):
    """Hands the bytes of one attempt on."""

    _outlet: "_Bytes"
    _patience: asyncio.TimerHandle | None = None
    """Runs while only the end of the message is missing."""

    def __init__(self, exchange: Exchange, family: Family) -> None:
        super().__init__(exchange, family)
        self._outlet = _Bytes(exchange)

    def on_head(self, status: int, headers: Headers) -> None:
        super().on_head(status, headers)
        self._outlet.lines, self._outlet.streams = self.lines + self.exchange.id_line(), self.in_pieces

    def on_body(self, parts: list[bytes], last: bool) -> None:
        if self._reader is not None:
            self._outlet.held += parts
        super().on_body(parts, last)
        if self.closed:
            return
        if self._outlet.over and self.streaming:
            if self._patience is None and not last:
                self._patience = asyncio.get_running_loop().call_later(END_S, complete, self)
        elif self.exchange.sink.started:
            self._outlet.take([])  # what says nothing keeps a client waiting all the same

    def on_end(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().on_end()

    def on_lost(self, error: Exception) -> None:
        if self._patience is not None:  # nothing but the end of the message is lost
            self.on_end()
        else:
            super().on_lost(error)


class _Bytes:
    """An outlet for bytes: events only say that there is something to send. Knows no relay, so there is no cycle."""

    lines = b""
    streams = True
    over = False
    """The answer has said why it ends. The rest is sent once the books are written."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.held: list[bytes] = []

    def take(self, events: list[Event]) -> None:
        """Send what is held, if it is a stream."""
        self.over = self.over or any(isinstance(each, Done) for each in events)
        if self.held and self.streams and not self.over:
            self._start()
            self._exchange.sink.write(self._released())

    def end(self) -> None:
        """Send the rest."""
        exchange, sink = self._exchange, self._exchange.sink
        if self.streams:
            self._start()
            sink.finish(self._released())
        else:
            sink.respond(200, exchange.head(self.lines), self._released())

    def last_words(self, error: RolecastError) -> bytes:
        """The error as the end of a stream, after whatever piece of an event went out before it."""
        return b"\n\n" + self._exchange.dialect.error(error, started=True)

    def _start(self) -> None:
        if not self._exchange.sink.started:
            self._exchange.sink.start(200, self._exchange.head(self.lines), None)

    def _released(self) -> bytes:
        data, self.held = b"".join(self.held), []
        return data
