"""Thoughts and calls that a server leaves in the text reach each client in the fields of its dialect."""

import asyncio
import json
from typing import Any

import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Answer,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chat,
    chunk,
    delta,
    event,
    message,
    pair,
    raw,
    reply,
    request,
    stream,
)

from rolecast import backends
from rolecast.config.schema import Model
from rolecast.values import Caller, Chat, Done, Message, Reasoning, Report, Text, Tool, ToolCallDelta

pytestmark = pytest.mark.anyio
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
CALL = '<tool_call>{"name":"weather","arguments":{"city":"Bern"}}</tool_call>'
WRITTEN = f"<think>Hm.</think>\n\nLet me see.\n{CALL}"
STOP = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})


def whole(text: str, **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    used = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return json.dumps({"id": "own", "choices": [choice], "usage": used, "kept": [1], **more}).encode()


def cut(text: str, size: int = 3) -> list[bytes]:
    return [delta(text[i : i + size]) for i in range(0, len(text), size)]


async def ask(gate: Gate, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
    return await gate.ask(request(chat(**fields), path=path))


def chunks(answer: Answer) -> list[dict[str, Any]]:
    assert answer.body.endswith(DONE)
    return [json.loads(line[6:]) for line in answer.body.split(b"\n\n") if line and line != DONE.strip()]


def deltas(answer: Answer, name: str) -> list[Any]:
    found = [choice["delta"].get(name) for each in chunks(answer) for choice in each["choices"]]
    return [each for each in found if each]


# -- OpenAI on OpenAI -------------------------------------------------------------------------------------------


async def test_a_stream_gives_thoughts_and_calls_in_their_fields() -> None:
    async with pair() as (gate, worker):
        worker.script.append(stream(*cut(WRITTEN), STOP, USAGE, DONE))
        answer = await ask(gate, stream=True, tools=TOOLS)
        assert "".join(deltas(answer, "reasoning_content")) == "Hm."
        assert "".join(deltas(answer, "content")) == "Let me see.\n"
        ((call,),) = deltas(answer, "tool_calls")
        assert call["id"].startswith("call_")
        assert (call["index"], call["type"]) == (0, "function")
        assert call["function"] == {"name": "weather", "arguments": '{"city":"Bern"}'}
        ends = [choice.get("finish_reason") for each in chunks(answer) for choice in each["choices"]]
        assert ends[-1] == "tool_calls"
        assert set(ends[:-1]) == {None}
        (row,) = await gate.rows()
        assert (row.outcome, row.prompt_tokens, row.completion_tokens) == ("ok", 11, 3)


async def test_a_plain_answer_gives_them_too_and_keeps_all_else() -> None:
    async with pair() as (gate, worker):
        worker.script.append(reply(whole(WRITTEN)))
        answer = (await ask(gate, tools=TOOLS)).json
        (choice,) = answer["choices"]
        assert (answer["id"], answer["kept"], choice["finish_reason"]) == ("own", [1], "tool_calls")
        assert choice["message"]["content"] == "Let me see."
        assert choice["message"]["reasoning_content"] == "Hm."
        assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Bern"}


async def test_what_holds_no_mark_keeps_its_bytes() -> None:
    odd = b'data: {"choices" : [{"index":0,"delta":{"content":"a < b \\u00e9"},"logprobs":{"x":1}}],"own":7}\r\n\r\n'
    async with pair() as (gate, worker):
        for events in ([delta("hi"), odd, b": ping\n\n", delta(" there"), STOP, USAGE, DONE], [odd, odd, DONE]):
            worker.script.append(stream(*events))
            answer = await ask(gate, stream=True, stream_options={"include_usage": True})
            assert answer.body == b"".join(events)
        body = whole("a < b and `<think>`")
        worker.script.append(reply(body))
        assert (await ask(gate)).body == body


async def test_each_of_several_answers_is_parted_and_its_other_fields_are_kept() -> None:
    events = [
        event({"id": "x", "choices": [{"index": i, "delta": {"content": text}, "logprobs": {"content": [i]}}]})
        for i, text in ((0, "<think>a"), (1, "plain"), (0, "</think>b"), (1, " <think>c"))
    ]
    async with pair() as (gate, worker):
        worker.script.append(stream(*events, DONE))
        answer = await ask(gate, stream=True, n=2, logprobs=True)
        found: dict[int, dict[str, str]] = {0: {}, 1: {}}
        for each in chunks(answer):
            assert each["id"] == "x"
            for choice in each["choices"]:
                for name, text in choice["delta"].items():
                    found[choice["index"]][name] = found[choice["index"]].get(name, "") + text
        assert found[0] == {"reasoning_content": "a", "content": "b"}
        assert found[1] == {"reasoning_content": "c", "content": "plain "}
        assert b'"logprobs":{"content":[0]}' in answer.body


async def test_calls_are_only_read_where_tools_were_offered() -> None:
    async with pair() as (gate, worker):
        for fields in ({}, {"tools": TOOLS, "tool_choice": "none"}):
            worker.script.append(reply(whole(CALL)))
            assert (await ask(gate, **fields)).body == whole(CALL)


async def test_a_text_is_passed_on_before_the_next_one_comes() -> None:
    """The worker waits until the client has what it sent."""
    got = asyncio.Event()

    async def script(peer: Peer, _: Received) -> None:
        await peer.send(SSE_HEAD + chunk(delta("<think>Hm")))
        await got.wait()
        got.clear()
        await peer.send(chunk(delta(".</think>Hi <")))
        await got.wait()
        await peer.send(chunk(delta("3")) + chunk(STOP) + chunk(DONE) + b"0\r\n\r\n")

    async with pair() as (gate, worker), gate.client() as client:
        worker.script.append(script)
        await client.send(request(chat(stream=True)))
        await client.head()
        body = b""
        async for piece in client.chunks():
            body += piece
            if (b'"reasoning_content":"Hm"' in body and b'"content"' not in body) or (
                b'"content":"Hi "' in body and b"<3" not in body
            ):
                got.set()
        assert b'"reasoning_content":"."' in body
        assert b'"content":"<3"' in body


async def test_what_is_held_back_comes_when_the_stream_breaks_off() -> None:
    async with pair() as (gate, worker):
        worker.script.append(raw(SSE_HEAD, chunk(delta("one")), chunk(delta(" two <thi")), close=True))
        answer = await ask(gate, stream=True)
        assert "".join(deltas(answer, "content") if b"error" not in answer.body else _texts(answer)) == "one two <thi"
        assert b'"code":"worker_lost"' in answer.body


def _texts(answer: Answer) -> list[str]:
    found = [json.loads(line[6:]) for line in answer.body.split(b"\n\n") if line.startswith(b"data: {")]
    return [each["choices"][0]["delta"]["content"] for each in found if "choices" in each]


@pytest.mark.parametrize(
    ("model", "parted"),
    [
        ({"markup": "pass"}, False),
        ({"markup": "read"}, True),
        ({}, True),
    ],
)
async def test_the_setting_decides(model: dict[str, Any], parted: bool) -> None:
    async with pair(model=model) as (gate, worker):
        worker.script.append(reply(whole("<think>Hm.</think>Hi")))
        said = (await ask(gate)).json["choices"][0]["message"]
        assert (said.get("reasoning_content"), said["content"]) == (
            ("Hm.", "Hi") if parted else (None, "<think>Hm.</think>Hi")
        )


async def test_an_opened_model_begins_with_thoughts_unless_they_are_off() -> None:
    async with pair(model={"markup": "opened"}) as (gate, worker):
        for fields, thoughts in (({}, "Hm."), ({"chat_template_kwargs": {"enable_thinking": False}}, "")):
            text = "Hm.</think>Hi" if thoughts else "Hi"
            worker.script.append(stream(*cut(text), STOP, DONE))
            answer = await ask(gate, stream=True, **fields)
            assert ("".join(deltas(answer, "reasoning_content")), "".join(deltas(answer, "content"))) == (
                thoughts,
                "Hi",
            )


async def test_a_server_that_parts_by_itself_is_believed() -> None:
    async with pair(model={"markup": "opened"}) as (gate, worker):
        thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]})
        events = [thought, delta("Hi"), STOP, DONE]
        worker.script.append(stream(*events))
        assert (await ask(gate, stream=True)).body == b"".join(events)


