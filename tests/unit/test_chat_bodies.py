"""Messages and tools of a chat: what is refused with its place, and what a request turns out to need."""

import json
from typing import Any

import msgspec
import pytest

from rolecast.backends.llamacpp import LlamaCpp
from rolecast.backends.remote import OpenAIRemote
from rolecast.config.schema import Limits, Model
from rolecast.decision import Choice
from rolecast.dialects import entries
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest
from rolecast.telemetry.metrics import ModelStats
from rolecast.turn.plan import Plan

READ = entries(Limits())[b"/v1/chat/completions"].read
USER = {"role": "user", "content": "hi"}
SECRET = "SECRET"


def tool(name: str = "look") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def read(*messages: Any, **fields: Any) -> Request:
    return READ(json.dumps({"model": "m", "messages": messages or [USER], **fields}).encode())


def asks(**call: Any) -> dict[str, Any]:
    """The answer of an assistant in the history, with one call."""
    whole = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}, **call}
    return {"role": "assistant", "content": None, "tool_calls": [{k: v for k, v in whole.items() if v is not None}]}


def parts(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("tools[0].type", {"tools": [{"name": "read_file"}]}),
    ("tools[0].type", {"tools": [{"function": {"name": "look"}}]}),
    ("tools[1].type", {"tools": [tool(), {"name": SECRET}]}),
    ("tools[0].type", {"tools": [{"type": None, "function": {"name": SECRET}}]}),
    ("tools[0].function", {"tools": [{"type": "function", "name": SECRET}]}),
    ("tools[0].function", {"tools": [{"type": "function", "function": SECRET}]}),
    ("tools[0].function.name", {"tools": [{"type": "function", "function": {"description": SECRET}}]}),
    ("tools[0].function.name", {"tools": [{"type": "function", "function": {"name": ""}}]}),
    ("tools[0].function.parameters", {"tools": [{"type": "function", "function": {"name": "x", "parameters": []}}]}),
    ("tools[0]", {"tools": [SECRET]}),
    ("tools", {"tools": {"name": SECRET}}),
    ("tools", {"tools": SECRET}),
    ("tool_choice", {"tools": [tool()], "tool_choice": 5}),
    ("tool_choice", {"tools": [tool()], "tool_choice": [SECRET]}),
    ("tool_choice.type", {"tools": [tool()], "tool_choice": {"function": {"name": "look"}}}),
    ("tool_choice", {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": SECRET}}}),
    ("tool_choice", {"tool_choice": "required"}),
    ("tool_choice", {"tools": [], "tool_choice": "required"}),
    ("tool_choice", {"tools": None, "tool_choice": {"type": "function", "function": {"name": SECRET}}}),
    ("messages[0].role", {"messages": [{"content": SECRET}]}),
    ("messages[1].role", {"messages": [USER, {"role": 5, "content": SECRET}]}),
    ("messages[0].role", {"messages": [{"role": "", "content": SECRET}]}),
    ("messages[0].role", {"messages": [{"role": SECRET * 11}]}),
    ("messages[1]", {"messages": [USER, SECRET]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": 5}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": True}]}),
    ("messages[1].content", {"messages": [USER, {"role": "assistant", "content": {"text": SECRET}}]}),
    ("messages[0].content[0]", {"messages": [parts(SECRET)]}),
    ("messages[0].content[0].type", {"messages": [parts({"text": SECRET})]}),
    ("messages[0].content[1].type", {"messages": [parts({"type": "text", "text": "a"}, {"type": 5})]}),
    ("messages[0].content[0].text", {"messages": [parts({"type": "text"})]}),
    ("messages[0].content[0].text", {"messages": [parts({"type": "text", "text": None})]}),
    ("messages[0].content[0].text", {"messages": [parts({"type": "text", "text": [SECRET]})]}),
    ("messages[1].tool_calls[0].type", {"messages": [USER, asks(type=None)]}),
    ("messages[1].tool_calls[0].type", {"messages": [USER, asks(type=[SECRET])]}),
    ("messages[1].tool_calls[0].function", {"messages": [USER, asks(function=None)]}),
    ("messages[1].tool_calls[0].function", {"messages": [USER, asks(function=SECRET)]}),
    ("messages[1].tool_calls[0].function.name", {"messages": [USER, asks(function={"arguments": SECRET})]}),
    ("messages[1].tool_calls[0].function.arguments", {"messages": [USER, asks(function={"name": SECRET})]}),
    (
        "messages[1].tool_calls[0].function.arguments",
        {"messages": [USER, asks(function={"name": "x", "arguments": 1})]},
    ),
    ("messages[1].tool_calls[0]", {"messages": [USER, {"role": "assistant", "tool_calls": [SECRET]}]}),
    ("messages[1].tool_calls", {"messages": [USER, {"role": "assistant", "tool_calls": {"id": SECRET}}]}),
    ("messages[2].tool_call_id", {"messages": [USER, asks(), {"role": "tool", "content": SECRET}]}),
    ("messages[2].tool_call_id", {"messages": [USER, asks(), {"role": "tool", "tool_call_id": 5, "content": "x"}]}),
]


