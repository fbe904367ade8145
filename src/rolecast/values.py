"""The values that cross module borders. Frozen; no I/O, no behaviour beyond small derivations."""

from typing import Literal

import msgspec

Kind = Literal["chat", "completion", "embeddings"]
"""What a request wants from a model; equals the capability the model must have."""

Source = Literal["explicit", "alias", "role", "default", "listener", "rule", "learned", "llm", "fallback"]
Outcome = Literal["ok", "error", "cancelled"]


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request. `counted` is true when the engine did not report and we counted events."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    counted: bool = False


class Choice(msgspec.Struct, frozen=True):
    """The router's answer. `alternatives` are tried in order when the model fails before its first byte."""

    model: str
    role: str = ""
    task: str = ""
    source: Source = "explicit"
    reason: str = ""
    confidence: float = 1.0
    alternatives: tuple[str, ...] = ()
    equals: tuple[tuple[str, ...], ...] = ()
    """Groups among these models that share the requests."""


class Facts(msgspec.Struct, frozen=True):
    """What routing may look at: the asked name ('' or 'auto' = you decide) and what the request needs.

    `needs` are words of `capabilities` that the request cannot do without; `prefers` are those it can.
    """

    name: str
    kind: Kind
    needs: frozenset[str] = frozenset()
    prefers: frozenset[str] = frozenset()


def authority(host: str, port: int | None = None) -> str:
    """`host:port` as URLs and the Host header have it: an IPv6 address stands in brackets, its zone left out."""
    if ":" in host:
        host = f"[{host.strip('[]').partition('%')[0]}]"
    return host if port is None else f"{host}:{port}"


class Endpoint(msgspec.Struct, frozen=True):
    """Where a worker listens and how to talk to it.

    `uds` wins over host and port. `base` is the path in front of `/chat/completions` (usually `/v1`).
    `headers` are raw lines, each ending in CRLF, added to each request (credentials of a remote).
    `via` is the raw line that names us to a remote, so that it or another gateway can tell a loop.
    `max_requests` and `idle_s` retire a pooled connection before the worker would close it itself.
    """

    uds: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False
    base: str = "/v1"
    health_path: str = "/health"
    headers: bytes = b""
    via: bytes = b""
    max_requests: int = 1_000_000_000
    idle_s: float = 30.0

    @property
    def address(self) -> str:
        """For people and logs: `unix:/path` or `http://host:port`."""
        if self.uds:
            return f"unix:{self.uds}"
        return f"{'https' if self.tls else 'http'}://{authority(self.host, self.port)}"

    @property
    def authority(self) -> str:
        """For a Host header: without the port that its scheme implies."""
        if self.uds:
            return "localhost"
        implied = 443 if self.tls else 80
        return authority(self.host, None if self.port == implied else self.port)


class Launch(msgspec.Struct, frozen=True):
    """How to start a worker: argv (never a shell), extra environment, and where it will listen."""

    argv: tuple[str, ...]
    endpoint: Endpoint
    env: tuple[tuple[str, str], ...] = ()
    own_watch: bool = False
    """True when the child itself ends with its parent; otherwise it runs under the watchdog."""
    kept_output: str = ""
    """A regular expression: once the worker takes requests, only what matches at the start of a line of its output
    is kept, since engines quote requests. Empty = all is kept."""


class Receipt(msgspec.Struct, frozen=True):
    """One ledger row as it is read: what a request asked, what answered, how long each phase took. Times in ms."""

    id: str
    at: float
    listener: str
    kind: str
    asked: str
    model: str
    worker: str
    role: str
    route: str
    key: str
    stream: bool
    status: int
    outcome: str
    error: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    counted: bool
    attempts: int
    queue_ms: float
    load_ms: float
    first_ms: float
    total_ms: float
    client_id: str
