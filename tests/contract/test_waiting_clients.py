"""Official clients that stream and wait for a slot: what they are told meanwhile is nothing to them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic
import openai
import pytest
from gateway import DONE, Gate, Held, ScriptedWorker, chat, delta, pair, reply, request, stream, until

from rolecast.turn.exchange import clock

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def all_slots_taken() -> AsyncIterator[tuple[Gate, ScriptedWorker, Held]]:
    held = Held(delta("x"))
    async with pair(model={"parallel": 1}) as (gate, worker), gate.client() as running:
        worker.script.append(held)
        await running.send(request(chat(stream=True)))
        await held.began.wait()
        yield gate, worker, held


async def tell(gate: Gate, held: Held) -> None:
    """Say three times that they wait, and then let them go."""
    await until(lambda: gate.gateway.fleet.worker("m").waiting)
    waiting = gate.gateway.dispatch.waiting
    assert waiting is not None
    for after_s in (6, 12, 18):
        waiting.look(gate.gateway.dispatch.active, clock() + after_s)
    held.let_go.set()


def openai_client(gate: Gate) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{gate.port()}/v1", api_key="x", max_retries=0)


async def said(client: openai.AsyncOpenAI) -> str:
    chunks = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
    return "".join([piece.choices[0].delta.content or "" async for piece in chunks if piece.choices])


async def test_openais_client_reads_the_answer_behind_comments_and_raises_the_error_behind_them() -> None:
    async with all_slots_taken() as (gate, worker, held), openai_client(gate) as client:
        worker.script.append(stream(delta("an"), delta("swer"), DONE))
        telling = asyncio.create_task(tell(gate, held))
        assert await said(client) == "answer"
        await telling
    async with all_slots_taken() as (gate, worker, held), openai_client(gate) as client:
        worker.usual = reply(b'{"error":{"message":"too long","code":400}}', 400)
        telling = asyncio.create_task(tell(gate, held))
        with pytest.raises(openai.APIError, match="too long"):
            await said(client)
        await telling


async def test_openais_client_of_responses_and_anthropics_read_the_answer_behind_them() -> None:
    async with all_slots_taken() as (gate, worker, held), openai_client(gate) as client:
        worker.script.append(stream(delta("an"), delta("swer"), DONE))
        telling = asyncio.create_task(tell(gate, held))
        async with client.responses.stream(model="m", input="hi") as events:
            assert (await events.get_final_response()).output_text == "answer"
        await telling
    async with (
        all_slots_taken() as (gate, worker, held),
        anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{gate.port()}", api_key="x", max_retries=0) as other,
    ):
        worker.script.append(stream(delta("an"), delta("swer"), DONE))
        telling = asyncio.create_task(tell(gate, held))
        asked = other.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        async with asked as told:
            assert await told.get_final_text() == "answer"
        await telling
