"""The section `mcp` of `rolecast.yaml`: Rolecast as a server of the Model Context Protocol, and as its client."""

from typing import Literal

from rolecast.config.units import Bytes, Count, Seconds, Section


class ToolServer(Section, frozen=True):
    """A server of MCP whose tools models may call: a program that is started here, or an address."""

    command: list[str] = []
    """Program and arguments. No shell reads them."""
    url: str = ""
    """`https://...`, or `http://` on this machine: an address that speaks streamable HTTP."""
    env: dict[str, str] = {}
    """Variables of the program, each as it stands or `env:NAME` of ours. It sees little else of ours, and no key."""
    headers: dict[str, str] = {}
    """Header lines for the address; a value may be `env:NAME`, or `Bearer env:NAME`."""
    allow: list[str] = []
    """The tools that may be called, by name or by patterns such as `get_*`; empty = none. A tool that says of itself
    that it destroys must be named in full."""
    offer_to: list[str] = []
    """Models, roles and variants whose chats have these tools without asking; others ask by `x-rolecast-tools`."""
    timeout: Seconds = Seconds(30)
    """A call may take this long."""
    start_timeout: Seconds = Seconds(30)
    """Starting or connecting, and listing the tools, may take this long."""
    start: Literal["lazy", "now"] = "lazy"
    """Connect with the first chat that wants it, or with the gateway."""
    insecure: bool = False
    """Whether the address may be plain `http://` on another machine."""
    enabled: bool = True
    """Whether it is used."""


class Mcp(Section, frozen=True):
    """`/mcp` on the front door, and the servers whose tools models may call."""

    enabled: bool = True
    """Whether `/mcp` is served. Unused it costs nothing: the process that speaks MCP starts with the first request."""
    idle_timeout: Seconds = Seconds(1800)
    """That process ends after this long without a request and an open stream; clients then begin a new session.
    0 = it stays."""
    start_timeout: Seconds = Seconds(60)
    """It may take this long to start."""
    servers: dict[str, ToolServer] = {}
    """Servers of MCP whose tools models may call, by names of letters, digits, `_` and `-`."""
    rounds: Count = 8
    """So often a model may call tools before it must answer."""
    calls_timeout: Seconds = Seconds(300)
    """All calls of one request together may take this long."""
    result_size: Bytes = Bytes(65536)
    """Longer results of tools are cut before a model reads them."""


def offered_to(mcp: Mcp, *names: str) -> tuple[str, ...]:
    """The servers whose tools a chat for whoever has one of these names is offered without asking."""
    return tuple(name for name, each in mcp.servers.items() if each.enabled and not {*names}.isdisjoint(each.offer_to))
