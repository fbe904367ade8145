"""Tools as agents such as Codex offer them by Responses: what the model is told of them, and what its calls become."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateway import DONE, SSE_HEAD, Gate, ScriptedWorker, chunk, event, pair, raw, request
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from rolecast.dialects.responses_tools import free_text

pytestmark = pytest.mark.anyio
SHELL = {"type": "function", "name": "exec_command", "parameters": {"type": "object"}}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Changes files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"},
}
SEARCH = {"type": "function", "name": "search", "parameters": {"type": "object"}}
DOCS = {"type": "namespace", "name": "mcp__docs__", "description": "Documents.", "tools": [SEARCH]}
HOSTED = [{"type": "web_search", "external_web_access": False}, {"type": "image_generation"}]
PATCHED = '*** Begin Patch\n*** Add File: ä\n+"x"\n*** End Patch'
LIKE_OPENAI = TypeAdapter(ResponseStreamEvent)


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair() as (gate, worker):
        yield gate, worker


def asks(given: Any = "hello", **fields: Any) -> bytes:
    return request({"model": "m", "input": given, **fields}, path="/v1/responses")


def calls(name: str, *arguments: str) -> bytes:
    """A worker's stream that calls this."""
    first = {"index": 0, "id": "c1", "function": {"name": name, "arguments": ""}}
    more = [{"index": 0, "function": {"arguments": each}} for each in arguments]
    deltas = [event({"choices": [{"index": 0, "delta": {"tool_calls": [each]}}]}) for each in (first, *more)]
    end = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    return SSE_HEAD + chunk(b"".join(deltas) + end + DONE) + b"0\r\n\r\n"


