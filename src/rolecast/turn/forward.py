"""The lane for what is no text: a request goes on as it is, and so does its answer, whatever it is made of.

For sound and pictures. Knows of an answer whether it is an error, and what it reports of tokens; nothing else is read.
"""

import re

import msgspec

from rolecast.dialects import complaint
from rolecast.errors import UNREADABLE, RolecastError
from rolecast.net.connection import Connection, Headers, KnownAnswer
from rolecast.turn.attempt import Attempt
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.passage import MEAN_200, answer_lines, redirect
from rolecast.values import Usage

HELD_BYTES = 1024 * 1024
"""An answer in JSON up to this size is held until it is whole, so that an error can be told from it."""
TAIL_BYTES = 2048
"""So much of the end of a longer one, or of a stream of events, is kept: there it tells of tokens."""
_ASKED = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d{1,12})(?!\d)')
_ANSWERED = re.compile(rb'"(?:completion|output)_tokens":\s*(\d{1,12})(?!\d)')


class _Counts(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class _Answer(msgspec.Struct):
    usage: _Counts | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class Forward(Attempt):
    """Takes the answer of one attempt from its connection and gives it to the client's sink."""

    connection: Connection | None = None
    lines = b""
    streaming = False
    status = 0
    location = ""
    events = 0
    last_activity = 0.0
    _holds = _tells = False
    _length: int | None = None

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._parts: list[bytes] = []
        self._held = 0
        self._tail = b""

    # -- net.connection.Receiver --------------------------------------------------------------------------

    def on_head(self, status: int, headers: Headers) -> None:
        exchange = self.exchange
        lease = exchange.lease
        lease.worker.answered = lease.generation  # type: ignore[union-attr]
        if 300 <= status < 400:
            self.location = redirect(headers)
        elif status in MEAN_200:
            status = 200
        self.status = exchange.status = status
        self.last_activity = clock()
        self.lines, self.streaming, self._length = answer_lines(headers)
        self._holds = status != 200 or b"content-type: application/json" in self.lines.lower()
        self._tells = self._holds or self.streaming

    def on_body(self, parts: list[bytes], last: bool) -> None:
        exchange = self.exchange
        self.last_activity = clock()
        exchange.first = exchange.first or self.last_activity
        data = b"".join(parts)
        if not data:
            return
        if not self._holds:
            self._send(data)
            return
        if self.status != 200 and self._held > HELD_BYTES:  # no error needs so many words
            return
        self._parts.append(data)
        self._held += len(data)
        if self.status == 200 and self._held > HELD_BYTES:
            self._holds = False
            self._send(b"".join(self._parts))
            self._parts.clear()

    def on_end(self) -> None:
        exchange, sink, body = self.exchange, self.exchange.sink, b"".join(self._parts)
        exchange.first = exchange.first or clock()
        if self.status != 200:
            exchange.dispatch.answered_error(exchange, complaint.read(body), self.location)
        elif sink.started:
            exchange.account("ok", self.produced())
            sink.finish()
        elif not body or complaint.is_error(body):
            said = complaint.read(body)
            exchange.status = said.status or (400 if said.type.startswith("invalid_request") else 200)
            exchange.dispatch.answered_error(exchange, said)
        else:
            exchange.account("ok", _reported(body))
            sink.respond(200, exchange.head(self.lines), body)

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        if self.closed:
            return
        self.on_head(head.status, head.headers)
        self.on_body([body], True)
        if not self.closed:
            self.on_end()

    # -- turn.exchange.Carrier ----------------------------------------------------------------------------

    def produced(self) -> Usage:
        """Nothing is counted of what is no text, but what was told is read."""
        return _told(self._tail) or Usage(counted=True)

    def gone(self) -> Usage | None:
        """The end is not known before it came."""
        return None

    def last_words(self, error: RolecastError) -> bytes | None:
        """The error as the end of a stream of events; sound just ends."""
        return b"\n\n" + self.exchange.dialect.error(error, started=True) if self.streaming else None

    # -- inside -------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        exchange, sink = self.exchange, self.exchange.sink
        if not sink.started:
            sink.start(200, exchange.head(self.lines), self._length)
        if self._tells:
            self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        sink.write(data)


def _told(tail: bytes) -> Usage | None:
    """The tokens that the end of an answer tells of, after all that it is made of."""
    _, found, counts = tail.rpartition(b'"usage"')
    asked, answered = _ASKED.search(counts), _ANSWERED.search(counts)
    if not found or asked is None:
        return None
    return Usage(int(asked[1]), int(answered[1]) if answered else 0)


def _reported(body: bytes) -> Usage:
    """The tokens that an answer tells of."""
    try:
        counts = _decode(body).usage
    except UNREADABLE:
        counts = None
    if counts is None:
        return Usage(counted=True)
    return Usage(counts.prompt_tokens or counts.input_tokens, counts.completion_tokens or counts.output_tokens)
