"""The commands about requests that are under way: `requests`, `cancel`."""

from typing import Annotated

import typer

from rolecast.cli import output
from rolecast.cli.options import Json, Key, Url


def requests(as_json: Json = False, url: Url = "", key: Key = "") -> None:
    """Show the requests under way: who asked, what for, and whether they wait; no word of them."""
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway:
        found = gateway.requests()
    if as_json:
        output.print_json(found)
        return
    if not found:
        output.say("No request is under way.")
        return
    rows = output.table("Id", "Model", "Phase", "Age", "Tokens", "Key", "Client", right=("Age", "Tokens"))
    for one in found:
        rows.add_row(
            output.plain(one.id),
            output.plain(one.model),
            output.state(one.phase),
            output.plain(output.duration(one.age_ms / 1000)),
            f"{one.tokens:,}",
            output.plain(one.key_name or one.key),
            output.plain(one.client_id or one.client),
        )
    output.show(rows)


def cancel(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `rolecast requests` shows it.")],
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """End a request that is under way: its engine stops, and its client is told."""
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway:
        ended = gateway.cancel_request(request_id)
    if as_json:
        output.print_json({"id": ended.id, "cancelled": True, "phase": ended.phase, "model": ended.model})
    else:
        output.say(f"Cancelled {output.escape(ended.id)}, which was {ended.phase} on {output.escape(ended.model)}.")
