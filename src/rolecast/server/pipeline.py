"""The order of answers on one connection, and their pace.

Requests of both kinds stand in one line: uvicorn's cycles, which run as tasks of the ASGI app, and `WireSink`s. The
next is started when the one before it is answered and the client takes what it is sent. Reads no input.
"""

import asyncio
from collections import deque
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rolecast.server.lane import Lane
from rolecast.server.sink import WireSink

WRITE_HIGH = 256 * 1024
"""With so many bytes that the client has not taken yet, the worker's connection is paused."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class PipelineProtocol(HttpToolsProtocol):
    """uvicorn's protocol, where `WireSink`s stand in line with its own cycles."""

    lane: Lane
    cycle: Any
    """The cycle whose request is being read; None before the first."""
    pipeline: deque[Any]
    """Cycles that wait for their turn, each with its ASGI app; the next one is the last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cork = self.lane.dispatch.cork
        self.running: Any = None
        """The cycle whose answer is being made."""
        self.since = self.loop.time()
        """When the input last came a step further, in the loop's time."""
        self.stalled_since = 0.0
        """Since when the client takes nothing more; 0 while it does."""
        self.starting = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH)

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
        self.parser = self.cycle = self.running = None  # type: ignore[assignment]

    def shutdown(self) -> None:
        self.cork.release()
        super().shutdown()

    # -- order --------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        if self.pipeline or self.flow.read_paused:
            self._start_waiting()

    def _start_waiting(self) -> None:
        """Start what was pipelined, one after the other, as long as the client takes the answers."""
        if self.starting:  # this answer came at once: the loop below goes on
            return
        self.starting = True
        while self.pipeline and not self.flow.write_paused and not self.transport.is_closing():
            if self.running is not None and not self.running.response_complete:
                break
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        self.starting = False
        if self.flow.read_paused and not self.pipeline and not self.transport.is_closing():
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        if type(cycle) is not WireSink:
            super()._start_asgi_task(cycle, app)
            return
        cycle.queued = False
        if cycle.expect and not cycle.complete:
            self._ask_for_body()
        if cycle.complete or cycle.refusal is not None:
            cycle.go()

    def _enqueue(self, sink: WireSink) -> None:
        """The turn of this request comes now, or when those before it are answered."""
        existing = self.cycle
        self.cycle = sink
        if self.flow.write_paused or (existing is not None and not existing.response_complete):
            sink.queued = True
            self.flow.pause_reading()
            self.pipeline.appendleft((sink, None))
        else:
            self.running = sink

    def _ask_for_body(self) -> None:
        self.cork.write(self.transport, CONTINUE)

    # -- pace ---------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = self.loop.time()
        sink = self._running_sink()
        if sink is not None and sink.exchange is not None:
            sink.exchange.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stalled_since = 0.0
        sink = self._running_sink()
        if sink is None:
            self._start_waiting()
        elif sink.exchange is not None:
            sink.exchange.resume()

    def _running_sink(self) -> WireSink | None:
        running = self.running
        return running if type(running) is WireSink and not running.response_complete else None
