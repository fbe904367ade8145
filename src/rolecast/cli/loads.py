"""How far a load is, shown while a command waits for it. Asks the gateway beside the request that loads."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from rolecast.cli.gateway import Gateway

EVERY_S = 0.5


@contextmanager
def watched(gateway: "Gateway", name: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell how many percent of that model are in memory, on a terminal, until the block is left."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(gateway.url, gateway.key, name, tell, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(EVERY_S)


def _watch(url: str, key: str, name: str, tell: Callable[[str], None], over: threading.Event) -> None:
    import json

    from rolecast.cli.gateway import Gateway
    from rolecast.errors import RolecastError

    try:
        with Gateway(url, key) as gateway:
            while not over.wait(EVERY_S):
                found = json.loads(gateway.fetch("GET", f"/v1/models/{quote(name, safe='')}"))
                percent = (found.get("load") or {}).get("percent")
                if percent is not None:
                    tell(f"Loading {name}, about {percent} %")
    except (RolecastError, ValueError):
        pass  # it is only to look at; the request that loads says what is wrong
