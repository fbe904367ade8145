"""A whole answer gathered of a stream: for engines that heed a client that leaves in streams alone.

Client and worker speak OpenAI's wire. The worker was asked for a stream; the answer that its events make, or the one
that came in its place, goes to a `Passage` as if it had come whole. So what is held for others is held for them no
longer than the client waits.
"""

from rolecast.dialects import usage
from rolecast.dialects.gathered import MAX_ANSWER_BYTES
from rolecast.dialects.openai_joined import Joined
from rolecast.errors import RolecastError
from rolecast.net.connection import Connection, Headers, KnownAnswer
from rolecast.turn.attempt import Attempt
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.passage import COLLECT_BYTES, MEAN_200, Passage, answer_lines
from rolecast.values import Usage

_BROKE_OFF = b'{"error":{"message":"its answer broke off","code":"bad_upstream"}}'
_OF_A_STREAM = (b"content-type", b"content-length")


class Gathering(Attempt):
    """Takes the stream of one attempt and gives it on as one answer."""

    connection: Connection | None = None
    lines = b""
    streaming = False
    """What the client gets is none."""
    events = 0
    last_activity = 0.0
    _joined: Joined | None = None
    """None for what is no stream."""

    def __init__(self, exchange: Exchange, passage: Passage) -> None:
        self.exchange = exchange
        self._passage = passage
        self._status = 0
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._held = 0

    # -- net.connection.Receiver --------------------------------------------------------------------------

    def on_head(self, status: int, headers: Headers) -> None:
        exchange = self.exchange
        lease = exchange.lease
        lease.worker.answered = lease.generation  # type: ignore[union-attr]
        self.last_activity = clock()
        self._status = exchange.status = 200 if status in MEAN_200 else status
        self._headers = headers
        if self._status == 200 and answer_lines(headers)[1]:
            self._joined = Joined()

    def on_body(self, parts: list[bytes], last: bool) -> None:
        now = self.last_activity = clock()
        self.exchange.first = self.exchange.first or now
        self.events += len(parts)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        joined = self._joined
        if joined is not None:
            joined.feed(data)
            if joined.error and not last:
                self._give_up()
        elif self._status == 200 or self._held < COLLECT_BYTES:  # no error needs so many words
            self._parts.append(data)
            self._held += len(data)
            if self._held > MAX_ANSWER_BYTES:
                self._give_up()

    def on_end(self) -> None:
        joined = self._joined
        if joined is None:
            self._hand_over(self._status, self._headers, b"".join(self._parts))
            return
        body = joined.whole() or joined.error or _BROKE_OFF
        headers = [pair for pair in self._headers if pair[0] not in _OF_A_STREAM]
        headers += [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        self._hand_over(200, headers, body)

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        if not self.closed:
            self.on_head(head.status, head.headers)
            self.on_body([body], True)
            self.on_end()

    # -- turn.exchange.Carrier ----------------------------------------------------------------------------

    def produced(self) -> Usage:
        """Our own count: one token per piece, four bytes per token of the request body."""
        request = self.exchange.request
        if self._joined is None or request is None:
            return Usage(counted=True)
        return Usage(len(request.body) // usage.BYTES_PER_TOKEN, self._joined.pieces, counted=True)

    def gone(self) -> Usage | None:
        """The client had nothing of it."""
        return None

    def last_words(self, error: RolecastError) -> bytes | None:
        """Nothing has begun."""
        return None

    # -- inside -------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        """More than any answer has, or what cannot be read: nothing that follows helps."""
        if self.connection is not None:
            self.connection.abort()
        self._parts = []
        self.on_end()

    def _hand_over(self, status: int, headers: Headers, body: bytes) -> None:
        exchange, passage = self.exchange, self._passage
        exchange.carrier = passage
        passage.on_head(status, headers)
        passage.on_body([body], last=True)
        passage.on_end()
