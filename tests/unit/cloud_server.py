"""Clouds that say what a test wants, on both wires: scripted servers that the gateway takes for other machines.

0.0.0.0 leads to this machine, and is no loopback address: so requests there leave, as far as the gateway knows.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gateway import Gate, ScriptedWorker, config, reply, running_gateway, short_folder
from msgspec.structs import replace

from rolecast.config.retries import Retries
from rolecast.config.schema import Config, Model, Seconds

SECRET = "sk-cloud-secret-0123456789"
"""The key of every cloud here; no log, answer or other server may hold it."""
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi"}],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":2}}'
)
"""A whole answer on Anthropic's wire."""
QUICK = Retries(first_wait=Seconds(0.01), longest_wait=Seconds(2.0))


def fails(status: int, *, head: bytes = b"", text: str = "no luck today", **fields: str) -> Any:
    """An error answer; `fields` go into its error object."""
    return reply(json.dumps({"error": {"message": text, **fields}}).encode(), status, head=head)


def overloaded() -> Any:
    """Anthropic's 529."""
    return reply(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', 529)


def cloud(worker: ScriptedWorker, **fields: Any) -> Model:
    """A model that this server plays, elsewhere, with a key."""
    given = {"backend": "openai", "key": SECRET, "parallel": 64, "remote_model": "big-1", **fields}
    return Model(url=worker.url.replace("127.0.0.1", "0.0.0.0"), **given)


def here() -> Model:
    """A model on this machine that answers at once."""
    return Model(backend="fake", parallel=64)


def clouds(models: dict[str, Model], retries: Retries = QUICK, **given: Any) -> Config:
    """A configuration whose role `standard` has all these models, in this order."""
    made = config(models, **given)
    return replace(made, roles={"standard": list(models)}, retries=retries)


class Sky:
    """A gateway with clouds, whose breaker lives on a clock that the test moves, and waits that are never drawn."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.passed_s = 0.0
        self.breaker = gate.gateway.plans.breaker
        real = self.breaker._clock
        self.breaker._clock = lambda: real() + self.passed_s
        gate.gateway.dispatch.again._draw = lambda: 0.0

    def told(self) -> list[tuple[str, str]]:
        """Circuits that opened and closed, as events told it."""
        events = self.gate.gateway.events.recent()
        return [(e.event_type, e.data["model"]) for e in events if e.event_type.startswith("breaker_")]


@contextlib.asynccontextmanager
async def sky(
    *fields: dict[str, Any], local: bool = False, **given: Any
) -> AsyncIterator[tuple[Sky, list[ScriptedWorker]]]:
    """A gateway with clouds `a`, `b`, ... behind role `standard`, each played by a worker, perhaps with `here` last."""
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        workers = [await stack.enter_async_context(ScriptedWorker().listening()) for _ in fields]
        models = {
            chr(97 + i): cloud(worker, **said) for i, (worker, said) in enumerate(zip(workers, fields, strict=True))
        }
        if local:
            models["here"] = here()
        gate = await stack.enter_async_context(running_gateway(clouds(models, **given), Path(folder)))
        yield Sky(gate), workers
