"""What each request is charged: by its model's rates, to the unit, with all that was asked on the way."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    SSE_HEAD,
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

from rolecast.config.schema import Model, Price

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


TOLD: list[tuple[str, dict[str, Any], tuple[int, int, int, int]]] = [
    (
        "Gemini's and xAI's thoughts are in the total alone, and are billed as the answer",
        {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 1039},
        (30, 1009, 0, 0),
    ),
    (
        "a total that fits changes nothing",
        {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 39},
        (30, 9, 0, 0),
    ),
    (
        "a total that is too small is no count",
        {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 9},
        (30, 9, 0, 0),
    ),
    (
        "Moonshot's and Together's place for cached tokens",
        {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 39, "cached_tokens": 20},
        (30, 9, 20, 0),
    ),
    (
        "DeepSeek's",
        {
            "prompt_tokens": 30,
            "completion_tokens": 9,
            "total_tokens": 39,
            "prompt_cache_hit_tokens": 20,
            "prompt_cache_miss_tokens": 10,
        },
        (30, 9, 20, 0),
    ),
    (
        "OpenRouter's word for what is kept from now on",
        {
            "prompt_tokens": 30,
            "completion_tokens": 9,
            "total_tokens": 39,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 20},
        },
        (30, 9, 4, 20),
    ),
    (
        "LiteLLM's",
        {
            "prompt_tokens": 30,
            "completion_tokens": 9,
            "total_tokens": 39,
            "prompt_tokens_details": {"cached_tokens": 4},
            "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 4,
        },
        (30, 9, 4, 20),
    ),
]


@pytest.mark.parametrize(("usage", "billed"), [case[1:] for case in TOLD], ids=[case[0] for case in TOLD])
async def test_what_providers_report_is_billed_as_they_bill_it_whichever_way_the_answer_goes(
    cloud: Both, usage: dict[str, Any], billed: tuple[int, int, int, int]
) -> None:
    gate, paid, _ = cloud
    prompt, completion, cached, written = billed
    paid.usual = reply(json.dumps({**json.loads(answer(0, 0)), "usage": usage}).encode())
    await gate.ask(http(chat(model="cloud")))
    words = {"model": "cloud", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    await gate.ask(http(words, path="/v1/messages"))
    paid.usual = stream(delta("hi"), event({"choices": [], "usage": usage}), DONE)
    await gate.ask(http(chat(model="cloud", stream=True)))
    await gate.ask(http(chat(model="cloud", stream=True, stream_options={"include_usage": True})))
    await gate.ask(http({**words, "stream": True}, path="/v1/messages"))
    rows = await gate.rows()
    told = [(r.prompt_tokens, r.completion_tokens, r.cached_tokens, r.written_tokens) for r in rows]
    assert told == [billed] * 5
    plain = prompt - cached - written
    assert {r.cost for r in rows} == {plain * IN + cached * CACHED + written * WRITTEN + completion * OUT}


async def test_embeddings_whose_server_tells_the_total_alone_are_billed() -> None:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    body = json.dumps({"object": "list", "data": [vector], "usage": {"total_tokens": 12}}).encode()
    async with ScriptedWorker().listening() as paid:
        paid.usual = reply(body)
        with short_folder() as folder:
            made = config({"cloud": remote(paid.url, price=CENTS, capabilities=["embeddings"])})
            async with running_gateway(made, Path(folder)) as gate:
                for asked in ({"path": "/v1/embeddings"}, {"path": "/api/embed"}):
                    assert (await gate.ask(http({"model": "cloud", "input": "hello"}, **asked))).status == 200
                assert [row.cost for row in await gate.rows()] == [12 * IN] * 2


async def test_what_anthropic_keeps_for_an_hour_costs_twice_the_input() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
        "output_tokens": 3,
    }
    whole = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}], "usage": usage}
    start = {"type": "message_start", "message": {"id": "m", "usage": {**usage, "output_tokens": 1}}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    async with ScriptedWorker().listening() as paid:
        with short_folder() as folder:
            made = config({"cloud": Model(backend="anthropic", url=paid.url, price=CENTS)})
            async with running_gateway(made, Path(folder)) as gate:
                words = {"model": "cloud", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
                paid.usual = reply(json.dumps({**whole, "stop_reason": "end_turn"}).encode())
                await gate.ask(http(chat(model="cloud")))
                await gate.ask(http(words, path="/v1/messages"))
                paid.usual = stream(event(start), event(text), event(end), event({"type": "message_stop"}))
                await gate.ask(http(chat(model="cloud", stream=True)))
                await gate.ask(http({**words, "stream": True}, path="/v1/messages"))
                rows = await gate.rows()
                assert {r.cost for r in rows} == {10 * IN + 5 * CACHED + 40 * WRITTEN + 60 * 2 * IN + 3 * OUT}
                assert {r.written_tokens for r in rows} == {100}


async def test_a_stream_that_is_cut_costs_what_its_server_had_told_by_then() -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 50_000, "cache_creation_input_tokens": 100}
    start = {"type": "message_start", "message": {"id": "m", "usage": {**usage, "output_tokens": 1}}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
    told = {"prompt_tokens": 40_000, "completion_tokens": 2, "total_tokens": 40_002}
    piece = {"choices": [{"index": 0, "delta": {"content": "hi"}}], "usage": told}
    async with ScriptedWorker().listening() as claude, ScriptedWorker().listening() as grok:
        with short_folder() as folder:
            made = config(
                {
                    "claude": Model(backend="anthropic", url=claude.url, price=CENTS),
                    "grok": remote(grok.url, price=CENTS),
                }
            )
            async with running_gateway(made, Path(folder)) as gate:
                claude.usual = raw(SSE_HEAD, *[chunk(event(each)) for each in (start, text, text, text)], close=True)
                grok.usual = raw(SSE_HEAD, *[chunk(event(piece)) for _ in range(3)], close=True)
                words = {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}], "stream": True}
                for model in ("claude", "grok"):
                    await gate.ask(http({"model": model, **words}))
                    await gate.ask(http({"model": model, **words}, path="/v1/messages"))
                rows = await gate.rows()
                assert {row.outcome for row in rows} == {"error"}
                costs = [10 * IN + 50_000 * CACHED + 100 * WRITTEN + 3 * OUT, 40_000 * IN + 3 * OUT]
                assert sorted(row.cost for row in rows) == [costs[0]] * 2 + [costs[1] - OUT, costs[1]]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_a_stream_that_its_client_leaves_costs_what_its_server_had_told_by_then(path: str) -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 50_000, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "m", "usage": usage}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
    async with ScriptedWorker().listening() as claude:
        claude.usual = Held(event(start), event(text), event(text))
        with short_folder() as folder:
            made = config({"claude": Model(backend="anthropic", url=claude.url, price=CENTS)})
            async with running_gateway(made, Path(folder)) as gate, gate.client() as client:
                words = {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}], "stream": True}
                await client.send(http({"model": "claude", **words}, path=path))
                await client.head()
                (running,) = gate.gateway.dispatch.active
                await until(lambda: running.carrier is not None and running.carrier.events == 2)
                client.abort()
                await until(lambda: not gate.gateway.dispatch.active)
                assert [(row.outcome, row.cost) for row in await gate.rows()] == [
                    ("cancelled", 10 * IN + 50_000 * CACHED + 2 * OUT)
                ]


async def test_pictures_and_sound_whose_server_tells_tokens_are_billed_however_long_the_answer() -> None:
    told = {
        "input_tokens": 50,
        "output_tokens": 4160,
        "total_tokens": 4210,
        "input_tokens_details": {"text_tokens": 50},
    }
    short = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": told}
    long = {"created": 1, "data": [{"b64_json": "A" * 1_500_000}], "usage": told}
    last = event({"type": "transcript.text.done", "text": "hi", "usage": {"type": "tokens", **told}})
    async with ScriptedWorker().listening() as paid:
        with short_folder() as folder:
            able = ["images", "speech"]
            made = config({"cloud": remote(paid.url, price=CENTS, capabilities=able)})
            async with running_gateway(made, Path(folder)) as gate:
                asked = http({"model": "cloud", "prompt": "a cat"}, path="/v1/images/generations")
                paid.usual = reply(json.dumps(short).encode())
                assert (await gate.ask(asked)).status == 200
                paid.usual = reply(json.dumps(long).encode())
                assert (await gate.ask(asked)).status == 200
                paid.usual = stream(event({"type": "transcript.text.delta", "delta": "hi"}), last)
                assert (await gate.ask(asked)).status == 200
                assert [(r.prompt_tokens, r.cost) for r in await gate.rows()] == [(50, 50 * IN + 4160 * OUT)] * 3


@pytest.mark.parametrize(
    ("cost", "paid"),
    [
        (0.00014, 140_000_000),
        (1e-05, 10_000_000),
        ({"input_tokens_cost": 0.00001, "total_cost": 0.00021}, 210_000_000),
        (0, 0),
        (-1, 0),
        (1e300, 0),
        ("free", 0),
        (True, 0),
        (None, 0),
    ],
)
async def test_where_nobody_knows_a_price_what_the_server_says_it_cost_is_charged(cost: Any, paid: int) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "cost": cost}
    words = {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    async with ScriptedWorker().listening() as server:
        away = server.url.replace("127.0.0.1", "0.0.0.0")
        free = Price(input=0, output=0)
        with short_folder() as folder:
            models = {
                "auto-1": remote(away),
                "priced": remote(away, price=CENTS),
                "free": remote(away, price=free),
                "here": remote(server.url),
            }
            async with running_gateway(config(models), Path(folder)) as gate:
                for model in models:
                    server.usual = reply(json.dumps({**json.loads(answer(0, 0)), "usage": usage}).encode())
                    await gate.ask(http({"model": model, **words}))
                    await gate.ask(http({"model": model, **words}, path="/v1/messages"))
                    server.usual = stream(delta("hi"), event({"choices": [], "usage": usage}), DONE)
                    await gate.ask(http({"model": model, **words, "stream": True}))
                    await gate.ask(http({"model": model, **words, "stream": True}, path="/v1/messages"))
                costs = [row.cost for row in await gate.rows()]
                assert costs == [paid] * 4 + [10 * IN + 2 * OUT] * 4 + [0] * 8
