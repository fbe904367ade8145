"""The pass-through lane: the worker's bytes go to the client as they come.

For a client and a worker that both speak OpenAI's wire. No event of a stream is parsed: the token counts are read
from the tail. Knows that wire just enough to tell an answer from an error, and where its usage stands.
"""

import asyncio
import re
from typing import Protocol

from msgspec.structs import replace

from rolecast.dialects import complaint, usage
from rolecast.errors import RolecastError, UpstreamError, WorkerDown
from rolecast.net.connection import Connection, Headers, KnownAnswer
from rolecast.turn.exchange import Exchange, clock
from rolecast.values import Usage

TAIL_BYTES = 2048
KEPT_READS = 8
"""So many reads of a stream are kept before all but their end is forgotten."""
COLLECT_BYTES = 1024 * 1024
"""Answers up to this size that are not streams are held until complete, so that a failure can be retried."""
END = b"[DONE]\n\n"
"""How the last event of a stream ends."""
END_S = 1.0
"""So long the end of the message may come after it; then the stream is complete without."""
COMMENTS_S = 10.0
"""So long comments at the start of a stream are held, so that an error behind them can still be one."""

_BROKEN = re.compile(rb'(?:^|\n)(?:data|error): ?\{\s*"(?:error"\s*:(?!\s*(?:null|false|""))|type": ?"error")')
"""An event that is an error; some servers say in every event that there is none."""
_FORWARDED = (b"content-encoding", b"retry-after", b"retry-after-ms", b"openai-processing-ms", b"openai-version")