@pytest.mark.parametrize(("place", "fields"), MALFORMED, ids=lambda x: str(x)[:60])
@pytest.mark.parametrize("nested", [False, True])
def test_a_malformed_history_or_tool_is_a_mistake_with_its_place(
    place: str, fields: dict[str, Any], nested: bool
) -> None:
    body = {"messages": [USER], **fields}
    if nested and "messages" not in fields:
        body = {"messages": [USER], "extra_body": fields}
    with pytest.raises(BadRequest) as caught:
        READ(json.dumps(body).encode())
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "invalid_value", place)
    assert error.message.startswith(f"`{place}` ")
    assert SECRET not in error.message


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [tool() | {"name": "look"}]},
        {"tools": [{"type": "function", "name": "x", "function": {"name": "look"}}]},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": None, "strict": True}}]},
        {"tools": [{"type": "web_search", "filters": {}}, {"type": "custom", "custom": {"name": "x"}}]},
        {"tools": []},
        {"tools": None, "tool_choice": None},
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"messages": [USER, asks(id=None, index=0), {"role": "tool", "tool_call_id": "c1", "content": "1"}]},
        {"messages": [USER, asks(function={"name": "look", "arguments": {"a": 1}})]},
        {"messages": [USER, asks(type="custom", function=None, custom={"name": "x", "input": "y"})]},
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": None}]},
        {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": []}]},
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": ""}]}, parts()]},
        {"messages": [{"role": "function", "name": "look", "content": "1"}]},
    ],
    ids=lambda x: str(x)[:60],
)
def test_what_clients_send_and_engines_take_is_let_through(fields: dict[str, Any]) -> None:
    body = json.dumps({"messages": [USER], **fields}).encode()
    request = READ(body)
    assert (request.body, request.needs) == (body, frozenset())


@pytest.mark.parametrize(
    ("content", "needs"),
    [
        ([IMAGE], {"vision"}),
        ([{"type": "text", "text": "what is it?"}, IMAGE, IMAGE], {"vision"}),
        ([{"type": "image_url", "image_url": "https://x/y.png"}], {"vision"}),
        ([{"type": "input_image", "image_url": "https://x/y.png"}], {"vision"}),
        ([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}], {"audio"}),
        ([{"type": "video_url", "video_url": {"url": "x"}}], {"video"}),
        ([{"type": "file", "file": {"file_id": "x"}}, IMAGE], {"files", "vision"}),
        ([{"type": "text", "text": '{"type":"image_url"}'}], set()),
        ('[{"type":"image_url","image_url":{"url":"x"}}]', set()),
        ("what does image_url mean, and input_audio?", set()),
        ([{"type": "refusal", "refusal": "no"}], set()),
        ("", set()),
        (None, set()),
    ],
)
@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_a_request_needs_what_its_parts_are_and_not_what_its_texts_say(
    content: Any, needs: set[str], role: str
) -> None:
    assert read(USER, {"role": role, "content": content}).needs == needs


def test_white_space_and_escapes_hide_no_part() -> None:
    body = b'{ "messages" : [ {"role":"user" , "content"\n:\t [ {"type" : "image\\u005furl"} ] } ] }'
    assert READ(body).needs == {"vision"}


@pytest.mark.parametrize(
    ("choice", "needs", "prefers"),
    [
        ("required", {"tools"}, set()),
        ("any", {"tools"}, set()),
        ({"type": "function", "function": {"name": "look"}}, {"tools"}, set()),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, {"tools"}, set()),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, set(), {"tools"}),
        ("auto", set(), {"tools"}),
        (None, set(), {"tools"}),
        ("none", set(), set()),
    ],
)
def test_a_forced_call_is_a_need_and_a_free_one_a_wish(choice: Any, needs: set[str], prefers: set[str]) -> None:
    request = read(tools=[tool()], tool_choice=choice)
    assert (request.needs, request.prefers) == (needs, prefers)


# -- a choice of tools in words ------------------------------------------------------------------------------------


def sent(request: Request, backend: Any) -> dict[str, Any]:
    plan = Plan("m", Choice("m"), "m", "m", Model(), backend, ModelStats())
    return dict(msgspec.json.decode(plan.body(request)))


@pytest.mark.parametrize(
    ("choice", "word", "names"),
    [
        ({"type": "function", "function": {"name": "b"}}, "required", ["b"]),
        ("any", "required", ["a", "b", "c"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": n}} for n in "ac"],
                },
            },
            "required",
            ["a", "c"],
        ),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "c"}}]},
            },
            "auto",
            ["c"],
        ),
    ],
)
def test_an_engine_that_takes_a_word_only_gets_the_tools_that_are_meant(
    choice: Any, word: str, names: list[str]
) -> None:
    tools = [tool(name) for name in "abc"]
    request = read(tools=tools, tool_choice=choice)
    told = sent(request, LlamaCpp())
    assert told["tool_choice"] == word
    assert told["tools"] == [t for t in tools if t["function"]["name"] in names]
    assert sent(request, OpenAIRemote()) == msgspec.json.decode(request.body)


@pytest.mark.parametrize("choice", ["auto", "none", "required", None])
def test_a_word_stays_as_it_is(choice: Any) -> None:
    request = read(tools=[tool()], tool_choice=choice)
    assert sent(request, LlamaCpp()) == msgspec.json.decode(request.body)
    assert not request.edit
