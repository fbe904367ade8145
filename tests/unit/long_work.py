"""What tests of long texts share: a gateway whose worker counts, all that was sent to it, and whole answers."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from gateway import Gate, config, request, running_gateway, short_folder

from rolecast.config.schema import Model
from rolecast.net import probe
from rolecast.net.pool import Pool

COUNT = "/v1/chat/completions/input_tokens"


class Sent(NamedTuple):
    """A chat as it went to a worker."""

    body: dict[str, Any]

    @property
    def user(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def system(self) -> str:
        first = self.body["messages"][0]
        return str(first["content"]) if first["role"] == "system" else ""

    @property
    def most(self) -> int:
        return int(self.body["max_tokens"])


class Work(NamedTuple):
    """A gateway with one model, and what was sent to that."""

    gate: Gate
    sent: list[Sent]

    async def ask(self, path: str = "/generate", **fields: Any) -> dict[str, Any]:
        """The answer to a prompt, which must be one."""
        answer = await self.gate.ask(request(fields, path=path))
        assert answer.status == 200, answer.body
        return dict(answer.json)

    async def error(self, path: str = "/generate", **fields: Any) -> dict[str, Any]:
        """The error that it ends in; its status is `status`."""
        answer = await self.gate.ask(request(fields, path=path))
        assert answer.status >= 400, answer.body
        return {**answer.error, "status": answer.status}

    async def stream(self, path: str = "/generate", **fields: Any) -> "Streamed":
        """The events of a stream, to its end."""
        async with self.gate.client(limit=2**22) as client:
            await client.send(request({**fields, "stream": True}, path=path))
            status, _ = await client.head()
            assert status == 200
            body = b"".join([piece async for piece in client.chunks()])
        return Streamed([json.loads(event[6:]) for event in body.split(b"\n\n") if event])

    async def counts(self) -> list[int]:
        """Tokens of each prompt that was sent, by the count of the worker that got it."""
        pool = self.gate.gateway.fleet.stations.pool("m")
        assert pool is not None
        answers = [await probe.fetch(pool, "POST", COUNT, each.body) for each in self.sent]
        return [json.loads(answer.body)["input_tokens"] for answer in answers]

    async def assert_fits(self, context: int) -> None:
        """Nothing was sent that the model could not hold together with its answer."""
        assert self.sent
        for each, count in zip(self.sent, await self.counts(), strict=True):
            assert count + each.most <= context, each.user[:200]


class Streamed(NamedTuple):
    """A stream of Conductor's."""

    events: list[dict[str, Any]]

    @property
    def text(self) -> str:
        return "".join(event.get("chunk", "") for event in self.events)

    @property
    def progress(self) -> list[tuple[str, int, int]]:
        return [(p["step"], p["done"], p["total"]) for e in self.events if (p := e.get("progress"))]

    @property
    def metadata(self) -> dict[str, Any]:
        last = self.events[-1]
        assert last.get("done") is True, last
        return dict(last.get("metadata", {}))


def spied(patch: pytest.MonkeyPatch) -> list[Sent]:
    """All chats that go to workers from now on."""
    found: list[Sent] = []
    post = Pool.post

    def spy(self: Pool, path: bytes, body: bytes, *more: Any) -> bytes:
        found.append(Sent(json.loads(body)))
        return post(self, path, body, *more)

    patch.setattr(Pool, "post", spy)
    return found


@contextlib.asynccontextmanager
async def working(model: Model) -> AsyncIterator[Work]:
    """A gateway with that model, called `m`."""
    with short_folder() as folder, pytest.MonkeyPatch.context() as patch:
        sent = spied(patch)
        async with running_gateway(config({"m": model}), Path(folder)) as gate:
            yield Work(gate, sent)


def fake(folder: Path, replies: list[dict[str, Any]], **fields: Any) -> Model:
    """A model that counts words and says what its script says, else `fake: ` and what it was asked."""
    script = folder / "script.json"
    script.write_text(json.dumps({"replies": replies}))
    return Model(backend="fake", script=str(script), **fields)
