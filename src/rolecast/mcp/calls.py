"""How a tool asks the gateway for an answer, and tells on the way how far it is."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from rolecast.errors import RolecastError
from rolecast.mcp.api import Api

GENERATE = "/conductor/generate"
TELL_EVERY_S = 0.2
STILL_EVERY_S = 2.0
A_LITTLE = 0.001
"""What is told must grow; this leaves room for the first character or step."""

Tell = Callable[[float, float | None, str], Awaitable[None]]
"""Tells a client that waits how far it is: a number that grows, how far it will grow if that is known, and words."""


class Outcome(msgspec.Struct, frozen=True):
    """What a tool gives."""

    text: str
    data: dict[str, Any]


async def generated(api: Api, body: Mapping[str, Any], tell: Tell | None, *, whole: bool = False) -> Outcome:
    """The answer to a request in Conductor's words. Raises RolecastError.

    With `tell` it is asked for as a stream, so that its length can be told. Not with `whole`: an answer that is checked
    can only be mended before anybody has seen a part of it; then the time is told.
    """
    if tell is None:
        return _of_reply(await api.post(GENERATE, body))
    if not whole:
        return await _streamed(api, body, tell)
    asked = asyncio.ensure_future(api.post(GENERATE, body))
    try:
        return _of_reply(await told_time(asked, tell))
    finally:
        asked.cancel()


async def told_time(work: "asyncio.Future[Any]", tell: Tell) -> Any:
    """The result of some work; as long as it takes, the seconds are told."""
    begun = time.monotonic()
    while not work.done():
        await asyncio.wait({work}, timeout=STILL_EVERY_S)
        if not work.done():
            seconds = time.monotonic() - begun
            await tell(round(seconds, 1), None, f"working for {seconds:.0f} s")
    return work.result()


async def _streamed(api: Api, body: Mapping[str, Any], tell: Tell) -> Outcome:
    meter = _Meter(tell)
    beating = asyncio.ensure_future(meter.beat())
    beating.add_done_callback(lambda task: task.cancelled() or task.exception())  # of a client that has gone
    try:
        return await _read(api, body, meter)
    finally:
        beating.cancel()


async def _read(api: Api, body: Mapping[str, Any], meter: "_Meter") -> Outcome:
    texts: list[str] = []
    found: dict[str, Any] = {}
    ended = False
    async for event in api.events(GENERATE, {**body, "stream": True}):
        if "error" in event:
            raise RolecastError(_sentence(event["error"]))
        if "response" in event:  # it came whole after all
            return _of_reply(event)
        if "chunk" in event:
            texts.append(event["chunk"])
            found |= {name: event[name] for name in ("category", "model", "session_id") if name in event}
            await meter.text(len(event["chunk"]))
        elif "progress" in event:
            await meter.step(event["progress"])
        elif event.get("done"):
            ended = True
            found |= {name: event[name] for name in ("metadata", "generation_time") if name in event}
            if "tokens_generated" in event:
                found["tokens"] = event["tokens_generated"]
    if not ended:
        raise RolecastError("The answer broke off; ask again.")
    text = "".join(texts)
    return Outcome(text, {"response": text, **found})


class _Meter:
    """Tells how far an answer is; what it tells only grows."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._length = 0
        self._last = 0.0
        self._told_at = 0.0
        self._steps = False
        self._total: float | None = None

    async def beat(self) -> None:
        """Tell now and then that it goes on, while a model loads or thinks: clients give up on who is silent."""
        begun = time.monotonic()
        while True:
            before = self._last
            await asyncio.sleep(STILL_EVERY_S)
            if self._last == before:
                seconds = time.monotonic() - begun
                await self._grow(before + A_LITTLE, self._total, f"working for {seconds:.0f} s")

    async def text(self, more: int) -> None:
        """So many more characters have come."""
        self._length += more
        now = time.monotonic()
        if not self._steps and now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            await self._grow(self._length, None, f"{self._length} characters")

    async def step(self, progress: Mapping[str, Any]) -> None:
        """A step of a task: so many of so many are done."""
        self._steps = True
        self._total = progress.get("total") or None
        await self._grow(progress.get("done") or 0, progress.get("total") or None, str(progress.get("step") or ""))

    async def _grow(self, to: float, total: float | None, words: str) -> None:
        if to > self._last:
            self._last = to
            await self._tell(to, total, words)


def _of_reply(reply: Mapping[str, Any]) -> Outcome:
    text = reply.get("response")
    if not isinstance(text, str):
        raise RolecastError("The gateway gave no answer; is it a Rolecast gateway?")
    data = {name: reply[name] for name in ("category", "model", "session_id", "generation_time") if name in reply}
    if "tokens_generated" in reply:
        data["tokens"] = reply["tokens_generated"]
    if reply.get("metadata"):
        data["metadata"] = reply["metadata"]
    return Outcome(text, {"response": text, **data})


def _sentence(error: Any) -> str:
    said = error.get("message") if isinstance(error, dict) else error
    return said if isinstance(said, str) and said else "The model could not answer."