async def called(gate: Gate, worker: ScriptedWorker, name: str, *arguments: str, **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream in which the model calls this; each is one that OpenAI's own client knows."""
    worker.script.append(raw(calls(name, *arguments)))
    answer = await gate.ask(asks(stream=True, **fields))
    assert answer.status == 200, answer.body
    found = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    for each in found:
        LIKE_OPENAI.validate_python(each)
    return found


def item_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The call, equal in both places that tell of it whole."""
    (done,) = [each["item"] for each in found if each["type"] == "response.output_item.done"]
    assert found[-1]["type"] == "response.completed"
    assert found[-1]["response"]["output"] == [done]
    return {name: value for name, value in done.items() if name not in ("id", "status")}


async def test_an_agents_tools_are_offered_and_what_only_openai_runs_is_left_out(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    answer = await gate.ask(asks(tools=[SHELL, PATCH, DOCS, *HOSTED], tool_choice="auto"))
    assert answer.status == 200, answer.body
    told = {each["function"]["name"]: each["function"] for each in worker.requests[-1].json["tools"]}
    assert list(told) == ["exec_command", "apply_patch", "mcp__docs__search"]
    assert told["apply_patch"]["parameters"]["required"] == ["input"]
    assert "start: begin_patch" in told["apply_patch"]["description"]
    repeated = answer.json["tools"]
    assert [each["type"] for each in repeated] == ["function", "custom", "namespace"]
    assert repeated[1]["format"] == PATCH["format"]
    assert repeated[2]["tools"][0]["name"] == "search"


async def test_a_schema_says_that_it_is_an_objects(both: tuple[Gate, ScriptedWorker]) -> None:
    """Servers refuse one that does not, and MCP servers leave it out; an open object stays open."""
    gate, worker = both
    first = {"type": "function", "name": "a", "parameters": {"properties": {"x": {}}}}
    tools = [first, {"type": "function", "name": "b"}]
    answer = await gate.ask(asks(tools=tools))
    assert answer.status == 200, answer.body
    schemas = [each["function"]["parameters"] for each in worker.requests[-1].json["tools"]]
    assert schemas == [{"type": "object", "properties": {"x": {}}}, {"type": "object"}]


async def test_tools_that_come_among_the_items_are_offered_too(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    brought = {"type": "additional_tools", "role": "developer", "tools": [DOCS, PATCH]}
    found = await called(gate, worker, "mcp__docs__search", "{}", given=[brought, {"role": "user", "content": "x"}])
    assert [each["function"]["name"] for each in worker.requests[-1].json["tools"]] == [
        "mcp__docs__search",
        "apply_patch",
    ]
    assert [each["role"] for each in worker.requests[-1].json["messages"]] == ["user"]
    assert item_of(found)["namespace"] == "mcp__docs__"


async def test_a_call_within_a_namespace_comes_back_under_both_names(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    found = await called(gate, worker, "mcp__docs__search", '{"q":', "1}", tools=[SHELL, DOCS])
    expected = {"type": "function_call", "call_id": "c1", "name": "search", "namespace": "mcp__docs__"}
    assert item_of(found) == {**expected, "arguments": '{"q":1}'}
    (added,) = [each["item"] for each in found if each["type"] == "response.output_item.added"]
    assert (added["name"], added["namespace"]) == ("search", "mcp__docs__")


async def test_a_call_of_a_custom_tool_is_its_text(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    arguments = json.dumps({"input": PATCHED})
    found = await called(gate, worker, "apply_patch", arguments[:9], arguments[9:], tools=[SHELL, PATCH])
    assert item_of(found) == {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": PATCHED}
    deltas = [each["delta"] for each in found if each["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == PATCHED
    assert not [each for each in found if "function_call" in each["type"]]


async def test_a_call_without_arguments_has_an_empty_object(both: tuple[Gate, ScriptedWorker]) -> None:
    """Agents parse it."""
    gate, worker = both
    found = await called(gate, worker, "exec_command", tools=[SHELL])
    assert item_of(found)["arguments"] == "{}"
    assert "".join(each["delta"] for each in found if each["type"].endswith("arguments.delta")) == "{}"


async def test_a_history_of_such_calls_reads_as_the_model_made_them_and_results_stay_behind_them(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    items = [
        {"role": "user", "content": "go"},
        {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": PATCHED},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []},
        {"type": "function_call", "call_id": "c2", "namespace": "mcp__docs__", "name": "search", "arguments": "{}"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"role": "user", "content": "hurry"},
        {"type": "function_call_output", "call_id": "c2", "output": "found"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done!"},
    ]
    answer = await gate.ask(asks(items, tools=[PATCH, DOCS]))
    assert answer.status == 200, answer.body
    user, turn, second, first, last = worker.requests[-1].json["messages"]
    assert [each["function"]["name"] for each in turn["tool_calls"]] == ["apply_patch", "mcp__docs__search"]
    assert json.loads(turn["tool_calls"][0]["function"]["arguments"]) == {"input": PATCHED}
    assert (turn["content"], turn["reasoning_content"]) == ("I look.", "hm")
    assert [(each["role"], each.get("tool_call_id")) for each in (second, first)] == [("tool", "c2"), ("tool", "c1")]
    assert (user["content"], last["content"]) == ("go", "hurry")


async def test_a_kept_call_is_gone_on_from(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    found = await called(gate, worker, "apply_patch", json.dumps({"input": "x"}), tools=[PATCH])
    output = {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done!"}
    answer = await gate.ask(asks([output], previous_response_id=found[-1]["response"]["id"], tools=[PATCH]))
    assert answer.status == 200, answer.body
    assert [each["role"] for each in worker.requests[-1].json["messages"]] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({"type": "custom", "name": "apply_patch"}, "apply_patch"),
        ({"type": "function", "name": "search", "namespace": "mcp__docs__"}, "mcp__docs__search"),
    ],
)
async def test_one_of_them_can_be_demanded(both: tuple[Gate, ScriptedWorker], chosen: Any, name: str) -> None:
    gate, worker = both
    answer = await gate.ask(asks(tools=[PATCH, DOCS], tool_choice=chosen))
    assert answer.status == 200, answer.body
    assert worker.requests[-1].json["tool_choice"] == {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"tools": HOSTED}, "tools[0].type"),
        ({"tools": [SHELL, {"type": "mcp", "server_url": "https://x"}]}, "tools[1].type"),
        ({"tools": [{"type": "namespace", "tools": [SEARCH]}]}, "tools[0]"),
        ({"tools": [{"type": "namespace", "name": "a", "tools": [DOCS]}]}, "tools[0].tools[0].type"),
        ({"tools": [DOCS, {**SEARCH, "name": "mcp__docs__search"}]}, "tools"),
        ({"tools": [SHELL, *HOSTED], "tool_choice": {"type": "web_search"}}, "tool_choice"),
    ],
)
async def test_what_cannot_be_offered_is_a_clear_400(
    both: tuple[Gate, ScriptedWorker], fields: Any, place: str
) -> None:
    gate, worker = both
    answer = await gate.ask(asks(**fields))
    assert (answer.status, answer.error["param"]) == (400, place), answer.body
    assert not worker.requests


@given(st.text())
def test_a_text_survives_the_way_through_arguments(text: str) -> None:
    assert free_text(json.dumps({"input": text})) == text
    assert free_text(json.dumps({"patch": text})) == text
    assert free_text(json.dumps(text)) == text


@pytest.mark.parametrize("given", ["*** Begin", '{"a":"x","b":"y"}', '{"input":5}', "[1]", "", "{"])
def test_arguments_of_another_form_are_told_as_they_are(given: str) -> None:
    assert free_text(given) == given
