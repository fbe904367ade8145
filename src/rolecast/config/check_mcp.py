"""What makes the section `mcp` wrong: servers of tools that cannot be reached, or not safely. Pure."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from rolecast.config import names, secrets, words
from rolecast.config.loopback import is_loopback
from rolecast.config.mcp import ToolServer
from rolecast.config.schema import Config
from rolecast.config.shape import Problem, meant

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_)){0,31}\Z")
"""Tools are called `server__tool`, so that no name has two `_` in a row."""
WORDS = ("on", "off")
"""What the header `x-rolecast-tools` may say besides names."""
VARIABLE = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
SCHEMED = re.compile(r"(?:[A-Za-z][\w-]* )?(env:.*)\Z", re.DOTALL)
"""A header's value that a variable holds, perhaps behind the word for its kind, such as `Bearer`."""
_PROTOCOLS = (
    "host content-length content-type transfer-encoding connection accept accept-encoding mcp-session-id "
    "mcp-protocol-version last-event-id"
)
OURS = frozenset(_PROTOCOLS.split())
"""Headers that are the protocol's."""


def problems(config: Config) -> Iterator[Problem]:
    """Every problem of the servers, in their order."""
    for name in ("calls_timeout", "result_size"):
        if config.mcp.servers and getattr(config.mcp, name) <= 0:
            yield ("mcp", name), "must be more than zero"
    table = names.table(config) if any(server.offer_to for server in config.mcp.servers.values()) else {}
    for name, server in config.mcp.servers.items():
        trail = ("mcp", "servers", name)
        if not NAME.match(name) or name in WORDS:
            text = "a server is called by up to 32 letters, digits, - and single _, and not on or off; rename it"
            yield trail, text
        yield from (((*trail, *place), text) for place, text in _place(config, server))
        yield from (((*trail, *place), text) for place, text in _values(server))
        for i, wanted in enumerate(server.offer_to):
            if not (names.find(table, wanted) or words.find(config, table, wanted)):
                near = meant(wanted, [*table])
                there = f"did you mean '{near}'?" if near else f"known here: {', '.join([*table][:30])}"
                yield (*trail, "offer_to", i), f"there is no model, role or variant '{wanted}'; {there}"


def _place(config: Config, server: ToolServer) -> Iterator[Problem]:
    """Where it is."""
    if bool(server.command) == bool(server.url):
        there = "both are set; keep one" if server.url else "neither is set"
        yield (), f"a server has a `command` or a `url`: {there}"
    for i, word in enumerate(server.command):
        if "\0" in word or (not i and not word.strip()):
            yield ("command", i), "this is no program or argument; write `command: [PROGRAM, ARGUMENT]`"
    if server.command and server.headers:
        yield ("headers",), "only an address has headers; a program gets `env`"
    if server.url and server.env:
        yield ("env",), "only a program has variables; an address gets `headers`"
    if server.url and (text := _url(config, server)):
        yield ("url",), text


def _url(config: Config, server: ToolServer) -> str:
    """Why that address is none to use, or ''. It may hold a secret, so it is not repeated."""
    try:
        url = urlsplit(server.url)
        host, port = url.hostname or "", url.port
    except ValueError:
        return "this is no address; write one such as https://tools.example.com/mcp"
    if url.scheme not in ("http", "https") or not host or not server.url.isascii() or not server.url.isprintable():
        return "this is no address; write one such as https://tools.example.com/mcp"
    if " " in server.url:
        return "an address has no spaces; check what was copied"
    if url.username is not None or url.password is not None:
        return "an address holds no name and password here; put them into `headers`, as Authorization: env:NAME"
    if url.scheme == "http" and not is_loopback(host) and not server.insecure:
        return "what is said to another machine by http:// can be read on the way; use https://, or set insecure: true"
    if is_loopback(host) and port == config.server.port != 0:
        return "this is the gateway itself; name a server of tools"
    return ""


def _values(server: ToolServer) -> Iterator[Problem]:
    """Variables, headers, patterns and times."""
    for name, text in server.env.items():
        if problem := _variable(name, text):
            yield ("env", name), problem
    for name, text in server.headers.items():
        if problem := _header(name, text):
            yield ("headers", name), problem
    for i, pattern in enumerate(server.allow):
        if not pattern.strip():
            yield ("allow", i), "is empty; name a tool, or a pattern such as get_*"
    for name in ("timeout", "start_timeout"):
        if getattr(server, name) <= 0:
            yield (name,), "must be more than zero; say for example 30s"


def _variable(name: str, text: str) -> str:
    if not VARIABLE.match(name):
        return "this is no name of a variable; use letters, digits and _"
    if "\0" in text:
        return "holds a null character, which no variable can; take it out"
    return secrets.fault(text, sent=False) if text.startswith(secrets.PREFIX) else ""


def _header(name: str, text: str) -> str:
    if not HEADER.match(name):
        return "this is no name of a header"
    if name.lower() in OURS:
        return "this header is the protocol's; take it out"
    if m := SCHEMED.match(text):
        return secrets.fault(m[1], sent=True)
    plain = text.isascii() and text.isprintable() and text == text.strip()
    return "" if plain else "a header is one line of ASCII; check what was copied"