class Passage:
    """Takes the answer of one attempt from its connection and gives it to the client's sink."""

    # Defaults live on the class: most answers never touch them, and a passage is made per attempt.
    connection: Connection | None = None
    streaming = False
    lines = b""
    counts = False
    """Pieces of a stream are counted, because the worker may not report usage."""
    broken = False
    """The worker ended its stream with an error event."""
    status = 0
    location = ""
    """Where a worker that redirects points to."""
    chunks = 0
    pieces = 0
    last_activity = 0.0
    _parts: "list[bytes]" = []  # noqa: RUF012  # replaced in on_head, never filled here
    _recent: "list[bytes]" = []  # noqa: RUF012  # replaced in on_head
    _held = 0
    """Bytes in `_parts`."""
    _carry = b""
    _lead = b""
    """Comments that came before the first event."""
    _last = b""
    """What is sent once the books are written."""
    _patience: asyncio.TimerHandle | None = None
    """Runs while only the end of the message is missing."""
    _length: int | None = None

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    @property
    def closed(self) -> bool:
        """Nobody wants the answer any more."""
        return self.exchange.closed or self.exchange.carrier is not self

    @property
    def events(self) -> int:
        """Pieces of a stream so far."""
        return max(0, self.chunks - 1) if self.streaming else 0

    # -- net.connection.Receiver --------------------------------------------------------------------------

    def on_head(self, status: int, headers: Headers) -> None:
        exchange = self.exchange
        lease = exchange.lease
        lease.worker.answered = lease.generation  # type: ignore[union-attr]
        if status != 200:
            status = self._unusual(status, headers)
        elif exchange.unasked:
            exchange.dispatch.accepted(exchange)
        self.status = exchange.status = status
        self.last_activity = clock()
        self.lines, self.streaming, length = answer_lines(headers)
        self._length = None if self.streaming else length  # events may be taken out of a stream
        self._parts = []
        self._recent = []

    def on_body(self, parts: list[bytes], last: bool) -> None:
        exchange = self.exchange
        now = self.last_activity = clock()
        self.chunks += len(parts)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if not exchange.first:
            exchange.first = now
        if self.status != 200 or not self.streaming:
            self._gather(data)
            return
        if self.counts:
            self._count(data)
        if exchange.request.edit_usage:  # type: ignore[union-attr]
            data = self._hide_usage(data)
        else:
            self._recent.append(data)
            if len(self._recent) > KEPT_READS:
                self._recent = [self._tail()]
        if last:
            self._last += self._lead + data
        elif data:
            if exchange.sink.started and not (self._last or data.endswith(END)):
                exchange.sink.write(data)
            else:
                self._begin(self._last + self._lead + data, now)

    def on_end(self) -> None:
        exchange = self.exchange
        self._stop_waiting()
        if not exchange.first:
            exchange.first = clock()
        if self.status != 200:
            exchange.dispatch.answered_error(exchange, complaint.read(b"".join(self._parts)), self.location)
        elif self.streaming or exchange.sink.started:
            if self._carry and not self._note_usage(self._carry):  # the last event has no blank line behind it
                self._last += self._carry
            found = self._tail_usage()
            if found.counted and not exchange.sink.started and not self._is_packed():
                silent = complaint.is_prelude(self._last)
                if silent or complaint.is_error(self._last):
                    self._failed(b"" if silent else self._last)
                    return
            self._end(found)
        else:
            body = b"".join(self._parts)
            reported = usage.of_answer(body)
            if self._is_doubtful(reported) and not self._is_packed() and not complaint.is_answer(body):
                self._failed(body)
                return
            exchange.account("ok", reported or usage.estimated(len(exchange.request.body), body))  # type: ignore[union-attr]
            exchange.sink.respond(200, exchange.head(self.lines), body)

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        exchange = self.exchange
        if exchange.closed:
            return
        lines = head.lines
        if lines is None:
            lines, streaming, _ = answer_lines(head.headers)
            if streaming:
                self._in_steps(head, body)
                return
            head.lines = lines
        reported = usage.of_answer(body)
        if reported is None or exchange.unasked or not (reported.completion_tokens or self._is_vectors()):
            self._in_steps(head, body)
            return
        lease = exchange.lease
        lease.worker.answered = lease.generation  # type: ignore[union-attr]
        exchange.status = head.status
        exchange.first = clock()
        exchange.closed = True
        exchange.carrier = None
        exchange.dispatch.settle(exchange, "ok", reported, None)
        exchange.sink.respond(head.status, exchange.head(lines), body)

    def on_lost(self, error: Exception) -> None:
        if self._last:  # nothing but the end of the message is lost
            self.on_end()
            return
        failure = error if isinstance(error, RolecastError) else WorkerDown(str(error))
        self.exchange.dispatch.lost(self.exchange, failure)

    # -- turn.exchange.Carrier ----------------------------------------------------------------------------

    def produced(self) -> Usage:
        """Our own count for an answer that ended without a report: one token per event, four bytes per token of
        the request body. Some servers report with every event."""
        request = self.exchange.request
        if not self.chunks or request is None:
            return Usage(counted=True)
        written = self.pieces if self.counts else self.events
        if self.streaming and (told := usage.of_tail(self._tail())):
            return replace(told, completion_tokens=max(told.completion_tokens, written), counted=True)
        return Usage(len(request.body) // usage.BYTES_PER_TOKEN, written, counted=True)

    def gone(self) -> Usage | None:
        """The usage of a stream whose last event was sent; None when it was cut off."""
        request = self.exchange.request
        hidden = request is not None and request.edit_usage and bool(self._recent)
        if self.streaming and (hidden or b"data: [DONE]" in self._tail()):
            return self._tail_usage()
        return None

    def last_words(self, error: RolecastError) -> bytes | None:
        """The error as the end of a stream; None inside a plain answer."""
        if not self.streaming:
            return None
        hides = self.exchange.request.edit_usage  # type: ignore[union-attr]
        cut = not hides and not self._tail().endswith((b"\n\n", b"\r\n\r\n"))
        return (b"\n\n" if cut else b"") + self.exchange.dialect.error(error, started=True)

    # -- inside -------------------------------------------------------------------------------------------

    def _in_steps(self, head: KnownAnswer, body: bytes) -> None:
        self.on_head(head.status, head.headers)
        self.on_body([body], True)
        self.on_end()

    def _end(self, found: Usage) -> None:
        exchange, sink = self.exchange, self.exchange.sink
        if not sink.started:
            sink.start(200, exchange.head(self.lines), self._length)
        if self.broken or (found.counted and _BROKEN.search(self._tail())):
            exchange.account("error", found, UpstreamError("The worker ended its stream with an error."))
        else:
            exchange.account("ok", found)
        sink.finish(self._last)

    def _begin(self, data: bytes, now: float) -> None:
        """Start a stream with what came first of it, unless that is an error, or says nothing yet; its end waits."""
        self._last = b""
        if data.endswith(END):  # who sees that must be in the books
            self._last, self._lead = data, b""
            self._patience = self._patience or asyncio.get_running_loop().call_later(END_S, complete, self)
            return
        self._stop_waiting()
        if self.exchange.sink.started:
            self.exchange.sink.write(data)  # what was taken for its end was none
        elif complaint.is_error(data):
            self._failed(data)
        elif complaint.is_prelude(data) and now - self.exchange.routed < COMMENTS_S:
            self._lead = data
        else:
            self._lead = b""
            self.exchange.sink.start(200, self.exchange.head(self.lines), None)
            self.exchange.sink.write(data)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _gather(self, data: bytes) -> None:
        """Hold a plain answer until it is complete; pass on what grows too large to hold."""
        exchange = self.exchange
        if exchange.sink.started:
            self._recent = [self._tail(), data]
            exchange.sink.write(data)
            return
        if self.status != 200 and self._held > COLLECT_BYTES:  # no error needs so many words
            return
        self._parts.append(data)
        self._held += len(data)
        if self.status == 200 and self._held > COLLECT_BYTES:
            whole = b"".join(self._parts)
            self._parts = []
            self._recent = [whole[:TAIL_BYTES], whole[-TAIL_BYTES:]]
            exchange.sink.start(200, exchange.head(self.lines), self._length)
            exchange.sink.write(whole)

    def _count(self, data: bytes) -> None:
        """Count the pieces of the answer, and see an error that ends it."""
        found = usage.pieces(data)
        self.pieces += found
        if not found and _BROKEN.search(data):
            self.broken = True

    def _hide_usage(self, data: bytes) -> bytes:
        """Drop the usage event that we asked for and the client did not; hold back an unfinished event."""
        data = self._carry + data
        gap = b"\n\n"
        end = data.rfind(gap)
        if end < 0:
            gap = b"\r\n\r\n"
            end = data.rfind(gap)
        if end < 0:
            self._carry = data if len(data) < COLLECT_BYTES else b""
            return b"" if self._carry else data
        end += len(gap)
        data, self._carry = data[:end], data[end:]
        if b'"usage"' not in data:
            return data
        return b"".join(event + gap for event in data.split(gap)[:-1] if not self._note_usage(event))

    def _note_usage(self, event: bytes) -> bool:
        """Keep an event that reports usage for the books; whether it does nothing else."""
        reports, nothing_else = usage.reported_by(event)
        if reports:
            self._recent = [event]
        return nothing_else

    def _tail(self) -> bytes:
        """The last bytes that came."""
        return b"".join(self._recent)[-2 * TAIL_BYTES :]

    def _tail_usage(self) -> Usage:
        return usage.of_tail(self._tail()) or self.produced()

    def _unusual(self, status: int, headers: Headers) -> int:
        """What a status other than 200 is to be taken for; where a redirect points to is kept."""
        if 300 <= status < 400:
            self.location = redirect(headers)
        elif status in MEAN_200:
            if self.exchange.unasked:
                self.exchange.dispatch.accepted(self.exchange)
            return 200
        return status

    def _is_doubtful(self, reported: Usage | None) -> bool:
        """Whether a plain answer may be none: some servers put a usage of nothing beside an error."""
        if reported is None:
            return True
        return not (reported.completion_tokens or self._is_vectors())

    def _is_vectors(self) -> bool:
        return self.exchange.request.kind == "embeddings"  # type: ignore[union-attr]

    def _is_packed(self) -> bool:
        return b"content-encoding: " in self.lines

    def _failed(self, body: bytes) -> None:
        """The answer came with status 200 and is an error, or nothing that answers."""
        if self.connection is not None:
            self.connection.abort()
        said = complaint.read(body)
        self.exchange.status = said.status or (400 if said.type.startswith("invalid_request") else 200)
        self.exchange.dispatch.answered_error(self.exchange, said)


class Ending(Protocol):
    """What brings an answer whose last event is here, and the end of the message is not."""

    connection: Connection | None

    @property
    def closed(self) -> bool: ...

    def on_end(self) -> None: ...


def complete(carrier: Ending) -> None:
    """The worker does not end the message: the answer is complete without."""
    if carrier.closed:
        return
    if carrier.connection is not None:
        carrier.connection.abort()
    carrier.on_end()


MEAN_200 = (201, 202, 203)
"""Said by servers that mean 200."""


def redirect(headers: Headers) -> str:
    """Where a redirect points to, as it may be shown."""
    location = next((value for name, value in headers if name == b"location"), b"")
    return complaint.place(location.decode("latin-1"))


def answer_lines(headers: Headers) -> tuple[bytes, bool, int | None]:
    """The worker's headers that go on to the client, whether it is a stream, and its length."""
    content_type, length, extra = b"application/json", None, b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length = int(value)
        elif name in _FORWARDED or name.startswith(b"x-ratelimit-"):
            extra += b"%b: %b\r\n" % (name, value)
    streaming = content_type.partition(b";")[0].strip().lower() == b"text/event-stream"
    if streaming:
        extra += b"cache-control: no-cache\r\n"
    return b"content-type: %b\r\n%b" % (content_type, extra), streaming, length
