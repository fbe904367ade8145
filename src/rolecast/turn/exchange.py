"""One request from its body to its ledger row: the state that both lanes share.

An exchange receives the worker's answer (it is a `net.connection.Receiver`) and writes to a `Sink`, which frames
it for the client. On the pass-through lane no chunk is parsed: bytes go on as they come, and the token counts
are read from the tail. It knows OpenAI's wire just enough for that; it chooses and retries nothing itself.
"""

import asyncio
import itertools
import re
import time
from collections.abc import Callable
from typing import Protocol

from rolecast.dialects import complaint, usage
from rolecast.dialects.request import Request
from rolecast.errors import Cancelled, RolecastError, UpstreamError, WorkerDown
from rolecast.fleet import Lease
from rolecast.net.connection import Connection, Headers, KnownAnswer
from rolecast.turn.plan import Plan
from rolecast.values import Usage

TAIL_BYTES = 2048
KEPT_READS = 8
"""So many reads of a stream are kept before all but their end is forgotten."""
COLLECT_BYTES = 1024 * 1024
"""Answers up to this size that are not streams are held until complete, so that a failure can be retried."""

COMMENTS_S = 10.0
"""So long comments at the start of a stream are held, so that an error behind them can still be one."""

_BROKEN = re.compile(rb'(?:^|\n)(?:data|error): ?\{\s*"(?:error"|type": ?"error")')
_FORWARDED = (b"content-encoding", b"retry-after", b"openai-processing-ms", b"openai-version")

clock = time.perf_counter


