"""What clients of Ollama send besides what its documentation shows: taken as Ollama takes it, or refused in words."""

import base64
import json
from typing import Any

import pytest
from gateway import pair

from rolecast.config.schema import Limits
from rolecast.dialects import entries, family
from rolecast.errors import BadRequest

CHAT = "/api/chat"
HELLO = [{"role": "user", "content": "hello"}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(80)).decode()
_read = entries(Limits())[CHAT.encode()].read


def asked(**fields: Any) -> dict[str, Any]:
    """What a worker is asked for that body."""
    chat = _read(json.dumps({"model": "m", "messages": HELLO, **fields}).encode()).chat
    assert chat is not None
    body: dict[str, Any] = json.loads(family("openai").ask(chat, usage=False)[1])
    return body


PLAIN = asked()


@pytest.mark.parametrize(
    "fields",
    [
        {"options": {}},
        {"options": None},
        {"options": {"temperature": None, "stop": None, "num_predict": -1}},
        {"options": {"num_predict": -2.0, "stop": ""}},
        {"options": {"num_predict": 0, "stop": [""]}},
        {"options": {"num_ctx": "4096", "use_mmap": None, "nobody_knows": [1]}},
        {"tools": []},
        {"tools": None},
        {"format": ""},
        {"format": None},
        {"stream": None},
        {"stream": True},
        {"think": None},
        {"keep_alive": -1},
        {"keep_alive": "5m"},
        {"keep_alive": 0},
        {"template": "{{ .Prompt }}", "raw": False, "truncate": True, "logprobs": False},
        {"messages": [{**HELLO[0], "images": None, "tool_calls": None, "thinking": None, "tool_name": ""}]},
        {"messages": [{**HELLO[0], "images": [], "tool_calls": [], "id": 7, "timestamp": 1.5}]},
    ],
)
def test_what_says_nothing_changes_nothing(fields: dict[str, Any]) -> None:
    assert asked(**fields) == PLAIN


@pytest.mark.parametrize("content", [None, ""])
def test_a_message_without_content_is_an_empty_one(content: Any) -> None:
    assert asked(messages=[{"role": "user", "content": content}])["messages"] == [{"role": "user", "content": ""}]


@pytest.mark.parametrize(
    ("option", "name"),
    [("num_predict", "max_tokens"), ("top_k", "top_k"), ("seed", "seed"), ("repeat_last_n", "repeat_last_n")],
)
@pytest.mark.parametrize(("written", "meant"), [(40, 40), (40.0, 40), (40.7, 40)])
def test_a_whole_number_may_be_written_with_a_point(option: str, name: str, written: Any, meant: int) -> None:
    sent = asked(options={option: written})[name]
    assert (sent, type(sent)) == (meant, int)


@pytest.mark.parametrize("far", [-1, -1.0, 2**31 - 1])
def test_no_penalty_looks_back_further_than_an_engine_can_hold(far: float) -> None:
    assert asked(options={"repeat_last_n": far})["repeat_last_n"] == 2**20
    assert asked(options={"repeat_last_n": 0})["repeat_last_n"] == 0


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a":1}', ' {"a": 1} '])
def test_a_history_may_have_arguments_as_a_text(arguments: Any) -> None:
    called = {"role": "assistant", "tool_calls": [{"id": None, "function": {"name": "look", "arguments": arguments}}]}
    (call,) = asked(messages=[*HELLO, called])["messages"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"a": 1}
    assert call["id"]


@pytest.mark.parametrize("arguments", [None, "", " ", {}, "{}"])
def test_a_call_in_a_history_may_have_no_arguments(arguments: Any) -> None:
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": arguments}}]}
    (call,) = asked(messages=[*HELLO, called])["messages"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {}


@pytest.mark.parametrize("function", [{"name": "look"}, {"name": "look", "parameters": None, "description": None}])
def test_a_tool_may_have_no_parameters(function: Any) -> None:
    (tool,) = asked(tools=[{"function": function}])["tools"]
    assert tool == {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "image", [PNG, "\n".join(PNG[i : i + 76] for i in range(0, len(PNG), 76)) + "\n", f"data:image/png;base64,{PNG}"]
)
def test_a_picture_is_taken_as_tools_write_base64(image: str) -> None:
    _, part = asked(messages=[{**HELLO[0], "images": [image]}])["messages"][0]["content"]
    assert part["image_url"]["url"] == f"data:image/png;base64,{PNG}"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"think": "very"}, '"high"'),
        ({"think": ""}, "`think` must be true, false"),
        ({"stream": "true"}, "`stream`"),
        ({"options": {"temperature": "0.7"}}, "`options.temperature`"),
        ({"options": {"seed": 10**30}}, "`options.seed`"),
        ({"options": {"seed": -1e30}}, "`options.seed`"),
        ({"tools": [{"function": {"name": "look", "parameters": []}}]}, "`tools[0].function.parameters`"),
        ({"messages": [{**HELLO[0], "images": ["https://x/y.png"]}]}, "`messages[0].images[0]` is not base64"),
        ({"messages": [{**HELLO[0], "images": [""]}]}, "`messages[0].images[0]` is not base64"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]},
            "`messages[0].tool_calls[0].function.arguments` must be an object",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_place(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**fields)
    assert told in refused.value.message


# -- over the wire -------------------------------------------------------------------------------------------------

BODY = json.dumps({"model": "m:latest", "messages": HELLO, "stream": False}).encode()


def written(body: bytes, head: str = "", path: str = CHAT, method: str = "POST") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.anyio
@pytest.mark.parametrize(
    "asks",
    [
        written(BODY),
        written(BODY + b"\r\n\n"),
        written(BODY, "Content-Type: text/plain\r\n"),
        written(BODY, "Content-Type: application/x-www-form-urlencoded\r\n"),
        written(BODY, "Content-Type: application/json; charset=utf-8\r\nAccept: application/x-ndjson\r\n"),
        written(BODY, path="/api/chat/"),
        written(BODY, path="//api//chat?a=b"),
    ],
)
async def test_a_chat_is_known_by_its_path_alone(asks: bytes) -> None:
    async with pair() as (gate, worker):
        answer = await gate.ask(asks)
        assert (answer.status, answer.json["message"]["content"]) == (200, "hi")
        assert (answer.json["model"], worker.requests[0].json["messages"]) == ("m:latest", HELLO)


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_another_method_is_the_clients_mistake(method: str) -> None:
    async with pair() as (gate, worker):
        answer = await gate.ask(written(b"", method=method))
        assert answer.status == 405
        assert answer.header("allow") == "POST"
        assert not worker.requests