async def test_a_packed_answer_and_an_error_pass(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (gate, worker):
        worker.script.append(raw(message(b"\x1f\x8b<think>", head=b"Content-Encoding: gzip\r\n")))
        assert (await ask(gate)).body == b"\x1f\x8b<think>"
        worker.script += [reply(b'{"error":{"message":"<think> is no parameter"}}', 400)]
        assert (await ask(gate)).error["message"] == "<think> is no parameter"


# -- others -----------------------------------------------------------------------------------------------------


async def _answer(gate: Gate, worker: ScriptedWorker, *, path: str, streamed: bool, **fields: Any) -> Any:
    worker.script.append(stream(*cut(WRITTEN), STOP, USAGE, DONE) if streamed else reply(whole(WRITTEN)))
    answer = await gate.ask(request(chat(stream=streamed, **fields), path=path))
    assert answer.status == 200, answer.body
    return answer


@pytest.mark.parametrize("streamed", [True, False])
async def test_ollamas_clients_get_thinking_and_calls(streamed: bool) -> None:
    async with pair() as (gate, worker):
        answer = await _answer(gate, worker, path="/api/chat", streamed=streamed, tools=TOOLS)
        said = [json.loads(line)["message"] for line in answer.body.splitlines()]
        assert "".join(each.get("thinking", "") for each in said) == "Hm."
        assert "".join(each.get("content", "") for each in said).strip() == "Let me see."
        ((call,),) = [each["tool_calls"] for each in said if "tool_calls" in each]
        assert call["function"]["arguments"] == {"city": "Bern"}


@pytest.mark.parametrize("streamed", [True, False])
async def test_anthropics_clients_get_blocks(streamed: bool) -> None:
    tools = [{"name": "weather", "input_schema": PARAMETERS}]
    async with pair() as (gate, worker):
        answer = await _answer(gate, worker, path="/v1/messages", streamed=streamed, max_tokens=99, tools=tools)
        if not streamed:
            kinds = [block["type"] for block in answer.json["content"]]
            assert (kinds, answer.json["stop_reason"]) == (["thinking", "text", "tool_use"], "tool_use")
            assert answer.json["content"][2]["input"] == {"city": "Bern"}
            return
        told = [json.loads(line[6:]) for line in answer.body.splitlines() if line.startswith(b"data: ")]
        begun = [each["content_block"]["type"] for each in told if each["type"] == "content_block_start"]
        assert begun == ["thinking", "text", "tool_use"]
        assert [e["delta"].get("stop_reason") for e in told if e["type"] == "message_delta"] == ["tool_use"]


@pytest.mark.parametrize("streamed", [True, False])
async def test_clients_of_responses_get_items(streamed: bool) -> None:
    tools = [{"type": "function", "name": "weather", "parameters": PARAMETERS}]
    async with pair() as (gate, worker):
        worker.script.append(stream(*cut(WRITTEN), STOP, USAGE, DONE) if streamed else reply(whole(WRITTEN)))
        body = {"model": "m", "input": "hi", "tools": tools, "stream": streamed, "store": False}
        answer = await gate.ask(request(body, path="/v1/responses"))
        said = answer.json if not streamed else _completed(answer)
        assert [item["type"] for item in said["output"]] == ["reasoning", "message", "function_call"]


def _completed(answer: Answer) -> Any:
    told = [json.loads(line[6:]) for line in answer.body.splitlines() if line.startswith(b"data: ")]
    return next(each["response"] for each in told if each["type"] == "response.completed")


async def test_answers_in_process_are_parted() -> None:
    async with pair() as (gate, worker):
        worker.script.append(stream(*cut(WRITTEN, 400), STOP, USAGE, DONE))
        asked = Chat("m", (Message("user", "hi"),), tools=(Tool("weather"),))
        events = [each async for each in gate.gateway.asker.ask(asked, Caller())]
        assert [type(each) for each in events] == [Reasoning, Text, ToolCallDelta, Done, Report]
        assert events[3] == Done("tool_calls")


def test_only_servers_that_promise_nothing_are_read() -> None:
    told = [
        (Model(backend="llamacpp"), True),
        (Model(backend="llamacpp", binary="llama-server"), True),
        (Model(backend="command", command="serve {port}"), False),
        (Model(backend="openai", url="http://127.0.0.1:8080/v1"), False),
        (Model(backend="openai", url="unix:/run/x.sock"), False),
        (Model(backend="openai", url="https://api.example.com/v1"), True),
        (Model(backend="anthropic", url="http://127.0.0.1:8080/v1"), True),
    ]
    for model, apart in told:
        assert backends.get(model.backend).tells_apart(model) is apart