class Sink(Protocol):
    """The client's side: frames an answer. `started` turns true with the first byte sent."""

    started: bool

    @property
    def target(self) -> tuple[str, str]:
        """Method and path, without the query, of what was asked."""

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer. `head` is raw header lines, each ending in CRLF, without framing."""

    def start(self, status: int, head: bytes, length: int | None) -> None:
        """Begin an answer; nothing is sent before the first `write`."""

    def write(self, data: bytes) -> None: ...

    def finish(self, data: bytes = b"") -> None:
        """Send the last `data` and end the answer."""

    def abort(self) -> None:
        """End without a clean end of message, because none is possible."""


class Owner(Protocol):
    """Who sees an exchange through: `dispatch`."""

    def begin(self, exchange: "Exchange", request: Request) -> None: ...

    def lost(self, exchange: "Exchange", error: RolecastError) -> None:
        """No (more) answer comes from the worker."""

    def answered_error(self, exchange: "Exchange", body: bytes) -> None:
        """The worker answered with an error: a status, or one in place of an answer."""

    def accepted(self, exchange: "Exchange") -> None:
        """The worker takes the request without the wish for usage that it had refused."""

    def settle(self, exchange: "Exchange", outcome: str, usage: Usage, error: RolecastError | None) -> None:
        """The exchange is over: free its slot and write the books."""


class Exchange:
    """State of one request. Fed by the upstream connection on one side and the sink's protocol on the other."""

    # Defaults live on the class: most requests never touch them, and an exchange is made per request.
    client_id = ""
    port_model = ""
    trace_lines = b""
    extra_head = b""
    request: Request | None = None
    plan: Plan | None = None
    lease: Lease | None = None
    connection: Connection | None = None
    task: asyncio.Task[None] | None = None
    closed = False
    streaming = False
    counts = False
    """Pieces of a stream are counted, because the worker may not report usage. Set by dispatch."""
    broken = False
    """The worker ended its stream with an error event."""
    unasked = False
    """The request is sent again without our wish for usage. Set by dispatch."""
    location = ""
    """Where a worker that redirects points to."""
    attempts = 0
    forgiven = 0
    """Attempts that ended with their worker: they do not count against the request."""
    losses = 0
    """Workers of the present model that ended under it before the first byte."""
    suspicions = 0.0
    """Those of them that nothing else ran on; one that was killed from outside, as it seems, counts half."""
    lost: Lease | None = None
    """The lease that was lost last."""
    lost_after_s = 0.0
    """How long it had run there."""
    patience = 0.0
    """Until when it may wait for another worker, in the loop's time; 0 as long as it lost none."""
    status = 0
    chunks = 0
    pieces = 0
    queue_us = 0
    load_us = 0
    routed = 0.0
    first = 0.0
    last_activity = 0.0
    _parts: "list[bytes]" = []  # noqa: RUF012  # replaced in on_head, never filled here
    _recent: "list[bytes]" = []  # noqa: RUF012  # replaced in on_head
    _held = 0
    """Bytes in `_parts`."""
    _carry = b""
    _lead = b""
    """Comments that came before the first event."""
    _last = b""
    _own_head: bytes | None = None
    """`extra_head` as it was before the worker's lines joined it."""
    _length: int | None = None

    def __init__(self, dispatch: "Owner", sink: Sink, number: int, listener: str, key: str) -> None:
        self.dispatch = dispatch
        self.sink = sink
        self.number = number
        self.listener = listener
        self.key = key
        self.began = clock()

    @property
    def id(self) -> str:
        """The request id as clients see it."""
        return f"req_{self.number:016x}"

    # -- net.connection.Receiver --------------------------------------------------------------------------------

    def on_head(self, status: int, headers: Headers) -> None:
        lease = self.lease
        lease.worker.answered = lease.generation  # type: ignore[union-attr]
        if status != 200:
            status = self._unusual(status, headers)
        elif self.unasked:
            self.dispatch.accepted(self)
        self.status = status
        self.last_activity = clock()
        lines, self.streaming, length = _answer_lines(headers)
        self._length = None if self.streaming else length  # events may be taken out of a stream
        self._own_head = self.extra_head
        self.extra_head += lines
        self._parts = []
        self._recent = []
        self._held = 0

    def forget_head(self) -> None:
        """The answer that began is void: another attempt follows."""
        if self._own_head is not None:
            self.extra_head, self._own_head = self._own_head, None
        self.first, self.chunks, self.pieces, self.streaming = 0.0, 0, 0, False
        self.location, self._last, self.broken = "", b"", False
        self._recent = []
        self._carry = self._lead = b""

    def on_body(self, parts: list[bytes], last: bool) -> None:
        now = self.last_activity = clock()
        self.chunks += len(parts)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if not self.first:
            self.first = now
        if self.status != 200 or not self.streaming:
            self._gather(data)
            return
        if self.counts:
            self._count(data)
        if self.request.edit_usage:  # type: ignore[union-attr]
            data = self._hide_usage(data)
        else:
            self._recent.append(data)
            if len(self._recent) > KEPT_READS:
                self._recent = [self._tail()]
        if last:
            self._last = self._lead + data
        elif data:
            if self.sink.started:
                self.sink.write(data)
            else:
                self._begin(self._lead + data, now)

    def on_end(self) -> None:
        if not self.first:
            self.first = clock()
        if self.status != 200:
            self.dispatch.answered_error(self, b"".join(self._parts))
        elif self.streaming or self.sink.started:
            if self._carry and not self._note_usage(self._carry):  # the last event has no blank line behind it
                self._last += self._carry
            found = self._tail_usage()
            if found.counted and not self.sink.started and not self._is_packed():
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
            head = self.head()
            self.account("ok", reported or usage.estimated(len(self.request.body), body))  # type: ignore[union-attr]
            self.sink.respond(200, head, body)

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        if self.closed:
            return
        lines = head.lines
        if lines is None:
            lines, streaming, _ = _answer_lines(head.headers)
            if streaming:
                self.on_head(head.status, head.headers)
                self.on_body([body], True)
                self.on_end()
                return
            head.lines = lines
        reported = usage.of_answer(body)
        if reported is None or self.unasked or self._is_doubtful(reported):
            self.on_head(head.status, head.headers)
            self.on_body([body], True)
            self.on_end()
            return
        lease = self.lease
        lease.worker.answered = lease.generation  # type: ignore[union-attr]
        self.status = head.status
        self.first = clock()
        self.extra_head += lines
        answer_head = self.head()
        self.closed = True
        self.dispatch.settle(self, "ok", reported, None)
        self.sink.respond(head.status, answer_head, body)

    def on_lost(self, error: Exception) -> None:
        failure = error if isinstance(error, RolecastError) else WorkerDown(str(error))
        self.dispatch.lost(self, failure)

    # -- the client's side --------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """The client closed: stop the worker at once and account what was produced."""
        if self.closed:
            return
        if self.connection is not None:
            self.connection.abort()
        elif self.task is not None:
            self.task.cancel()
        hidden = self.request is not None and self.request.edit_usage and bool(self._recent)
        if self.streaming and (hidden or b"data: [DONE]" in self._tail()):
            # It had its whole answer and did not wait for the end of the message: that is no cancellation.
            self.account("ok", self._tail_usage())
        else:
            self.account("cancelled", self._counted(), Cancelled("The client went away."))

    def pause(self) -> None:
        """The client reads slowly: stop reading from the worker."""
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        if self.connection is not None:
            self.connection.resume()

    def fail(self, error: RolecastError) -> None:
        """Answer with an error: as a response if nothing was sent, as an event inside a stream, else by a cut."""
        if self.closed:
            return
        if self.connection is not None:
            self.connection.abort()
        self.status = error.status
        started, streaming = self.sink.started, self.streaming
        self.account("error", self._counted() if started else Usage(), error)
        if not started:
            self.sink.respond(error.status, self.error_head(error), error.body())
        elif streaming:
            cut = not self.request.edit_usage and not self._tail().endswith((b"\n\n", b"\r\n\r\n"))  # type: ignore[union-attr]
            self.sink.finish(b"%bdata: %b\n\ndata: [DONE]\n\n" % (b"\n\n" if cut else b"", error.body()))
        else:
            self.sink.abort()

    # -- head and accounts --------------------------------------------------------------------------------

    def head(self) -> bytes:
        """The header lines of an answer: content type, request id, explanation, phases in ms."""
        plan, began = self.plan, self.began
        waits = b""
        if self.queue_us or self.load_us:
            waits = b"queue;dur=%.1f, load;dur=%.1f, " % (self.queue_us / 1000, self.load_us / 1000)
        return b"%bx-request-id: req_%016x\r\n%bserver-timing: route;dur=%.3f, %bfirst-token;dur=%.3f\r\n" % (
            self.extra_head,
            self.number,
            plan.head if plan is not None else b"",
            (self.routed - began) * 1000,
            waits,
            (self.first - began) * 1000,
        )

    def error_head(self, error: RolecastError) -> bytes:
        """Header lines of an error answer."""
        retry = b"retry-after: %d\r\n" % max(1, round(error.retry_after)) if error.retry_after is not None else b""
        explain = self.plan.head if self.plan else b""
        extra = b"".join(
            line + b"\r\n"
            for line in self.extra_head.split(b"\r\n")
            if line and not line.startswith((b"content-", b"cache-"))  # they describe the worker's body
        )
        return b"content-type: application/json\r\nx-request-id: %b\r\n%b%b%b" % (
            self.id.encode(),
            retry,
            explain,
            extra,
        )

    def account(self, outcome: str, usage: Usage, error: RolecastError | None = None) -> None:
        """Give the slot back and write the books; the exchange is over."""
        if self.closed:
            return
        self.closed = True
        self.dispatch.settle(self, outcome, usage, error)

    # -- inside -------------------------------------------------------------------------------------------

    def _end(self, found: Usage) -> None:
        if not self.sink.started:
            self.sink.start(200, self.head(), self._length)
        if self.broken or (found.counted and _BROKEN.search(self._tail())):
            self.account("error", found, UpstreamError("The worker ended its stream with an error."))
        else:
            self.account("ok", found)
        self.sink.finish(self._last)

    def _begin(self, data: bytes, now: float) -> None:
        """Start a stream with what came first of it, unless that is an error, or says nothing yet."""
        if complaint.is_error(data):
            self._failed(data)
        elif complaint.is_prelude(data) and now - self.routed < COMMENTS_S:
            self._lead = data
        else:
            self._lead = b""
            self.sink.start(200, self.head(), None)
            self.sink.write(data)

    def _gather(self, data: bytes) -> None:
        """Hold a plain answer until it is complete; pass on what grows too large to hold."""
        if self.sink.started:
            self._recent = [self._tail(), data]
            self.sink.write(data)
            return
        if self.status != 200 and self._held > COLLECT_BYTES:  # no error needs so many words
            return
        self._parts.append(data)
        self._held += len(data)
        if self.status == 200 and self._held > COLLECT_BYTES:
            whole = b"".join(self._parts)
            self._parts = []
            self._recent = [whole[:TAIL_BYTES], whole[-TAIL_BYTES:]]
            self.sink.start(200, self.head(), self._length)
            self.sink.write(whole)

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
        return usage.of_tail(self._tail()) or self._counted()

    def _counted(self) -> Usage:
        """Our own count for an answer that ended without a report: one token per event, four bytes per
        token of the request body."""
        if not self.chunks or self.request is None:
            return Usage(counted=True)
        events = self.pieces if self.counts else max(0, self.chunks - 1) if self.streaming else 0
        return Usage(len(self.request.body) // usage.BYTES_PER_TOKEN, events, 0, counted=True)

    def _unusual(self, status: int, headers: Headers) -> int:
        """What a status other than 200 is to be taken for; where a redirect points to is kept."""
        if 300 <= status < 400:
            location = next((value for name, value in headers if name == b"location"), b"")
            self.location = complaint.place(location.decode("latin-1"))
        elif status in (201, 202, 203):  # said by servers that mean 200
            if self.unasked:
                self.dispatch.accepted(self)
            return 200
        return status

    def _is_doubtful(self, reported: Usage | None) -> bool:
        """Whether a plain answer may be none: some servers put a usage of nothing beside an error."""
        if reported is None:
            return True
        return not reported.completion_tokens and self.request.kind != "embeddings"  # type: ignore[union-attr]

    def _is_packed(self) -> bool:
        return b"content-encoding: " in self.extra_head

    def _failed(self, body: bytes) -> None:
        """The answer came with status 200 and is an error, or nothing that answers."""
        if self.connection is not None:
            self.connection.abort()
        said = complaint.read(body)
        self.status = said.status or (400 if said.type.startswith("invalid_request") else 200)
        self.dispatch.answered_error(self, body)


def _answer_lines(headers: Headers) -> tuple[bytes, bool, int | None]:
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


ExchangeIds = Callable[[], int]


def make_ids() -> ExchangeIds:
    """A source of request numbers: unique across restarts and growing with time, below 2^63."""
    return itertools.count((int(time.time() * 1000) << 20) + 1).__next__
