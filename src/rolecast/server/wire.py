"""The fast lane: HTTP/1.1 for the hot POST paths, past ASGI.

The outermost of uvicorn's httptools protocol and its subclasses here (`pipeline`, `refusal`, `timeouts`): it reads the
input. Once the headers are in it recognises a hot path and takes it to `dispatch` directly; everything else falls
through to uvicorn and Starlette untouched. `head` judges the heads of both; parsing itself is llhttp's.
"""

import asyncio
from typing import Any

import httptools

from rolecast.dialects import Entry
from rolecast.errors import BadRequest, RolecastError
from rolecast.net.headmemo import HeadMemo, remember
from rolecast.server import head, pathname
from rolecast.server.lane import KnownRequest, Lane, by_name
from rolecast.server.refusal import BODY, HEAD, IDLE, ToldEnd
from rolecast.server.sink import WireSink
from rolecast.server.timeouts import TimedProtocol

UPLOADS = b"/api/blobs/"
"""How the paths begin that take whole files."""


class _Refused(Exception):
    """Stops the parser; the reason is kept beside."""


class WireProtocol(TimedProtocol):
    """uvicorn's protocol plus the fast lane, strict framing and time limits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Bytes after a request that closes the connection are refused by the parser in strict mode.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self.head_bytes = 0
        self.body_left = 0
        """Bytes to come of a body that the parser leaves to us, because its request wishes to upgrade."""
        self.first_data = b""
        """The segment that the head began with, as long as the head may still be remembered."""
        self.memo: HeadMemo | None = None
        self.refusal: RolecastError | None = None

    # -- transport ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.lane.limits.connections:
            self.refuse_input(
                RolecastError(
                    "Too many connections are open; try again shortly.", code="too_many_connections", status=503
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.memo = None

    def data_received(self, data: bytes) -> None:
        if self.input_closed:
            return
        if self.phase == IDLE:
            if self._take_whole(data):
                return
            self.phase, self.since, self.url = HEAD, self.loop.time(), b""
        self.head_bytes += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, _Refused) as exc:
            if self.parser is None:
                return
            text = "The request is not valid HTTP/1.1" + (f": {exc}." if not self.refusal else ".")
            self.refuse_input(self.refusal or BadRequest(text, code="bad_http"))
            return
        if self.head_bytes > self.lane.limits.head:
            self.refuse_input(head.too_large(self.lane.limits))

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self.body_left:
                body, rest = bytes(rest[: self.body_left]), rest[self.body_left :]
                self.body_left -= len(body)
                self.on_body(body)
                if not self.body_left:
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
        self.cycle = self.running = sink
        sink.exchange = self.lane.reopen(known, sink)
        sink.go()
        return True

    # -- parser callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.input_closed:  # the answer to the request before this one ends the connection
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
            self._stop(head.too_many_lines(self.lane.limits))
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers, version, limits = by_name(self.headers), self.parser.get_http_version(), self.lane.limits
        error = head.fault(version, self.url, self.headers, headers)
        if error is None and self.head_bytes > limits.head:  # bytes that came behind the head are counted in
            error = head.excess(self.url, self.headers, limits)
        if error is not None:
            self._stop(error)
        self.body_bytes = self.head_bytes = 0
        method, length = self.parser.get_method(), headers.get(b"content-length")
        if self.parser.should_upgrade():
            self._stay_plain(method, headers)
        entry = None
        if method == b"POST":
            entry = self.lane.hot.get(self.url) or self.lane.hot.get(pathname.of_target(self.url))
        if entry is not None:
            self.phase = BODY
            self._take_in(entry, version, headers, length)
            return
        self.first_data = b""
        if length is not None and int(length) > limits.body and not self._is_upload(int(length)):
            self._stop(head.body_too_large(limits))
        self._fall_through()
        self.phase = BODY

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        self.body_bytes += len(body)
        self.head_bytes = 0
        if self.body_bytes > self.lane.limits.body and not self._is_taken(self.body_bytes):
            self._stop(head.body_too_large(self.lane.limits))
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
        if self.body_left:  # the parser takes the body for the new protocol's
            return
        self.phase, self.since, self.head_bytes = IDLE, self.loop.time(), 0
        cycle = self.cycle
        if type(cycle) is not WireSink:
            super().on_message_complete()
            return
        cycle.complete = True
        if not cycle.queued:
            cycle.go()

    # -- heads --------------------------------------------------------------------------------------------

    def _stay_plain(self, method: bytes, headers: dict[bytes, bytes]) -> None:
        """Read the body of a request that wishes to upgrade: the parser leaves it, taking it for the new protocol's."""
        if b"transfer-encoding" in headers or method == b"CONNECT":
            self._stop(BadRequest("Nothing can be upgraded or connected to here.", code="bad_http"))
        self.body_left = int(headers.get(b"content-length", 0))

    def _take_in(self, entry: Entry, version: str, headers: dict[bytes, bytes], length: bytes | None) -> None:
        """A request on a hot path stands in line from here on, let in or refused."""
        http10 = version == "1.0"
        sink = WireSink(self, entry, not http10 and self.parser.should_keep_alive())
        sink.http10 = http10
        self._judge(sink, entry, headers, length)
        self._enqueue(sink)
        if sink.refusal is not None:
            self.refuse_input(sink.refusal)
            raise _Refused
        if headers.get(b"expect", b"").lower() == b"100-continue" and not http10:
            if sink.queued:
                sink.expect = True
            else:
                self._ask_for_body()

    def _judge(self, sink: WireSink, entry: Entry, headers: dict[bytes, bytes], length: bytes | None) -> None:
        """Let the request in, and remember its head if it may be recognised next time; or note its refusal."""
        data, self.first_data = self.first_data, b""
        try:
            sink.exchange = self.lane.open(headers, sink, entry)
            if length is not None and int(length) > self.lane.limits.body:
                raise head.body_too_large(self.lane.limits)
        except RolecastError as error:
            sink.refusal = error
            sink.refusal_head = self.lane.guard.origin_line(headers)
            return
        if data and sink.keep_alive and length is not None and b"expect" not in headers:
            self.memo = remember(data, length, KnownRequest(entry, sink.exchange.caller))

    def _is_upload(self, length: int) -> bool:
        """Whether a body of that length may come to this path: a page reads it piece by piece and keeps none."""
        lane = self.lane
        to_file = not lane.port_model and pathname.of_target(self.url).startswith(UPLOADS)
        return to_file and length <= lane.limits.upload

    def _is_taken(self, length: int) -> bool:
        """The same of a body that is coming: once the page has answered, nobody wants the rest."""
        cycle = self.cycle
        return type(cycle) is not WireSink and not cycle.response_complete and self._is_upload(length)

    def _fall_through(self) -> None:
        """Hand the request to uvicorn as if it had parsed it."""
        url, headers = self.url, self.headers
        names = {name for name, _ in headers}
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.expect_100_continue = (b"expect", b"100-continue") in [
            (n, v.lower()) for n, v in headers if n == b"expect"
        ]
        super().on_headers_complete()
        if b"content-length" in names or b"transfer-encoding" in names:
            self.cycle.transport = ToldEnd(self)

    def _stop(self, error: RolecastError) -> None:
        """Leave the parser with this refusal."""
        self.refusal = error
        raise _Refused


def protocol_for(lane: Lane) -> type[WireProtocol]:
    """The protocol class of one listener, for uvicorn's `http=` setting."""
    return type("LaneProtocol", (WireProtocol,), {"lane": lane})
