"""Clients that keep asking one model while its worker is killed again and again, and what became of each request."""

import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from typing import NamedTuple, Self

from live_gateway import LiveGateway, until

RIGHT = ("answered", "broken off")


class Fate(NamedTuple):
    """What became of one request."""

    kind: str
    """`answered`, `broken off` (an error event after text), `refused` (a status), `lost` or `cut` (no proper end)."""
    detail: str
    seconds: float


class KillStorm:
    """`clients` threads, of which every second one streams, while the block runs; its end waits for their answers.

    A client that was not answered as it should be asks no more.
    """

    def __init__(self, gateway: LiveGateway, model: str, text: str, *, clients: int = 6, tokens: int = 10) -> None:
        self.gateway, self.model, self.text, self.tokens = gateway, model, text, tokens
        self.fates: list[Fate] = []
        self.kills = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(n % 2 == 0,)) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def kill(self) -> None:
        """SIGKILL to the worker, once it is loaded."""
        pid = until(self._loaded, "the worker is back")
        os.kill(pid, signal.SIGKILL)
        self.kills += 1
        until(lambda: self.gateway.model(self.model)["pid"] != pid, "the death was noticed")

    def counts(self) -> Counter[str]:
        """How often each fate was met so far."""
        return Counter(fate.kind for fate in self.fates)

    def wrong(self) -> list[Fate]:
        """What no client should meet, whatever happens to the worker."""
        return [fate for fate in self.fates if fate.kind not in RIGHT]

    def _loaded(self) -> int:
        now = self.gateway.model(self.model)
        return int(now["pid"]) if now["state"] == "ready" else 0

    def _ask_on(self, streams: bool) -> None:
        while not self._over.is_set() and not self.wrong():
            self.fates.append(ask(self.gateway, self.model, self.text, streams=streams, tokens=self.tokens))


def ask(gateway: LiveGateway, model: str, text: str, *, streams: bool, tokens: int) -> Fate:
    """One request, and what became of it."""
    began = time.monotonic()
    try:
        kind, detail = (_stream if streams else _whole)(gateway, model, text, tokens)
    except (OSError, http.client.HTTPException) as error:
        kind, detail = "lost", repr(error)
    return Fate(kind, detail, time.monotonic() - began)


def _whole(gateway: LiveGateway, model: str, text: str, tokens: int) -> tuple[str, str]:
    answer = gateway.chat(model, text, max_tokens=tokens)
    return ("answered", "") if answer.status == 200 else ("refused", str(answer.error))


def _stream(gateway: LiveGateway, model: str, text: str, tokens: int) -> tuple[str, str]:
    with gateway.stream(model, text, max_tokens=tokens) as stream:
        if stream.response.status != 200:
            return "refused", stream.response.read().decode()
        events: list[str] = []
        try:
            events = stream.rest()
        except http.client.IncompleteRead as error:
            return "cut", repr(error)
    *said, last, done = events or ["", ""]
    if done != "[DONE]":
        return "cut", done
    if "error" not in json.loads(last):
        return "answered", ""
    return ("broken off", "") if said else ("refused", last)
