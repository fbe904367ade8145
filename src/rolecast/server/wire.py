"""The fast lane: HTTP/1.1 for the hot POST paths, past ASGI.

A subclass of uvicorn's httptools protocol. It recognises a hot path once the headers are in and takes it to
`dispatch` directly; everything else falls through to uvicorn and Starlette untouched. Framing that could
mean two things to two parsers is refused here for both kinds of request (`_check_framing`), as are heads and
bodies beyond the limits and clients that are too slow. Parsing itself is llhttp's, in its strict mode.
"""

import asyncio
from email.utils import formatdate
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rolecast.config.schema import Limits
from rolecast.dialects import Entry
from rolecast.errors import (
    BadRequest,
    HeadersTooLarge,
    RequestTimeout,
    RolecastError,
    TooLarge,
)
from rolecast.net.headmemo import HeadMemo, remember
from rolecast.server import pathname
from rolecast.server.framing import WireSink
from rolecast.server.lane import KnownRequest, Lane, by_name

LINGER_S = 1.0
"""After refusing a request its remaining bytes are read and dropped this long, so that the answer arrives."""
MIN_BODY_RATE = 16 * 1024
"""Bytes per second that a body must come in with, beyond `body_timeout`."""
WRITE_HIGH = 256 * 1024
_SINGLE = (b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

IDLE, HEAD, BODY = range(3)


class _Refused(Exception):
    """Stops the parser; the reason is kept beside."""


class WireProtocol(HttpToolsProtocol):
    """uvicorn's protocol plus the fast lane, strict framing and time limits."""

    lane: Lane

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cork = self.lane.dispatch.cork
        # Bytes after a request that closes the connection are refused by the parser in strict mode.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self.phase = IDLE
        self.since = self.loop.time()
        self.head_bytes = 0
        self.body_bytes = 0
        self.owed = 0
        """Bytes to come of a body that the parser leaves to us, because its request wishes to upgrade."""
        self.deaf = False
        self.headers = []
        self.first_data = b""
        self.memo: HeadMemo | None = None
        self.refusal: RolecastError | None = None
        self.stalled_since = 0.0
        self.going_on = False
        self.running: Any = None
        """The cycle whose answer is being made; `cycle` is the one whose request is being read."""

    # -- transport ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        if len(self.connections) > self.lane.limits.connections:
            self.deaf = True
            error = RolecastError(
                "Too many connections are open; try again shortly.", code="too_many_connections", status=503
            )
            self._enqueue_refusal(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        running = self.running
        if running is not None and not running.response_complete:
            running.disconnected = True
            if type(running) is not WireSink:
                running.message_event.set()
            elif running.exchange is not None:
                running.exchange.client_gone()
                running.exchange = None
        for queued, _ in self.pipeline:
            queued.disconnected = True
        self.pipeline.clear()
        self.flow.resume_writing()
        # No cycles: a closed connection is freed at once, however long it lived.
        self.parser = self.cycle = self.running = self.memo = None  # type: ignore[assignment]

    def shutdown(self) -> None:
        self.cork.release()
        super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = self.loop.time()
        cycle = self._current()
        if cycle is not None and cycle.exchange is not None:
            cycle.exchange.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stalled_since = 0.0
        cycle = self._current()
        if cycle is None:
            self._go_on()
        elif cycle.exchange is not None:
            cycle.exchange.resume()

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        if self.phase == IDLE:
            if self._take_whole(data):
                return
            self.phase, self.since = HEAD, self.loop.time()
        self.head_bytes += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, _Refused) as exc:
            if self.parser is None:
                return
            text = "The request is not valid HTTP/1.1" + (f": {exc}." if not self.refusal else ".")
            self._refuse_input(self.refusal or BadRequest(text, code="bad_http"))
            return
        if self.head_bytes > self.lane.limits.head:
            self._refuse_input(self._head_too_large())

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self.owed:
                body, rest = bytes(rest[: self.owed]), rest[self.owed :]
                self.owed -= len(body)
                self.on_body(body)
                if not self.owed:
                    self.on_message_complete()
                continue
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as exc:
                # No protocol is offered to upgrade to: that request is plain HTTP, and so is what follows it.
                rest = rest[exc.args[0] :]

    def _take_whole(self, data: bytes) -> bool:
        """Serve a request that came whole under the head this connection used last; False otherwise.

        What the parser and the guard make of a head depends on its bytes alone, so their verdict is reused.
        The parser is not involved and stays at the start of a message.
        """
        memo, running = self.memo, self.running
        body = memo.body(data) if memo is not None else None
        if body is None or len(body) > self.lane.limits.body or not running.response_complete or self.flow.write_paused:
            self.first_data = data
            return False
        known: KnownRequest = memo.value  # type: ignore[union-attr,assignment]
        sink = WireSink(self, known.entry, True)
        sink.complete = True
        sink.body = body
        self.cycle = self.running = sink  # type: ignore[assignment]
        sink.exchange = self.lane.reopen(known, sink)
        sink.go()
        return True

    # -- parser callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.deaf:  # the answer to the request before this one ends the connection
            raise _Refused
        self.url = b""
        self.headers = []
        self.phase = HEAD

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase == BODY:  # a trailer: nobody may see other headers than those that were judged
            return
        if len(self.headers) >= self.lane.limits.headers:
            self._stop(HeadersTooLarge(f"The request has more than {self.lane.limits.headers} header lines."))
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers = by_name(self.headers)
        self._check_framing(headers)
        self.body_bytes = self.head_bytes = 0
        length = headers.get(b"content-length")
        if self.parser.should_upgrade():
            if b"transfer-encoding" in headers or self.parser.get_method() == b"CONNECT":
                self._stop(BadRequest("Nothing can be upgraded or connected to here.", code="bad_http"))
            self.owed = int(length or 0)
        entry = None
        if self.parser.get_method() == b"POST":
            entry = self.lane.hot.get(self.url) or self.lane.hot.get(pathname.of_target(self.url))
        if entry is None:
            self.first_data = b""
            if length is not None and int(length) > self.lane.limits.body:
                self._stop(self._too_large())
            self._fall_through()
            self.phase = BODY
            return
        self.phase = BODY
        http10 = self.parser.get_http_version() == "1.0"
        sink = WireSink(self, entry, not http10 and self.parser.should_keep_alive())
        sink.http10 = http10
        self._judge(sink, entry, headers, length)
        self._enqueue(sink)
        if sink.refusal is not None:
            self._refuse_input(sink.refusal)
            raise _Refused
        if headers.get(b"expect", b"").lower() == b"100-continue" and not http10:
            if sink.queued:
                sink.expect = True
            else:
                self.cork.write(self.transport, CONTINUE)

    def _judge(self, sink: WireSink, entry: Entry, headers: dict[bytes, bytes], length: bytes | None) -> None:
        """Let the request in, and remember its head if it may be recognised next time; or note its refusal."""
        data, self.first_data = self.first_data, b""
        try:
            sink.exchange = self.lane.open(headers, sink, entry)
            if length is not None and int(length) > self.lane.limits.body:
                raise self._too_large()
        except RolecastError as error:
            sink.refusal = error
            sink.refusal_head = self.lane.guard.origin_line(headers)
            return
        if data and sink.keep_alive and length is not None and b"expect" not in headers:
            self.memo = remember(data, length, KnownRequest(entry, sink.exchange.caller))

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        self.body_bytes += len(body)
        self.head_bytes = 0
        if self.body_bytes > self.lane.limits.body:
            self._stop(self._too_large())
        if type(cycle) is not WireSink:
            super().on_body(body)
            return
        if not cycle.body:
            cycle.body = body
        else:
            if type(cycle.body) is bytes:
                cycle.body = bytearray(cycle.body)
            cycle.body += body

    def on_message_complete(self) -> None:
        if self.owed:  # the parser takes the body for the new protocol's
            return
        self.phase, self.since, self.head_bytes = IDLE, self.loop.time(), 0
        cycle: Any = self.cycle
        if type(cycle) is not WireSink:
            super().on_message_complete()
            return
        cycle.complete = True
        if not cycle.queued:
            cycle.go()

    # -- order of answers ---------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        if self.pipeline or self.flow.read_paused:
            self._go_on()

    def _go_on(self) -> None:
        """Start what was pipelined, one after the other, as long as the client takes the answers."""
        if self.going_on:  # this answer came at once: the loop below goes on
            return
        self.going_on = True
        while self.pipeline and not self.flow.write_paused and not self.transport.is_closing():
            if self.running is not None and not self.running.response_complete:
                break
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        self.going_on = False
        if self.flow.read_paused and not self.pipeline and not self.transport.is_closing():
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        if type(cycle) is not WireSink:
            super()._start_asgi_task(cycle, app)
            return
        cycle.queued = False
        if cycle.expect and not cycle.complete:
            self.cork.write(self.transport, CONTINUE)
        if cycle.complete or cycle.refusal is not None:
            cycle.go()

    def _enqueue(self, sink: WireSink) -> None:
        existing = self.cycle
        self.cycle = sink  # type: ignore[assignment]
        if self.flow.write_paused or (existing is not None and not existing.response_complete):
            sink.queued = True
            self.flow.pause_reading()
            self.pipeline.appendleft((sink, None))  # type: ignore[arg-type]
        else:
            self.running = sink

    def _fall_through(self) -> None:
        """Hand the request to uvicorn as if it had parsed it."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.expect_100_continue = (b"expect", b"100-continue") in [
            (n, v.lower()) for n, v in headers if n == b"expect"
        ]
        super().on_headers_complete()

    # -- refusing -----------------------------------------------------------------------------------------

    @property
    def target(self) -> tuple[str, str]:
        """Method and path of the head that was read last, as far as there was one."""
        url = getattr(self, "url", b"")
        method = self.parser.get_method() if url and self.parser is not None else b""
        return method.decode("latin-1"), url.partition(b"?")[0].decode("latin-1")

    def _check_framing(self, headers: dict[bytes, bytes]) -> None:
        """Refuse whatever two parsers could read in two ways."""
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._stop(BadRequest("Only HTTP/1.1 and HTTP/1.0 are understood.", code="bad_http"))
        if not self.url.startswith(b"/"):
            self._stop(BadRequest("The request target must be a path.", code="bad_target"))
        if b"host" not in headers and version != "1.0":
            self._stop(BadRequest("The Host header is missing.", code="bad_host"))
        if len(headers) != len(self.headers):
            self._check_single()
        encoding = headers.get(b"transfer-encoding")
        if encoding is not None and (
            encoding.lower() != b"chunked" or b"content-length" in headers or version == "1.0"
        ):
            text = "Only `Transfer-Encoding: chunked`, in HTTP/1.1 and without Content-Length, is understood."
            self._stop(BadRequest(text, code="bad_http"))
        coding = headers.get(b"content-encoding")
        if coding is not None and coding.lower() != b"identity":
            self._stop(BadRequest("Compressed request bodies are not accepted.", code="bad_encoding", status=415))
        if self.head_bytes > self.lane.limits.head:
            size = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
            if size > self.lane.limits.head:
                self._stop(self._head_too_large())

    def _check_single(self) -> None:
        names = [name for name, _ in self.headers]
        for name in _SINGLE:
            if names.count(name) > 1:
                self._stop(BadRequest(f"The header {name.decode()} is given more than once.", code="bad_http"))

    def _stop(self, error: RolecastError) -> None:
        """Leave the parser with this refusal."""
        self.refusal = error
        raise _Refused

    def _refuse_input(self, error: RolecastError) -> None:
        """What comes in cannot be used: answer in turn, hear nothing more, close."""
        if self.deaf:
            return
        self.deaf = True
        cycle: Any = self.cycle
        if type(cycle) is WireSink and not cycle.complete and not cycle.response_complete:
            cycle.refusal, cycle.keep_alive, cycle.complete = error, False, True
            if not cycle.queued:
                cycle.go()
        elif cycle is not None and type(cycle) is not WireSink and cycle.more_body and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
            else:
                self._replace_by_refusal(error)
        elif self.phase == BODY and cycle is not None and cycle.response_complete:
            self.close_gently()  # that request was answered before its body came; there is no second answer
        else:
            self._enqueue_refusal(error)

    def _enqueue_refusal(self, error: RolecastError) -> None:
        sink = self._refusal(error)
        self._enqueue(sink)
        if not sink.queued:
            sink.go()

    def _refusal(self, error: RolecastError) -> WireSink:
        sink = WireSink(self, None, False)
        sink.refusal, sink.complete = error, True
        sink.refusal_head = self.lane.guard.origin_line(dict(self.headers))
        return sink

    def _replace_by_refusal(self, error: RolecastError) -> None:
        """Refuse the ASGI request whose body is being read: now, or when it is its turn."""
        sink = self._refusal(error)
        waits = self.running is not self.cycle
        self.cycle = sink  # type: ignore[assignment]
        if waits:
            sink.queued = True
            self.pipeline[0] = (sink, None)  # type: ignore[assignment]
        else:
            self.running = sink
            sink.go()

    def send_400_response(self, msg: str) -> None:
        self._refuse_input(BadRequest(msg, code="bad_http"))

    def close_gently(self) -> None:
        """Close so that the answer arrives even when unread input is on its way."""
        self.deaf, self.since = True, self.loop.time()
        self.pipeline.clear()
        if self.transport.is_closing():
            return
        self.cork.release()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _head_too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"The request head is larger than {self.lane.limits.head} bytes (server.limits.head).")

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The request body is larger than {self.lane.limits.body} bytes (server.limits.body).")

    def _current(self) -> WireSink | None:
        running = self.running
        return running if type(running) is WireSink and not running.response_complete else None

    # -- time ---------------------------------------------------------------------------------------------

    def timeout_keep_alive_handler(self) -> None:
        """uvicorn's own timer is not used; `sweep` watches all connections."""

    def sweep(self, now: float) -> None:
        """Close what is idle, slow or stalled for too long; called about once a second."""
        limits = self.lane.limits
        if self.stalled_since and now - self.stalled_since > limits.stall_timeout:
            self.transport.abort()
        elif self.transport.is_closing():
            if now - self.since > limits.stall_timeout:  # the client does not even take the rest of its answer
                self.transport.abort()
        elif self.flow.read_paused:  # it is us who do not read
            self.since = now
        elif not self.deaf:
            self._sweep_input(now, limits)

    def _sweep_input(self, now: float, limits: Limits) -> None:
        if self.phase == BODY:
            if now - self.since > limits.body_timeout + self.body_bytes / MIN_BODY_RATE:
                self._refuse_input(RequestTimeout("The request body did not arrive in time."))
        elif self.phase == HEAD:
            if now - self.since > limits.head_timeout:
                self._refuse_input(RequestTimeout("The request head did not arrive in time."))
        elif (self.cycle is None or self.cycle.response_complete) and now - self.since > limits.keep_alive:
            self.transport.close()


def protocol_for(lane: Lane) -> type[WireProtocol]:
    """The protocol class of one listener, for uvicorn's `http=` setting."""
    return type("LaneProtocol", (WireProtocol,), {"lane": lane})


async def sweep_connections(lane: Lane, connections: set[Any]) -> None:
    """Once a second: refresh the Date header and look after every connection of the listener."""
    loop = asyncio.get_running_loop()
    while True:
        lane.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        now = loop.time()
        for protocol in list(connections):
            protocol.sweep(now)
        await asyncio.sleep(1.0)
