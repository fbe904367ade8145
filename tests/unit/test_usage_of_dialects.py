"""Tokens that were thought or read from a cache: what a worker says of them is what every dialect and the books say."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dialect_forms import FORMS, Counts, Form, Question, told
from gateway import (
    DONE,
    Gate,
    ScriptedWorker,
    config,
    delta,
    event,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
)

from rolecast.config.schema import Listener, Model

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

SAID = Counts(prompt=20, completion=9, cached=12, reasoning=4)
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 12},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
CLAUDE = {"input_tokens": 8, "cache_read_input_tokens": 12, "cache_creation_input_tokens": 0, "output_tokens": 9}
CHATS = [form for form in FORMS if not form.raw]


def openai_says(form: Form, streamed: bool) -> Any:
    """A worker's answer, in the form in which it is asked."""
    if form.raw and streamed:
        return stream(event({"choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}]}), usage_event(), DONE)
    if streamed:
        return stream(delta("hi"), event(END), usage_event(), DONE)
    message = {"text": "hi"} if form.raw else {"message": {"role": "assistant", "content": "hi"}}
    choice = {"index": 0, "finish_reason": "stop", **message}
    return reply(json.dumps({"id": "x", "choices": [choice], "usage": USAGE}).encode())


def usage_event() -> bytes:
    return event({"choices": [], "usage": USAGE})


def anthropic_says(streamed: bool) -> Any:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "x", "stop_sequence": None}
    if not streamed:
        content = [{"type": "text", "text": "hi"}]
        return reply(json.dumps({**message, "content": content, "stop_reason": "end_turn", "usage": CLAUDE}).encode())
    events = [
        {"type": "message_start", "message": {**message, "content": [], "usage": {**CLAUDE, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    return stream(*(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events))


@pytest.fixture(scope="module")
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """One worker, spoken to in either dialect; the port `pas` has the model `m`."""
    with short_folder() as folder:
        async with ScriptedWorker().listening() as worker:
            models = {"m": remote(worker.url), "claude": Model(backend="anthropic", url=worker.url)}
            ports = [Listener(port=0, name="pas", model="m", surface="pas")]
            async with running_gateway(config(models, listeners=ports), Path(folder)) as gate:
                yield gate, worker


async def counted(gate: Gate, form: Form, model: str, streamed: bool) -> Counts:
    """What the client is told; the books must have the same."""
    body = form.body(Question("hello", 9, streamed, model=model))
    answer = await gate.ask(request(body, path=form.path), form.port or "front door")
    assert answer.status == 200, answer.body
    row = (await gate.rows())[-1]
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.counted) == (20, 9, 12, False)
    return form.counts(told(answer.body))


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
async def test_thought_and_cached_tokens_are_told_as_the_worker_told_them(
    both: tuple[Gate, ScriptedWorker], form: Form, streamed: bool
) -> None:
    gate, worker = both
    worker.script.append(openai_says(form, streamed))
    found = await counted(gate, form, "m", streamed)
    assert found[:2] == SAID[:2]
    assert found.cached in (None, SAID.cached)
    assert found.reasoning in (None, SAID.reasoning)
    if "OpenAI" in form.name:  # whose dialects have words for both
        assert found == SAID


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("form", [form for form in CHATS if not form.port], ids=lambda form: form.name)
async def test_what_a_server_of_anthropics_read_from_its_cache_is_input_in_every_dialect(
    both: tuple[Gate, ScriptedWorker], form: Form, streamed: bool
) -> None:
    gate, worker = both
    worker.script.append(anthropic_says(streamed))
    found = await counted(gate, form, "claude", streamed)
    assert found[:2] == SAID[:2]
    assert found.cached in (None, SAID.cached)
    if "OpenAI" in form.name:
        assert found.cached == SAID.cached
