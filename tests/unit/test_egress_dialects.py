"""Whatever a client speaks and whatever the cloud does: what is private stays here, and comes back in the answer."""

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dialect_forms import FORMS, Form, Question, told
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chat,
    chunk,
    config,
    event,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
)
from msgspec.structs import replace
from planted import NAMES, named, structured

from rolecast.config.egress import Egress
from rolecast.config.schema import Listener, Model

anyio_backend = on_uvloop
pytestmark = pytest.mark.anyio

ITEMS = [*structured(5, 20), *named(6, 8)]
TEXT = " / ".join(item.text for item in ITEMS)
CASES = [
    (form, model)
    for form in FORMS
    for model in ("openai", "anthropic", "marked")
    if not (form.raw and model == "anthropic")  # whose wire has no prompts as they stand
]
RNG = random.Random(4)


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """A cloud that speaks OpenAI's wire (`openai`) and Anthropic's (`anthropic`)."""
    async with ScriptedWorker().listening() as worker:
        models = {
            "openai": remote(worker.url, cloud=True),
            "anthropic": Model(backend="anthropic", url=worker.url, cloud=True, parallel=8),
            "marked": remote(worker.url, cloud=True, markup="read"),
            "raw": remote(worker.url, cloud=True, redact=False),
        }
        listeners = [Listener(port=0, name=f"pas-{name}", model=name, surface="pas") for name in models]
        whole = replace(config(models, listeners=listeners), egress=Egress(names=list(NAMES)))
        with short_folder() as folder:
            async with running_gateway(whole, Path(folder)) as gate:
                yield gate, worker


def asked_of(received: Received) -> str:
    """What the cloud was asked last."""
    if "prompt" in received.json:
        return str(received.json["prompt"])
    content = received.json["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def pieces(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        size = RNG.randint(1, 11)
        found.append(text[at : at + size])
        at += size
    return found


async def echo(peer: Peer, received: Received) -> None:
    """Says what it was asked, in any pieces."""
    text = asked_of(received)
    if "/messages" in received.line:
        await anthropic(peer, text, stream=bool(received.json.get("stream")))
    elif received.json.get("stream"):
        chats = "/chat/" in received.line
        events = [
            event({"choices": [{"index": 0} | ({"delta": {"content": p}} if chats else {"text": p})]})
            for p in pieces(text)
        ]
        end = event({"choices": [{"index": 0, "finish_reason": "stop"} | ({"delta": {}} if chats else {"text": ""})]})
        await peer.send(SSE_HEAD + b"".join(map(chunk, (*events, end, USAGE, DONE))) + b"0\r\n\r\n")
    else:
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": {"role": "assistant", "content": text}} if "/chat/" in received.line else {"text": text}
        await reply(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode())(
            peer, received
        )


async def anthropic(peer: Peer, text: str, *, stream: bool) -> None:
    message: dict[str, Any] = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 1, "output_tokens": 1}
    if not stream:
        message |= {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
        await reply(json.dumps(message).encode())(peer, None)  # type: ignore[arg-type]
        return
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**message, "usage": usage}}]
    events.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    deltas = ({"type": "text_delta", "text": piece} for piece in pieces(text))
    events.extend({"type": "content_block_delta", "index": 0, "delta": each} for each in deltas)
    events.append({"type": "content_block_stop", "index": 0})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})
    events.append({"type": "message_stop"})
    data = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events]
    await peer.send(SSE_HEAD + b"".join(map(chunk, data)) + b"0\r\n\r\n")


def holds_none(body: bytes) -> bool:
    said = json.dumps(json.loads(body), ensure_ascii=False)
    return not any(item.value in said or json.dumps(item.value)[1:-1] in said for item in ITEMS)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("form", "model"), CASES, ids=lambda each: getattr(each, "name", each).replace(" ", "-"))
async def test_what_is_private_stays_here_and_comes_back(
    front: Gate, worker: ScriptedWorker, form: Form, model: str, stream: bool
) -> None:
    worker.usual = echo
    question = Question(TEXT, 500, stream, model=model)
    listener = f"pas-{model}" if form.port else "front door"
    answer = await front.ask(request(form.body(question), path=form.path), listener)
    assert answer.status == 200, answer.body
    assert TEXT in form.said(told(answer.body)) or form.said(told(answer.body)) in TEXT
    assert len(form.said(told(answer.body))) >= len(TEXT)
    (received,) = worker.requests
    assert holds_none(received.body)


