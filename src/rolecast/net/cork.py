"""Writes of one turn of the event loop, sent together.

Under load a turn serves dozens of connections. Sending after each of them wakes a sleeping peer each time,
and that costs more than the send itself; sent back to back at the end of the turn, most of the sends find
the peer awake (docs/design.md, Decisions). With little to do nothing is held back: latency counts then.
"""

import asyncio

EAGER = 3
"""With so many requests running, or fewer, every write goes out at once."""


class Cork:
    """Holds back writes until the end of the turn. Order is kept across all transports."""

    __slots__ = ("_call_soon", "_held", "running")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_soon = loop.call_soon
        self._held: list[tuple[asyncio.WriteTransport, bytes]] = []
        self.running = 0
        """Requests in flight; kept by dispatch."""

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Send `data` now, or with the others at the end of the turn."""
        held = self._held
        if held:
            held.append((transport, data))
        elif self.running > EAGER:
            held.append((transport, data))
            self._call_soon(self.release)
        else:
            transport.write(data)

    def write_first(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Send what somebody waits for, the start of a stream: there is one for hundreds of other writes."""
        if any(held is transport for held, _ in self._held):
            self._held.append((transport, data))
        else:
            transport.write(data)

    def release(self) -> None:
        """Send everything held back. Call it before a transport is closed."""
        held, self._held = self._held, []
        for transport, data in held:
            try:
                transport.write(data)
            except RuntimeError:  # closed meanwhile; its protocol is told, and the others must not wait
                pass
