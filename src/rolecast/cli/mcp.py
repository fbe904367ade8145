"""`mcp`: a server of the Model Context Protocol on standard input and output, and the settings of its clients."""

from typing import Annotated

import typer

from rolecast.cli import output
from rolecast.cli.options import Json, Key, Url


def mcp(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[servers]",
            help="`servers`: list instead the servers of tools that the gateway uses, and their tools.",
            show_default=False,
        ),
    ] = "",
    print_config: Annotated[
        str,
        typer.Option(
            "--print-config",
            metavar="CLIENT",
            help="Print the settings of a client instead: claude, cursor, lmstudio, vscode, windsurf or zed.",
            show_default=False,
        ),
    ] = "",
    http: Annotated[bool, typer.Option("--http", help="Of --print-config: for /mcp of the running gateway.")] = False,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Serve MCP on standard input and output, for clients that start it; it talks to the running gateway."""
    if what:
        if what != "servers":
            output.fail(f"There is no `rolecast mcp {what}`; there is `rolecast mcp servers`.", code=2)
        _show_servers(url, key, as_json=as_json)
        return
    if print_config:
        _print_config(print_config, http=http, url=url, keyed=bool(key))
        return
    if http:
        output.fail("--http goes with --print-config; the gateway serves /mcp by itself.", code=2)
    from rolecast.mcp import stdio

    stdio.run(url, key)


def _print_config(client: str, *, http: bool, url: str, keyed: bool) -> None:
    import os
    from pathlib import Path

    from rolecast import statefile
    from rolecast.mcp.clients import CLIENTS, HOME_VARIABLE, PLACEHOLDER, Place

    if client not in CLIENTS:
        output.fail(f"{client!r} is no client that is known here; there are {', '.join(CLIENTS)}.", code=2)
    if http and not url and (state := statefile.running()) is not None:
        url = state.url
    written, place = CLIENTS[client]
    home = os.environ.get(HOME_VARIABLE, "")  # a client that starts the program has not the variables of this shell
    home = str(Path(home).expanduser().absolute()) if home else ""
    output.print_json(written(Place(url if "://" in url or not url else f"http://{url}", http, keyed, home)))
    key = f"; put your key where it says {PLACEHOLDER}" if keyed else ""
    output.say(f"This belongs into {place}{key}.", stderr=True)


def _show_servers(url: str, key: str, *, as_json: bool) -> None:
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway:
        found = gateway.tool_servers()
    if as_json:
        output.print_json(found)
        return
    if not found.servers:
        output.say("No server of tools is configured; add one under `mcp.servers` in rolecast.yaml.")
        return
    rows = output.table("Server", "State", "Tool", "May be called", wrap=("May be called",))
    for server in found.servers:
        state = output.plain(f"{server.state}: {server.error}" if server.error else server.state)
        name = output.plain(server.name)
        for tool in server.tools:
            rows.add_row(
                name, state, output.plain(tool.name), output.plain("yes" if tool.allowed else f"no: {tool.why}")
            )
            name = state = output.plain("")
        if not server.tools:
            rows.add_row(name, state, output.plain(""), output.plain(""))
    output.show(rows)
