"""The converting lane: worker's dialect -> events -> client's dialect.

For a client and a worker that speak differently, and for answers that somebody in the gateway reads. Knows neither
dialect: a `Reader` makes events of the worker's bytes, an `Outlet` takes them.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from rolecast.dialects import Failing, Family, Reader, Telling, Writer, complaint, usage
from rolecast.dialects.speech import Listener
from rolecast.dialects.unveiled import Unveiled, Unveiling
from rolecast.errors import RolecastError
from rolecast.net.connection import Connection, Headers, KnownAnswer
from rolecast.turn.attempt import Attempt
from rolecast.turn.exchange import Exchange, Outlet, clock
from rolecast.turn.passage import MEAN_200, answer_lines, redirect
from rolecast.values import (
    Done,
    Embedding,
    Event,
    Failure,
    Ranking,
    Reasoning,
    Report,
    Score,
    Text,
    ToolCallDelta,
    Usage,
    Vector,
)

ERROR_BYTES = 1024 * 1024
"""No error needs more words."""


class Conversion(Attempt):
    """Reads the answer of one attempt and hands its events on."""

    connection: Connection | None = None
    lines = b""
    status = 0
    location = ""
    events = 0
    last_activity = 0.0
    _reader: Reader | None = None
    in_pieces = True
    """The worker sends a stream: an event is about a token."""
    _reported: Usage | None = None
    _done = False

    def __init__(self, exchange: Exchange, family: Family) -> None:
        self.exchange = exchange
        self._family: Family = family
        self._outlet: Outlet = exchange.sink.outlet(exchange)
        self._parts: list[bytes] = []
        self._held = 0
        self._given: list[int] = []
        """Of which inputs vectors or scores came."""

    def unveil(self, values: Mapping[str, str], *, as_json: bool) -> None:
        """Put these values in place of their tokens; called before the answer comes."""
        self._family = Unveiled(self._family, values, as_json=as_json)

    @property
    def streaming(self) -> bool:
        """Whether the client gets a stream."""
        return self.exchange.request is not None and self.exchange.request.stream

    # -- net.connection.Receiver --------------------------------------------------------------------------

    def on_head(self, status: int, headers: Headers) -> None:
        exchange = self.exchange
        lease = exchange.lease
        lease.worker.answered = lease.generation  # type: ignore[union-attr]
        if 300 <= status < 400:
            self.location = redirect(headers)
        elif status in MEAN_200:
            status = 200
        if status == 200 and exchange.unasked:
            exchange.dispatch.accepted(exchange)
        self.status = exchange.status = status
        self.last_activity = clock()
        self.lines, streaming, _ = answer_lines(headers)
        if status == 200:
            streaming = streaming or _in_lines(headers)
            self._reader, self.in_pieces = self._family.reader(streaming=streaming), streaming

    def on_body(self, parts: list[bytes], last: bool) -> None:
        self.last_activity = clock()
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._reader is not None:
            self._take(self._reader.read(data))
        elif self._held < ERROR_BYTES:
            self._parts.append(data)
            self._held += len(data)

    def on_end(self) -> None:
        exchange = self.exchange
        if not exchange.first:
            exchange.first = clock()
        if self._reader is None:
            exchange.dispatch.answered_error(exchange, complaint.read(b"".join(self._parts)), self.location)
            return
        self._take(self._reader.end())
        self._complete()
        if self.closed:
            return
        if not (self.events or self._done or self._reported):
            self._failed(Failure())
            return
        if lacking := self._lacking():
            self._failed(Failure(lacking))
            return
        if not self._done:
            self._outlet.take([Done()])
        used = self._reported
        if used is None:
            used = self.produced()
            self._outlet.take([Report(used)])
        exchange.account("ok", used)  # the books come before the last byte
        self._outlet.end()

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        if self.closed:
            return
        self.on_head(head.status, head.headers)
        self.on_body([body], True)
        if not self.closed:
            self.on_end()

    # -- turn.exchange.Carrier ----------------------------------------------------------------------------

    def produced(self) -> Usage:
        """What was reported, also at the beginning of a stream, or our own count."""
        if self._reported is not None:
            return self._reported
        if isinstance(self._reader, Telling) and (told := self._reader.told()) is not None:
            return replace(told, completion_tokens=max(told.completion_tokens, self.events), counted=True)
        request = self.exchange.request
        asked = len(request.body) // usage.BYTES_PER_TOKEN if request is not None and self.status else 0
        return Usage(asked, self.events, counted=True)

    def gone(self) -> Usage | None:
        """The usage of an answer that was complete when the client left."""
        return self.produced() if self._done and self._reported is not None else None

    def last_words(self, error: RolecastError) -> bytes | None:
        """What the reader holds back, and the error as the end of a stream."""
        if self.streaming and isinstance(self._reader, Listener | Unveiling) and (rest := self._reader.rest()):
            self._outlet.take(rest)
        return self._outlet.last_words(error) if self.streaming else None

    # -- inside -------------------------------------------------------------------------------------------

    def _complete(self) -> None:
        """Nothing more comes: for those who hold something back."""

    def _take(self, events: list[Event]) -> None:
        """Note what the books want, and hand on what came before an error, if one came."""
        if not events:
            return
        failure, pieces = None, 0
        for place, event in enumerate(events):
            kind = type(event)  # an event of a stream is a text, hardly ever anything else
            if kind is Text or kind is Reasoning or kind is ToolCallDelta:
                pieces += 1 if self.in_pieces else _tokens(event)  # type: ignore[arg-type]
            elif isinstance(event, Failure):
                failure, events = event, events[:place]
                break
            else:
                self._note(event)
        if pieces:
            self.events += pieces
            self.exchange.first = self.exchange.first or clock()
        if events:
            self._outlet.take(events)
        if failure is not None and not self.closed:
            self._failed(failure)

    def _note(self, event: Event) -> None:
        """Keep what is told at the end."""
        if isinstance(event, Report):
            self._reported = event.usage
        elif isinstance(event, Done):
            self._done = True
        elif isinstance(event, Vector | Score):
            self._given.append(event.index)

    def _lacking(self) -> str:
        """What is missing of vectors or scores: who asked for some must not take fewer for all; '' = nothing."""
        request = self.exchange.request
        plain = request.plain if request is not None else None
        if isinstance(plain, Embedding):  # some servers number them strangely, and order tells enough
            have, wanted, what = len(self._given), len(plain.inputs), "vectors"
        elif isinstance(plain, Ranking):
            wanted, what = len(plain.documents), "scores"
            have = len({index for index in self._given if 0 <= index < wanted})
        else:
            return ""
        return f"{have} of {wanted} {what} came" if have != wanted else ""

    def _failed(self, said: Failure) -> None:
        """What came with status 200 is an error, or no answer."""
        exchange = self.exchange
        if self.connection is not None:
            self.connection.abort()
        exchange.status = said.status or (400 if said.type.startswith("invalid_request") else 200)
        exchange.dispatch.answered_error(exchange, said)


LINES_OF_JSON = frozenset({b"application/x-ndjson", b"application/ndjson", b"application/jsonl"})
"""Streams of servers that do not send events, such as Ollama's."""


