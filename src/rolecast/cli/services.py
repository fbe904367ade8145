"""`services`: who is registered with the gateway, and how each of them fares."""

from typing import Annotated

import typer

from rolecast.cli import output
from rolecast.cli.options import Json, Key, Url


def services(
    cap: Annotated[str, typer.Option("--cap", metavar="WORD", help="Only those that can do this.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also the tasks of this gateway.")] = False,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """List the services that are registered with the gateway, its own among them, and how they fare."""
    import time
    from datetime import datetime

    import msgspec

    from rolecast.cli.gateway import connect
    from rolecast.pages.services import ServiceList

    with connect(url, key) as gateway:
        said = gateway.fetch("GET", "/admin/services")
    found = msgspec.json.decode(said, type=ServiceList).services
    found = [each for each in found if not cap or cap in each.caps]
    if as_json:
        output.print_json({"services": found})
        return
    shown = [each for each in found if everything or not each.service_id.startswith("task-")]
    if not shown:
        output.say("No service is registered that can do that." if cap else "No service is registered.")
        return
    rows = output.table("Service", "Type", "Status", "Address", "Can do", "Heard", wrap=("Address", "Can do"))
    for each in shown:
        heard_s = max(0.0, time.time() - datetime.fromisoformat(each.last_heartbeat_ts).timestamp())
        rows.add_row(
            output.plain(each.service_id),
            output.plain(each.type),
            output.plain(each.status + (f" ({each.message})" if each.message and each.status != "ok" else "")),
            output.plain(each.url),
            output.plain(", ".join(each.caps)),
            output.plain(f"{output.duration(heard_s)} ago"),
        )
    output.show(rows)
