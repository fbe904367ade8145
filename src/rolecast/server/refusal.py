"""Input that cannot be used: the answer in its turn, nothing read after it, and an end that lets the answer arrive.

Knows how far the input has come and which request it belongs to. What is wrong with it, others find out.
"""

from contextlib import suppress
from typing import Any

from rolecast.errors import BadRequest, RolecastError
from rolecast.server import pathname
from rolecast.server.pipeline import PipelineProtocol
from rolecast.server.sink import WireSink

LINGER_S = 1.0
"""After refusing a request its remaining bytes are read and dropped this long, so that the answer arrives."""

IDLE, HEAD, BODY = range(3)


class ToldEnd:
    """The transport of a page whose request has a body: a page may answer before it has read that.

    Closed at once, the system would end the connection with a reset, and many a client lose the answer over it.
    """

    def __init__(self, protocol: "RefusingProtocol") -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        """Some of the answer."""
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        """Whether no more is sent."""
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        """The answer is complete, and the connection ends with it."""
        protocol = self._protocol
        if protocol.running is not None and protocol.running.more_body:
            protocol.close_gently()
        else:
            protocol.transport.close()


class RefusingProtocol(PipelineProtocol):
    """A pipeline whose input can be closed before the client closes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.phase = IDLE
        """What is being read."""
        self.url = b""
        """The target of the head that is being read or was read last; empty until something of it is there."""
        self.headers = []
        self.input_closed = False
        """Nothing more is taken in: the answer that was made last, or is being made, ends the connection."""

    @property
    def target(self) -> tuple[str, str]:
        """Method and path of the head that was read last, as far as there was one."""
        method = self.parser.get_method() if self.url and self.parser is not None else b""
        return method.decode("latin-1"), self.url.partition(b"?")[0].decode("latin-1")

    def refuse_input(self, error: RolecastError) -> None:
        """What comes in cannot be used: answer in turn, read nothing more, close."""
        if self.input_closed:
            return
        self.input_closed = True
        cycle = self.cycle
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
                self._replace(cycle, self._refusal(error))
        elif self.phase == BODY and cycle is not None and cycle.response_complete:
            self.close_gently()  # that request was answered before its body came; there is no second answer
        else:
            sink = self._refusal(error)
            self._enqueue(sink)
            if not sink.queued:
                sink.go()

    def _refusal(self, error: RolecastError) -> WireSink:
        """An answer to a request that is not let in as far as an exchange."""
        sink = WireSink(self, None, False)
        sink.refusal, sink.complete = error, True
        if self.url:
            entry = self.lane.hot.get(pathname.of_target(self.url))
            sink.dialect = entry.dialect if entry is not None else None
            sink.refusal_head = self.lane.guard.origin_line(dict(self.headers))
        return sink

    def _replace(self, cycle: Any, sink: WireSink) -> None:
        """Answer the ASGI request whose body is being read with `sink`: now, or when it is its turn."""
        waits = self.running is not cycle
        self.cycle = sink
        if waits:
            sink.queued = True
            self.pipeline[0] = (sink, None)
        else:
            self.running = sink
            sink.go()

    def send_400_response(self, msg: str) -> None:
        self.refuse_input(BadRequest(msg, code="bad_http"))

    def close_gently(self) -> None:
        """Close so that the answer arrives even when unread input is on its way."""
        self.input_closed, self.since = True, self.loop.time()
        self.pipeline.clear()
        if self.transport.is_closing():
            return
        self.cork.release()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            with suppress(OSError):  # the client has reset it, and nobody has told us yet
                self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
