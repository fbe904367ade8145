"""What a client of a stream hears while it waits, and that it is no answer: retries, errors and books go on as ever."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    ANSWER,
    DONE,
    Client,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    config,
    delta,
    pair,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.config.schema import Model, Seconds
from rolecast.turn.exchange import clock

pytestmark = pytest.mark.anyio
HEAD = b"content-type: text/event-stream"


@asynccontextmanager
async def one_waits(
    body: dict[str, Any], path: str, **server: Any
) -> AsyncIterator[tuple[Gate, ScriptedWorker, Client, Held]]:
    """The only slot of `m` is taken, and this request is in line for it."""
    held = Held(delta("x"))
    model = {"parallel": 1, "capabilities": ["chat", "completion", "embeddings"]}
    async with pair(model=model, **server) as (gate, worker), gate.client() as running, gate.client() as waiting:
        worker.script.append(held)
        await running.send(request(chat(stream=True)))
        await held.began.wait()
        await waiting.send(request(body, path=path))
        await until(lambda: gate.gateway.fleet.worker("m").waiting)
        yield gate, worker, waiting, held


def look(gate: Gate, after_s: float) -> None:
    """What the gateway does by itself twice a second, so many seconds from now."""
    waiting = gate.gateway.dispatch.waiting
    assert waiting is not None
    waiting.look(gate.gateway.dispatch.active, clock() + after_s)


CHAT = "/v1/chat/completions"
ANTHROPIC = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}
PROMPT = {"model": "m", "prompt": "hi", "stream": True}
SPOKEN = [
    (CHAT, chat(stream=True), b""),
    ("/v1/completions", PROMPT, b""),
    ("/v1/messages", ANTHROPIC, b"event: ping\ndata: {"),
    ("/v1/responses", {"model": "m", "input": "hi", "stream": True}, b""),
]


@pytest.mark.parametrize(("path", "body", "ping"), SPOKEN, ids=[path for path, _, _ in SPOKEN])
async def test_a_stream_that_waits_gets_its_head_and_comments_and_then_its_answer(
    path: str, body: dict[str, Any], ping: bytes
) -> None:
    async with one_waits(body, path) as (gate, worker, client, held):
        look(gate, 4)
        look(gate, 6)
        status, headers = await client.head()
        told = dict(headers)
        assert (status, told["content-type"].partition(";")[0]) == (200, "text/event-stream")
        assert told["x-request-id"].startswith("req_")
        pieces = client.chunks()
        first = await anext(pieces)
        assert first.startswith(b": waiting for m (6 s)\n")
        assert ping in first
        look(gate, 8)
        look(gate, 12)
        assert (await anext(pieces)).startswith(b": waiting for m (12 s)\n")
        worker.script.append(stream(delta("an"), delta("swer"), DONE))
        held.let_go.set()
        rest = b"".join([piece async for piece in pieces])
        assert rest.startswith(b": x-rolecast-model: m\n")
        assert b"swer" in rest
        assert rest.count(b"[DONE]") == (path.endswith("completions"))


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, chat()), ("/api/chat", chat(stream=True)), ("/v1/embeddings", {"model": "m", "input": "x"})],
)
async def test_what_is_no_stream_of_events_is_told_nothing(path: str, body: dict[str, Any]) -> None:
    async with one_waits(body, path) as (gate, worker, client, held):
        look(gate, 6)
        look(gate, 60)
        worker.script.append(stream(delta("x"), DONE) if "api" in path else reply())
        held.let_go.set()
        answer = await client.answer()
        assert answer.status == 200
        assert b"waiting" not in answer.body


async def test_nobody_is_told_where_the_setting_says_never() -> None:
    async with one_waits(chat(stream=True), CHAT, tell_waiting=Seconds(0)) as (gate, worker, client, held):
        look(gate, 3600)
        worker.usual = reply(b'{"error":{"message":"no","code":400}}', 400)
        held.let_go.set()
        assert (await client.answer()).status == 400


async def test_an_error_after_the_head_is_the_event_that_ends_the_stream_and_has_its_status_in_the_books() -> None:
    async with one_waits(chat(stream=True), CHAT) as (gate, worker, client, held):
        look(gate, 6)
        worker.usual = reply(b'{"error":{"message":"too long a prompt","code":400}}', 400)
        held.let_go.set()
        answer = await client.answer()
        assert answer.status == 200
        assert b'data: {"error":{"message":"' in answer.body
        assert b"too long a prompt" in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n")
        await until(lambda: gate.gateway.ledger.written >= 2)
        newest, _ = await gate.gateway.ledger.tail(2)
        assert (newest.status, newest.outcome) == (400, "error")


async def test_what_was_told_is_no_answer_so_the_next_model_answers_when_the_first_cannot() -> None:
    with short_folder() as folder:
        async with (
            ScriptedWorker().listening(f"{folder}/a") as worker,
            ScriptedWorker().listening(f"{folder}/b") as other,
        ):
            other.usual = stream(delta("other"), DONE)
            made = config({"m": remote(worker.url, parallel=1), "n": remote(other.url)})
            made.roles["both"] = ["m", "n"]
            async with running_gateway(made, Path(folder)) as gate:
                held = Held(delta("x"))
                worker.script.append(held)
                async with gate.client() as running, gate.client() as client:
                    await running.send(request(chat(stream=True)))
                    await held.began.wait()
                    gate.gateway.fleet.worker("n").active = 64  # else the role would take the one that is free
                    await client.send(request(chat(model="both", stream=True)))
                    await until(lambda: gate.gateway.fleet.worker("m").waiting)
                    look(gate, 6)
                    gate.gateway.fleet.worker("n").active = 0
                    worker.script.append(reply(b'{"error":{"message":"sick"}}', 503))
                    held.let_go.set()
                    answer = await client.answer()
    assert b": waiting for m" in answer.body
    assert b": x-rolecast-model: n\n" in answer.body
    assert b'"content":"other"' in answer.body


async def test_a_server_that_answers_a_stream_in_one_piece_is_told_as_a_stream() -> None:
    async with one_waits(chat(stream=True), CHAT) as (gate, worker, client, held):
        look(gate, 6)
        worker.script.append(reply(ANSWER))
        held.let_go.set()
        answer = await client.answer()
    assert b'"delta":{"role":"assistant","content":"hi"}' in answer.body
    assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_who_leaves_while_it_is_told_that_it_waits_frees_its_place() -> None:
    async with one_waits(chat(stream=True), CHAT) as (gate, _, client, _):
        look(gate, 6)
        await client.head()
        client.abort()
        await until(lambda: not gate.gateway.fleet.worker("m").waiting)


async def test_a_load_is_told_with_how_far_it_is(tmp_path: Path) -> None:
    slow = Model(backend="command", command=["sleep", "600", "{port}"], health="/health")
    async with running_gateway(config({"m": slow}), tmp_path) as gate, gate.client() as client:
        waiting = gate.gateway.dispatch.waiting
        assert waiting is not None
        await client.send(request(chat(stream=True)))
        await until(lambda: gate.gateway.dispatch.active)
        await until(lambda: gate.gateway.fleet.worker("m").state == "loading")
        look(gate, 6)
        waiting.percent = lambda model_id, _: 40 if model_id == "m" else None
        look(gate, 12)
        await client.head()
        pieces = client.chunks()
        assert await anext(pieces) == b": loading m (6 s)\n\n"
        assert await anext(pieces) == b": loading m 40 %\n\n"
        client.abort()
