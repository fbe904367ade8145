"""The settings with which MCP clients find Rolecast, as each of them writes its file. Knows no command line."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

NAME = "rolecast"
KEY_VARIABLE, HOME_VARIABLE = "ROLECAST_API_KEY", "ROLECAST_HOME"
PLACEHOLDER = "YOUR_KEY"


class Place(msgspec.Struct, frozen=True):
    """Where Rolecast is to be found."""

    url: str = ""
    """Address of the gateway; '' = the one that runs on the client's machine."""
    http: bool = False
    """By `/mcp` on the front door, instead of a program that the client starts."""
    keyed: bool = False
    """A key is needed; its place is held by a word."""
    home: str = ""
    """The data folder by which the program finds the gateway, where it is not the usual one."""


Written = Callable[[Place], dict[str, Any]]


def program() -> str:
    """The command, as a client that has another PATH finds it."""
    beside = Path(sys.argv[0])
    if beside.name == NAME and beside.is_file():
        return str(beside.absolute())
    made = Path(sys.executable).with_name(NAME)
    return str(made) if made.is_file() else NAME


def _command(place: Place) -> dict[str, Any]:
    more = ["--url", place.url] if place.url else []
    env = {KEY_VARIABLE: PLACEHOLDER} if place.keyed else {}
    if place.home and not place.url:
        env[HOME_VARIABLE] = place.home
    return {"command": program(), "args": ["mcp", *more], **({"env": env} if env else {})}


def _address(place: Place) -> dict[str, Any]:
    url = f"{(place.url or 'http://127.0.0.1:8000').rstrip('/').removesuffix('/v1')}/mcp"
    return {"url": url, **({"headers": {"Authorization": f"Bearer {PLACEHOLDER}"}} if place.keyed else {})}


def _typed(place: Place) -> dict[str, Any]:
    return {"type": "http", **_address(place)} if place.http else {"type": "stdio", **_command(place)}


def _claude(place: Place) -> dict[str, Any]:
    return {"mcpServers": {NAME: {"type": "http", **_address(place)} if place.http else _command(place)}}


def _cursor(place: Place) -> dict[str, Any]:
    return {"mcpServers": {NAME: _address(place) if place.http else _command(place)}}


def _windsurf(place: Place) -> dict[str, Any]:
    if not place.http:
        return {"mcpServers": {NAME: _command(place)}}
    address = _address(place)
    return {"mcpServers": {NAME: {"serverUrl": address.pop("url"), **address}}}


def _vscode(place: Place) -> dict[str, Any]:
    return {"servers": {NAME: _typed(place)}}


def _zed(place: Place) -> dict[str, Any]:
    return {"context_servers": {NAME: _address(place) if place.http else _command(place)}}


CLIENTS: Mapping[str, tuple[Written, str]] = {
    "claude": (
        _claude,
        ".mcp.json of a project (Claude Code), or claude_desktop_config.json (Claude Desktop, stdio only)",
    ),
    "cursor": (_cursor, "~/.cursor/mcp.json, or .cursor/mcp.json of a project"),
    "lmstudio": (_cursor, "mcp.json, by Program > Install > Edit mcp.json"),
    "vscode": (_vscode, ".vscode/mcp.json of a project, or mcp.json of the user"),
    "windsurf": (_windsurf, "~/.codeium/windsurf/mcp_config.json"),
    "zed": (_zed, "settings.json"),
}
"""How each client writes it, and into which file it goes."""
