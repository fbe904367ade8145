"""A gateway that is killed while clients make variants: what was told to be made is there."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

from live_gateway import LiveGateway, ask, until

CONFIG = """
server: {port: 0}
models: {tiny: {backend: fake}}
roles: {standard: [tiny]}
"""


def make(gateway: LiveGateway, name: str, system: str) -> bool:
    """Whether the gateway said that it was made; False when it is gone."""
    body = {"model": name, "from": "tiny", "system": system, "stream": False}
    try:
        answer = ask(gateway.url, "POST", "/api/create", body)
    except (OSError, http.client.HTTPException):
        return False
    assert answer.status == 200, answer.body
    return True


def systems(gateway: LiveGateway) -> Iterator[tuple[str, str]]:
    """The variants that are listed, and their prompts."""
    for entry in ask(gateway.url, "GET", "/v1/models").json["data"]:
        if entry["kind"] == "variant":
            yield entry["id"], ask(gateway.url, "POST", "/api/show", {"model": entry["id"]}).json["system"]


def test_what_was_told_to_be_made_is_there_after_a_kill(tmp_path: Path) -> None:
    told: set[str] = set()
    with LiveGateway(tmp_path, CONFIG) as gateway:
        for attempt in range(3):

            def load(number: int, attempt: int = attempt) -> None:
                count = 0
                while make(gateway, name := f"v{attempt}-{number}-{count % 20}", name * 2000):
                    told.add(name)
                    count += 1

            threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
            before = len(told)
            for thread in threads:
                thread.start()
            until(lambda before=before: len(told) > before + 15, "some were made")  # type: ignore[misc]
            gateway.kill()
            for thread in threads:
                thread.join()
            gateway.start()
            found = dict(systems(gateway))
            assert told <= set(found)
            assert all(system == name * 2000 for name, system in found.items())