def _in_lines(headers: Headers) -> bool:
    kinds = (value.partition(b";")[0].strip().lower() for name, value in headers if name == b"content-type")
    return any(kind in LINES_OF_JSON for kind in kinds)


def _tokens(event: Text | Reasoning | ToolCallDelta) -> int:
    """Our own count for a piece that is all of it."""
    text = event.arguments if isinstance(event, ToolCallDelta) else event.text
    return max(1, -(-len(text) // usage.BYTES_PER_TOKEN))


class Written:
    """An outlet that writes the events for the client: as they come, or as one whole answer."""

    def __init__(self, exchange: Exchange, writer: Writer) -> None:
        self._exchange = exchange
        self._writer = writer
        self._stream = exchange.request is not None and exchange.request.stream

    @property
    def content_type(self) -> bytes:
        """Of the answer."""
        return self._writer.content_type

    def take(self, events: list[Event]) -> None:
        """Write what these add."""
        data = b"".join(map(self._writer.write, events))
        if not data:
            return
        exchange, sink = self._exchange, self._exchange.sink
        if not sink.started:
            sink.start(200, exchange.head(self._lines()), None)
        sink.write(data)

    def end(self) -> None:
        """Write the rest."""
        exchange, sink = self._exchange, self._exchange.sink
        last = self._writer.end(exchange.phases())
        if exchange.request is not None and exchange.request.thread is not None:
            exchange.dispatch.remember(exchange)
        if not self._stream:
            sink.respond(200, exchange.head(self._lines()), last)
            return
        if not sink.started:
            sink.start(200, exchange.head(self._lines()), None)
        sink.finish(last)

    def last_words(self, error: RolecastError) -> bytes:
        """The error as this writer tells it, or as its dialect does whatever was written."""
        if isinstance(self._writer, Failing):
            return self._writer.fail(error)
        return self._exchange.dialect.error(error, started=True)

    def _lines(self) -> bytes:
        caching = b"cache-control: no-cache\r\n" * self._stream
        return b"content-type: %b\r\n%b%b" % (self._writer.content_type, caching, self._exchange.id_line())