@pytest.mark.parametrize("model", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_calls_of_tools_get_their_values_back(
    front: Gate, worker: ScriptedWorker, model: str, stream: bool
) -> None:
    async def calls(peer: Peer, received: Received) -> None:
        token = asked_of(received).split(": ")[1]
        given = json.dumps({"value": token, "list": [token]})
        call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "keep", "arguments": given}}
        if model == "anthropic":
            block: dict[str, Any] = {"type": "tool_use", "id": "c1", "name": "keep", "input": json.loads(given)}
            message = {"id": "m", "type": "message", "role": "assistant", "content": [block], "stop_reason": "tool_use"}
            if not stream:
                await reply(json.dumps(message | {"usage": {"input_tokens": 1, "output_tokens": 1}}).encode())(
                    peer, received
                )
                return
            events: list[dict[str, Any]] = [
                {"type": "message_start", "message": message | {"content": []}},
                {"type": "content_block_start", "index": 0, "content_block": block | {"input": {}}},
                *(
                    {
                        "type": "content_block_delta",
                        "index": 0,
                        "delta": {"type": "input_json_delta", "partial_json": p},
                    }
                    for p in pieces(given)
                ),
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
                {"type": "message_stop"},
            ]
            data = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events]
            await peer.send(SSE_HEAD + b"".join(map(chunk, data)) + b"0\r\n\r\n")
        elif stream:
            first = event(
                {"choices": [{"index": 0, "delta": {"tool_calls": [{**call, "function": {"name": "keep"}}]}}]}
            )
            rest = [
                event(
                    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": p}}]}}]}
                )
                for p in pieces(given)
            ]
            end = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
            await peer.send(SSE_HEAD + b"".join(map(chunk, (first, *rest, end, DONE))) + b"0\r\n\r\n")
        else:
            choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [call]}}
            await reply(json.dumps({"choices": [choice]}).encode())(peer, received)

    worker.usual = calls
    tools = [{"type": "function", "function": {"name": "keep", "parameters": {"type": "object"}}}]
    key = "sk-proj-" + "Ab3" * 12
    answer = await front.ask(request(chat(f"keep this: {key}", model, tools=tools, stream=stream)))
    choices = [choice for each in told(answer.body) for choice in each["choices"]]
    deltas = [call for c in choices for call in (c.get("message") or c["delta"]).get("tool_calls") or ()]
    arguments = "".join(call["function"].get("arguments") or "" for call in deltas)
    assert json.loads(arguments) == {"value": key, "list": [key]}
    assert key.encode() not in worker.requests[-1].body


async def test_an_answer_in_json_stays_json(front: Gate, worker: ScriptedWorker) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END PRIVATE KEY-----"

    async def says(peer: Peer, received: Received) -> None:
        text = json.dumps({"key": asked_of(received)})
        await reply(json.dumps({"choices": [{"index": 0, "message": {"content": text}}]}).encode())(peer, received)

    worker.usual = says
    answer = await front.ask(request(chat(pem, "openai", response_format={"type": "json_object"})))
    assert json.loads(answer.json["choices"][0]["message"]["content"]) == {"key": pem}


async def test_several_answers_all_get_their_values_back(front: Gate, worker: ScriptedWorker) -> None:
    async def says(peer: Peer, received: Received) -> None:
        text = asked_of(received)
        choices = [{"index": i, "message": {"role": "assistant", "content": f"{i} {text}"}} for i in range(2)]
        await reply(json.dumps({"choices": choices}).encode())(peer, received)

    worker.usual = says
    answer = await front.ask(request(chat("to ann@example.org", "openai", n=2)))
    assert [c["message"]["content"] for c in answer.json["choices"]] == ["0 to ann@example.org", "1 to ann@example.org"]
    assert b"ann@" not in worker.requests[-1].body


async def test_headers_that_go_along_hold_nothing_private(front: Gate, worker: ScriptedWorker) -> None:
    head = "x-session-id: ann@example.org\r\nx-trace-id: t-1\r\n"
    await front.ask(request(chat("hello", "openai"), head=head))
    (received,) = worker.requests
    assert received.header("x-trace-id") == ["t-1"]
    assert received.header("x-session-id") == []


async def test_a_model_may_be_asked_as_it_is(front: Gate, worker: ScriptedWorker) -> None:
    await front.ask(request(chat("to ann@example.org", "raw")))
    assert b"ann@example.org" in worker.requests[-1].body


async def test_counts_are_asked_without_what_is_private(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = reply(b'{"input_tokens": 7}')
    body = chat("to ann@example.org", "anthropic")
    answer = await front.ask(request(body, path="/v1/messages/count_tokens"))
    assert answer.json == {"input_tokens": 7}
    assert b"ann@" not in worker.requests[-1].body


async def test_a_count_that_must_stay_is_not_asked_elsewhere(front: Gate, worker: ScriptedWorker) -> None:
    for fields, head in (({}, "x-rolecast-local-only: true\r\n"), ({"metadata": {"local_only": True}}, "")):
        body = chat("hello", "anthropic", **fields)
        answer = await front.ask(request(body, path="/v1/messages/count_tokens", head=head))
        assert answer.status == 403
    assert not worker.requests


async def test_a_redirect_takes_nothing_to_another_host(front: Gate, worker: ScriptedWorker) -> None:
    async with ScriptedWorker().listening() as other:
        worker.usual = reply(b"", 307, head=f"Location: {other.url}/chat/completions\r\n".encode())
        answer = await front.ask(request(chat("to ann@example.org", "openai")))
        assert answer.status == 502
        assert not other.peers


async def test_an_answer_that_breaks_off_says_what_was_held_back(front: Gate, worker: ScriptedWorker) -> None:
    async def breaks(peer: Peer, received: Received) -> None:
        text = asked_of(received)
        await peer.send(SSE_HEAD + chunk(event({"choices": [{"index": 0, "delta": {"content": text[:-1]}}]})))
        peer.close()

    worker.usual = breaks
    answer = await front.ask(request(chat("to ann@example.org", "openai", stream=True)))
    assert b"ann@example.org" in answer.body
    assert b"error" in answer.body
