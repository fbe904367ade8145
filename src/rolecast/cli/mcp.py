"""`mcp`: a server of the Model Context Protocol on standard input and output, and the settings of its clients."""

from typing import Annotated

import typer

from rolecast.cli import output
from rolecast.cli.options import Key, Url


def mcp(
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
    url: Url = "",
    key: Key = "",
) -> None:
    """Serve MCP on standard input and output, for clients that start it; it talks to the running gateway."""
    if print_config:
        _print_config(print_config, http=http, url=url, keyed=bool(key))
        return
    if http:
        output.fail("--http goes with --print-config; the gateway serves /mcp by itself.", code=2)
    from rolecast.mcp import stdio

    stdio.run(url, key)


def _print_config(client: str, *, http: bool, url: str, keyed: bool) -> None:
    from rolecast import statefile
    from rolecast.mcp.clients import CLIENTS, PLACEHOLDER, Place

    if client not in CLIENTS:
        output.fail(f"{client!r} is no client that is known here; there are {', '.join(CLIENTS)}.", code=2)
    if http and not url and (state := statefile.running()) is not None:
        url = state.url
    written, place = CLIENTS[client]
    output.print_json(written(Place(url if "://" in url or not url else f"http://{url}", http, keyed)))
    key = f"; put your key where it says {PLACEHOLDER}" if keyed else ""
    output.say(f"This belongs into {place}{key}.", stderr=True)
