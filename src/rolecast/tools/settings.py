"""The servers of the configuration as the process beside the gateway gets them, with what variables hold. Pure but for
the variables."""

import os
from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from rolecast.config import secrets
from rolecast.config.check_mcp import SCHEMED
from rolecast.config.mcp import Mcp, ToolServer
from rolecast.errors import BadRequest, ConfigError
from rolecast.tools.wire import Server, Setup

HEADER = "x-rolecast-tools"


def setup_of(mcp: Mcp, env: Mapping[str, str] | None = None) -> Setup:
    """All servers that are enabled, and their digest."""
    ours = os.environ if env is None else env
    servers = tuple(_server(name, each, ours) for name, each in mcp.servers.items() if each.enabled)
    digest = blake2b(msgspec.json.encode(servers), digest_size=16, key=_KEY).hexdigest()
    return Setup(digest, servers)


_KEY = os.urandom(32)


def named(mcp: Mcp, said: str) -> tuple[str, ...] | None:
    """The servers that a request asks for: `on`, `off`, or names; None = it says nothing. Raises BadRequest."""
    words = [word.strip() for word in said.split(",") if word.strip()]
    if not words:
        return None
    known = [name for name, each in mcp.servers.items() if each.enabled]
    if [word.lower() for word in words] == ["off"]:
        return ()
    if [word.lower() for word in words] == ["on"]:
        return tuple(known)
    for word in words:
        if word not in known:
            there = f"there are: {', '.join(known)}" if known else "none is configured (mcp.servers)"
            raise BadRequest(f"There is no server of tools {word[:64]!r}; {there}.", param=HEADER, code="invalid_value")
    return tuple(dict.fromkeys(words))


def _server(name: str, server: ToolServer, env: Mapping[str, str]) -> Server:
    try:
        variables, headers, fault = _variables(server, env), _headers(server, env), ""
    except ConfigError as error:
        variables, headers, fault = (), (), error.problems[0].removeprefix(": ")
    return Server(
        name,
        tuple(server.command),
        server.url,
        variables,
        headers,
        tuple(server.allow),
        float(server.start_timeout),
        fault,
    )


def _variables(server: ToolServer, env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return secrets.variables(server.env, "", env)


def _headers(server: ToolServer, env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Raises ConfigError for a variable that is not set, or holds what no header can be."""
    found = []
    for name, text in server.headers.items():
        m = SCHEMED.match(text)
        if m is None:
            found.append((name, text))
            continue
        variable = m[1].removeprefix(secrets.PREFIX)
        value = env.get(variable, "").strip()
        if not value:
            raise ConfigError([f"the environment variable {variable} is not set; run `export {variable}=...` first"])
        if not (value.isascii() and value.isprintable()):
            raise ConfigError([f"the environment variable {variable} holds no line of ASCII, which a header is"])
        found.append((name, text[: m.start(1)] + value))
    return tuple(found)
