"""What the gateway and the process that holds the connections to servers say to each other, as JSON."""

import msgspec


class Server(msgspec.Struct, frozen=True):
    """A server as it is configured, with all that variables hold put in."""

    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    env: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    allow: tuple[str, ...] = ()
    start_s: float = 30.0
    fault: str = ""
    """Why it cannot be used as it is configured; '' = it can."""


class Setup(msgspec.Struct, frozen=True):
    """All servers, and a digest of them, by which both know that they mean the same."""

    digest: str
    servers: tuple[Server, ...]


class Wanted(msgspec.Struct, frozen=True):
    """Asks for the tools of these servers, connecting to those that are not connected."""

    digest: str
    servers: tuple[str, ...]


class Offered(msgspec.Struct, frozen=True):
    """A tool that may be called."""

    server: str
    tool: str
    """As its server calls it."""
    description: str
    parameters: msgspec.Raw
    """The JSON schema of its arguments, an object."""


class Offer(msgspec.Struct, frozen=True):
    """The tools that may be called, and why there are none of some servers."""

    tools: tuple[Offered, ...]
    missing: tuple[tuple[str, str], ...] = ()


class Call(msgspec.Struct, frozen=True):
    """Runs a tool."""

    digest: str
    server: str
    tool: str
    arguments: msgspec.Raw
    timeout_s: float
    most_chars: int


class Result(msgspec.Struct, frozen=True):
    """What came of a call, as a text for the model."""

    text: str
    failed: bool = False
    why: str = ""
    """In a word, where it failed: `timeout`, `lost`, `refused`, or `tool` where the tool itself says so."""


class ToldTool(msgspec.Struct, frozen=True):
    """A tool, for people."""

    name: str
    allowed: bool
    title: str = ""
    why: str = ""
    """Why it is not allowed, or not offered."""
    destructive: bool = False
    """It says of itself that it destroys."""


class ToldServer(msgspec.Struct, frozen=True):
    """A server and how it is, for people."""

    name: str
    kind: str
    """`program` or `address`."""
    state: str
    """`idle`, `starting`, `ready`, `failed`, or `disabled`."""
    error: str = ""
    about: str = ""
    """Name and version by which the server calls itself."""
    protocol: str = ""
    tools: tuple[ToldTool, ...] = ()


class Told(msgspec.Struct, frozen=True):
    """All servers."""

    servers: tuple[ToldServer, ...]
