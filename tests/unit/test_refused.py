"""A model that says that it cannot do what is asked: the next of the role does, and no client's mistake is hidden."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    Gate,
    Script,
    ScriptedWorker,
    chat,
    config,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
)
from test_who_answers import IMAGE, cast

from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
TOO_LONG_BESIDES = [
    "Invalid request: Your request exceeded model token limit: 8192",  # Moonshot
    "Prompt exceeds max length",  # Z.ai
    "Range of input length should be [1, 30720]",  # Alibaba
    "prompt token count of 125516 exceeds the limit of 64000",  # Copilot
    "prompt is too long: 210000 tokens > 200000 maximum",
    "Prompt contains 40960 tokens, too large for model with 32768 maximum context length",
]
MESSAGES = "/v1/messages"


def refusal(words: str, status: int = 400, **error: Any) -> Script:
    return reply(json.dumps({"error": {"message": words, "type": "invalid_request_error", **error}}).encode(), status)


async def who(gate: Gate, body: Any, **more: Any) -> tuple[int, str | None, str]:
    answer = await gate.ask(request(body, **more))
    return answer.status, answer.header("x-rolecast-model"), answer.header("x-rolecast-route") or ""


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("name", ["auto", "standard"])
@pytest.mark.parametrize(
    ("refused", "fields"),
    [
        (refusal("'response_format' of type 'json_schema' is not supported with this model."), {"max_tokens": 9}),
        (refusal("Unrecognized request argument supplied: reasoning_effort"), {"reasoning_effort": "low"}),
        (refusal("Argument not allowed", code="unsupported_parameter"), {"logprobs": True}),
        (refusal("reasoning: Extra inputs are not permitted", 422), {"reasoning": {}}),
        (refusal("This response_format type is unavailable now: not enabled"), {}),
        (refusal("qwen does not support image inputs"), {"messages": [{"role": "user", "content": [IMAGE]}]}),
        (refusal("messages.1.content.0: Invalid `signature` in `thinking` block"), {}),
    ],
)
async def test_what_one_model_refuses_the_next_one_answers(
    refused: Script, fields: dict[str, Any], name: str, streams: bool
) -> None:
    async with cast({"one": {}, "two": {}}, {"standard": ["one", "two"]}) as (gate, workers):
        workers["one"].usual = refused
        body = {**chat("hello there", name, stream=streams), **fields}
        assert await who(gate, body) == (200, "two", "fallback; one refused it")
        assert (len(workers["one"].requests), len(workers["two"].requests)) == (1 + streams, 1)
        workers["one"].usual = reply()
        assert (await who(gate, chat("hello you", name)))[1] == "one"  # it is well, and needs no rest
        first, *_ = await gate.rows()
        assert first.outcome == "ok"


@pytest.mark.parametrize(
    "refused",
    [
        refusal("messages: at least one message is required"),
        refusal("`temperature` must be between 0 and 2"),
        refusal("Your request was rejected by our safety system", code="content_policy_violation"),
        refusal("no such thing", 413),
    ],
)
async def test_a_mistake_of_the_client_is_told_at_once(refused: Script) -> None:
    async with cast({"one": {}, "two": {}}, {"standard": ["one", "two"]}) as (gate, workers):
        workers["one"].usual = refused
        status, model, _ = await who(gate, chat("hello there", "auto"))
        assert (status >= 400, model, workers["two"].requests) == (True, "one", [])


async def test_a_model_that_was_named_says_no_itself() -> None:
    async with cast({"one": {}, "two": {}}, {"standard": ["one", "two"]}) as (gate, workers):
        workers["one"].usual = refusal("tools are not supported")
        assert (await who(gate, chat("hello", "one")))[:2] == (400, "one")


async def test_a_conversation_stays_with_the_model_that_can_do_what_it_holds() -> None:
    async with cast({"one": {}, "two": {}}, {"standard": ["one", "two"]}) as (gate, workers):
        workers["one"].usual = refusal("image input is not supported")
        talk: list[dict[str, Any]] = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "what is this?"}]}]
        assert (await who(gate, {"model": "auto", "messages": talk}))[1] == "two"
        talk += [{"role": "assistant", "content": "A cat."}, {"role": "user", "content": "and what colour has it?"}]
        status, model, route = await who(gate, {"model": "auto", "messages": talk})
        assert (status, model, route.rpartition(", ")[2]) == (200, "two", "as before")
        assert len(workers["one"].requests) == 1  # it was not asked in vain again


async def test_when_all_refuse_the_client_learns_what_the_last_one_said() -> None:
    async with cast({"one": {}, "two": {}}, {"standard": ["one", "two"]}) as (gate, workers):
        workers["one"].usual = refusal("one: logprobs are not supported")
        workers["two"].usual = refusal("two: logprobs are not supported")
        answer = await gate.ask(request(chat("hello there", "auto")))
        assert (answer.status, answer.error["message"]) == (400, "two: logprobs are not supported")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"context": 4096}, {"context": 8192}, (200, "two")),
        ({}, {"context": 100_000}, (200, "two")),
        ({"context": 8192}, {"context": 4097}, (400, "one")),
        ({"context": 4097}, {}, (400, "one")),  # it may cut the prompt, and an agent would not learn to shorten it
        ({}, {}, (400, "one")),
    ],
)
async def test_a_prompt_that_proves_too_long_goes_on_only_to_a_model_that_surely_holds_more(
    first: dict[str, Any], second: dict[str, Any], expected: tuple[int, str]
) -> None:
    async with cast({"one": first, "two": second}, {"standard": ["one", "two"]}) as (gate, workers):
        workers["one"].usual = refusal(TOO_LONG)
        answer = await gate.ask(request(chat("hello there", "standard")))
        assert (answer.status, answer.header("x-rolecast-model")) == expected
        assert answer.status == 200 or answer.error["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    "refused",
    [
        refusal("Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7011", 413),
        refusal("Request too large, please reduce your message size", 413, code="rate_limit_exceeded"),
    ],
)
async def test_more_tokens_than_a_server_gives_a_minute_are_asked_of_the_next(refused: Script) -> None:
    async with cast({"one": {}, "two": {}}, {"standard": ["one", "two"]}) as (gate, workers):
        workers["one"].usual = refused
        for streams in (False, True):
            assert (await who(gate, chat("hello there", "standard", stream=streams)))[:2] == (200, "two")
        assert (await who(gate, chat("hello there", "one")))[:2] == (413, "one")


@pytest.mark.parametrize("words", TOO_LONG_BESIDES)
async def test_a_prompt_is_too_long_in_the_words_of_any_server(words: str) -> None:
    async with cast({"one": {}, "two": {"context": 100_000}}, {"standard": ["one", "two"]}) as (gate, workers):
        workers["one"].usual = refusal(words)
        assert (await who(gate, chat("hello there", "standard")))[:2] == (200, "two")
        answer = await gate.ask(request(chat("hello there", "one")))
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")


async def test_what_cannot_be_said_to_a_server_of_another_kind_is_said_to_the_next() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    body = {"model": "standard", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, sound]}]}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        one, two = [await stack.enter_async_context(ScriptedWorker().listening()) for _ in range(2)]
        conf = config({"one": Model(backend="anthropic", url=one.url, key="k"), "two": remote(two.url)})
        conf = msgspec.structs.replace(conf, roles={"standard": ["one", "two"]})
        gate = await stack.enter_async_context(running_gateway(conf, Path(folder)))
        assert await who(gate, body) == (200, "two", "fallback; one refused it")
        assert one.requests == []
        assert (await who(gate, {**body, "model": "one"}))[0] == 400
        assert gate.gateway.fleet.worker("one").active == 0


async def test_thoughts_that_nobody_signed_do_not_go_to_a_server_that_refuses_them() -> None:
    def thought(signature: str) -> dict[str, str]:
        return {"type": "thinking", "thinking": "hm", "signature": signature}

    said = {"type": "text", "text": "Four."}
    turns = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": [thought(""), said]},
        {"role": "user", "content": 'What is "signature": "" in JSON?'},
        {"role": "assistant", "content": [thought("SIG"), said]},
        {"role": "assistant", "content": [thought("")]},
        {"role": "user", "content": [{"type": "text", "text": '"signature":""'}]},
    ]
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        worker = await stack.enter_async_context(ScriptedWorker().listening())
        conf = config({"one": Model(backend="anthropic", url=worker.url, key="k"), "two": remote(worker.url)})
        gate = await stack.enter_async_context(running_gateway(conf, Path(folder)))
        await gate.ask(request({"model": "one", "max_tokens": 9, "messages": turns}, path=MESSAGES))
        passed = json.loads(worker.requests[0].body)
        assert passed["messages"] == [turns[0], {"role": "assistant", "content": [said]}, turns[2], turns[3], turns[5]]
        plain = {"model": "one", "max_tokens": 9, "messages": [turns[0], turns[3], turns[0]]}
        await gate.ask(request(plain, path=MESSAGES))
        assert worker.requests[1].body == json.dumps(plain).encode()  # nothing to take away: byte for byte
        await gate.ask(request({"model": "two", "max_tokens": 9, "messages": turns[:3]}, path=MESSAGES))
        assert "hm" in worker.requests[2].body.decode()  # another model may read them
