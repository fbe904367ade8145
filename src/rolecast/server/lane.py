"""What both lanes need to take a request in: the hot paths, the guard, the limits, and which port this is."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rolecast.backends.remote import NAME
from rolecast.config.schema import Limits
from rolecast.dialects.request import Decode
from rolecast.errors import LoopDetected
from rolecast.server.guard import Guard
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.exchange import Exchange, ExchangeIds, Sink

OWN_NAME = NAME.encode()
_TRACE = re.compile(rb"[\x21-\x7e]{1,200}\Z")
_VIA = re.compile(rb"[\x20-\x7e\t]{1,1000}\Z")
MAX_GATEWAYS = 8
"""A request that so many gateways have passed on is refused: they may pass it on for ever."""
_TRACES = (b"x-trace-id", b"x-span-id", b"x-session-id", b"traceparent")


class KnownRequest(msgspec.Struct, frozen=True):
    """A request head that was parsed and let in before, but for its Content-Length: what came of it."""

    decode: Decode
    key: str
    client_id: str
    trace_lines: bytes
    extra_head: bytes
    carries: bool
    """Whether any of the three before is there."""


class Lane:
    """One listener's view of the gateway."""

    def __init__(
        self,
        *,
        name: str,
        port_model: str,
        hot: Mapping[bytes, Decode],
        guard: Guard,
        limits: Limits,
        dispatch: Dispatch,
        new_id: ExchangeIds,
    ) -> None:
        self.name = name
        self.port_model = port_model
        self.hot = hot
        self.guard = guard
        self.limits = limits
        self.dispatch = dispatch
        self.new_id = new_id
        self.date = b""
        self.connections: set[Any] = set()
        """The open ones of the wire lane; `app.serving` puts the server's own set here."""

    def renew(self, hot: Mapping[bytes, Decode], guard: Guard, limits: Limits) -> None:
        """Judge by other settings from the next request on, also on connections that are open."""
        self.hot, self.guard, self.limits = hot, guard, limits
        for connection in self.connections:
            connection.memo = None

    def path_of(self, decode: Decode) -> str:
        """The path whose bodies are read by that; in its long form, as `/v1` may be left out."""
        paths = [path for path, read in self.hot.items() if read is decode]
        return max(paths, key=len, default=b"").decode("ascii")

    def judged(self, decode: Decode, exchange: Exchange) -> KnownRequest:
        """What the head of this exchange led to. The configuration that judged it lives as long as this lane."""
        client_id, trace_lines, extra_head = exchange.client_id, exchange.trace_lines, exchange.extra_head
        carries = bool(client_id or trace_lines or extra_head)
        return KnownRequest(decode, exchange.key, client_id, trace_lines, extra_head, carries)

    def reopen(self, known: KnownRequest, sink: Sink) -> Exchange:
        """A new exchange for a head that was let in before."""
        exchange = Exchange(self.dispatch, sink, self.new_id(), self.name, known.key)
        if self.port_model:
            exchange.port_model = self.port_model
        if known.carries:
            exchange.extra_head = known.extra_head
            exchange.client_id = known.client_id
            exchange.trace_lines = known.trace_lines
        return exchange

    def open(self, headers: Mapping[bytes, bytes], sink: Sink) -> Exchange:
        """A new exchange for these (lower-case) headers. Raises what the guard raises."""
        host = headers.get(b"host")
        self.guard.check_host(host)
        cors = self.guard.check_origin(headers.get(b"origin"), host) if b"origin" in headers else b""
        key = self.guard.check_key(headers.get(b"authorization"), headers.get(b"x-api-key"))
        via = headers.get(b"via")
        if via is not None:
            _check_way(via)
        exchange = Exchange(self.dispatch, sink, self.new_id(), self.name, key)
        exchange.port_model = self.port_model
        if cors:
            exchange.extra_head = cors
        if via is not None and _VIA.match(via):
            exchange.trace_lines = b"via: %b\r\n" % via
        for name in _TRACES:
            value = headers.get(name)
            if value is not None and _TRACE.match(value):
                line = b"%b: %b\r\n" % (name, value)
                exchange.trace_lines += line
                if name != b"traceparent":
                    exchange.extra_head += line
                exchange.client_id = exchange.client_id or value.decode("ascii")
        client_id = headers.get(b"x-request-id")
        if client_id is not None and _TRACE.match(client_id):
            exchange.client_id = client_id.decode("ascii")
        return exchange


def by_name(lines: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Header lines by (lower-case) name; of several the last, but the way that a request took is kept whole."""
    headers = dict(lines)
    if len(headers) != len(lines) and b"via" in headers:
        headers[b"via"] = b", ".join(value for name, value in lines if name == b"via")
    return headers


def _check_way(via: bytes) -> None:
    """Raises LoopDetected for a request that this gateway sent, or that too many of its kind have passed on."""
    if OWN_NAME in via:
        raise LoopDetected(
            "This request was sent by this very gateway: a model with `backend: openai` has a `url` that leads back "
            "here. Give that model the address of another server."
        )
    if via.count(b"rolecast-") >= MAX_GATEWAYS:
        raise LoopDetected(f"This request has passed {MAX_GATEWAYS} gateways, which probably call each other.")
