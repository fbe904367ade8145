"""What each request is charged: by its model's rates, to the unit, with all that was asked on the way."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    event,
    raw,
    remote,
    reply,
    running_gateway,
    short_folder,
    stream,
    until,
)
from gateway import request as http

from rolecast.config.schema import Price

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


CENTS = Price(input=100, output=200, cached=10, written=125)
"""1, 2, 0.1 and 1.25 millionths of a dollar per token."""
IN, OUT, CACHED, WRITTEN = 1_000_000, 2_000_000, 100_000, 1_250_000


def answer(prompt: int, completion: int, cached: int = 0) -> bytes:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    message = {"role": "assistant", "content": "hi"}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}).encode()


@pytest.fixture
async def cloud() -> AsyncIterator[tuple[Gate, ScriptedWorker, ScriptedWorker]]:
    """A gateway with a model that costs and one that does not."""
    with short_folder() as folder:
        async with ScriptedWorker().listening() as paid, ScriptedWorker().listening() as free:
            models = {"cloud": remote(paid.url, price=CENTS), "local": remote(free.url)}
            made = msgspec.structs.replace(config(models), roles={"standard": ["cloud", "local"]})
            async with running_gateway(made, Path(folder)) as gate:
                yield gate, paid, free


Both = tuple[Gate, ScriptedWorker, ScriptedWorker]


async def test_an_answer_costs_what_its_tokens_cost_and_says_so(cloud: Both) -> None:
    gate, paid, _ = cloud
    paid.usual = reply(answer(100, 7, 40))
    said = await gate.ask(http(chat(model="cloud")))
    assert said.header("x-rolecast-cost") == "0.000078"
    assert (await gate.ask(http(chat(model="local")))).header("x-rolecast-cost") is None
    first, second = await gate.rows()
    assert first.cost == 60 * IN + 40 * CACHED + 7 * OUT == 78_000_000
    assert (first.provider, second.provider, second.cost) == ("local", "local", 0)


async def test_a_stream_costs_the_same_and_tells_it_in_its_receipt(cloud: Both) -> None:
    gate, paid, _ = cloud
    told = {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 7}}
    paid.usual = stream(delta("hi"), event(told), DONE)
    said = await gate.ask(http(chat(model="cloud", stream=True)))
    assert said.header("x-rolecast-cost") is None
    (row,) = await gate.rows()
    assert row.cost == 100 * IN + 7 * OUT


async def test_half_an_answer_that_is_given_up_is_paid_with_what_follows(cloud: Both) -> None:
    gate, paid, _ = cloud
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    paid.usual = raw(head, chunk(b'{"choices":'), close=True)
    body = json.dumps(chat(model="standard")).encode()
    said = await gate.ask(http(chat(model="standard")))
    assert said.status == 200
    (row,) = await gate.rows()
    assert (row.model, row.fallback, row.attempts) == ("local", "cloud", 2)
    assert row.cost == len(body) // 4 * IN  # as far as anybody knows
    assert said.header("x-rolecast-cost") is not None


async def test_an_error_costs_nothing_and_who_stood_in_is_named(cloud: Both) -> None:
    gate, paid, _ = cloud
    paid.usual = reply(b'{"error":{"message":"busy"}}', 429)
    assert (await gate.ask(http(chat(model="standard")))).status == 200
    (row,) = await gate.rows()
    assert (row.model, row.fallback, row.cost, row.provider) == ("local", "cloud", 0, "local")


async def test_a_stream_that_its_client_leaves_costs_what_was_sent(cloud: Both) -> None:
    gate, paid, _ = cloud
    held = Held(delta("a"), delta("b"))
    paid.usual = held
    body = chat(model="cloud", stream=True)
    async with gate.client() as client:
        await client.send(http(body))
        await client.head()
        await held.began.wait()
        await until(lambda: any(x.carrier is not None and x.carrier.events for x in gate.gateway.dispatch.active))
        client.abort()
        await until(lambda: not gate.gateway.dispatch.active)
    held.let_go.set()
    (row,) = await gate.rows()
    assert (row.outcome, row.counted) == ("cancelled", True)
    assert row.cost == row.prompt_tokens * IN + row.completion_tokens * OUT > 0


async def test_several_answers_cost_the_sum_of_their_parts(cloud: Both) -> None:
    gate, paid, _ = cloud
    paid.usual = reply(answer(100, 7))
    several = {"model": "cloud", "prompt": ["a", "b", "c"], "max_tokens": 5}
    one = lambda plan: False  # noqa: E731  # an engine that gives one answer at a time
    gate.gateway.dispatch.plans.take_several = one  # type: ignore[method-assign]
    said = await gate.ask(http(several, path="/v1/completions"))
    assert said.status == 200, said.body
    (row,) = await gate.rows()
    assert row.cost == len(paid.requests) * (100 * IN + 7 * OUT)
