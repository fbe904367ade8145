"""OpenAI's Responses on a scripted worker: what is asked of it, what the client sees, and what is kept of both."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Held,
    ScriptedWorker,
    chunk,
    delta,
    event,
    pair,
    raw,
    reply,
    request,
    stream,
    until,
)
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.schema import Limits
from rolecast.dialects import entries
from rolecast.dialects.responses_writer import Answer as Known
from rolecast.dialects.responses_writer import writer
from rolecast.errors import BadRequest, RolecastError
from rolecast.values import Done, Phases, Reasoning, Report, Text, ToolCallDelta, Usage

pytestmark = pytest.mark.anyio
PATH = "/v1/responses"
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
LENGTH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
FIELDS = {
    "background",
    "completed_at",
    "conversation",
    "created_at",
    "error",
    "frequency_penalty",
    "id",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "object",
    "output",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "status",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
}


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair() as (gate, worker):
        yield gate, worker


def asks(given: Any = "hello", **fields: Any) -> bytes:
    return request({"model": "m", "input": given, **fields}, path=PATH)


def get(path: str, method: str = "GET") -> bytes:
    return request(b"{}" if method == "POST" else None, path=f"{PATH}/{path}", method=method)


def thinks(text: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"reasoning_content": text}}]})


def calls(index: int, arguments: str, **more: Any) -> bytes:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    call = {"index": index, "function": function, **more}
    return event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})


def events(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream: each names its type twice, and the numbers leave nothing out."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        head, _, data = block.partition("\n")
        told = json.loads(data.removeprefix("data: "))
        assert head == f"event: {told['type']}"
        found.append(told)
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["type"].removeprefix("response.") for each in found]


async def answered(gate: Gate, given: Any = "hello", **fields: Any) -> dict[str, Any]:
    answer = await gate.ask(asks(given, **fields))
    assert answer.status == 200, answer.body
    return dict(answer.json)


async def refused(gate: Gate, status: int, body: bytes) -> dict[str, Any]:
    answer = await gate.ask(body)
    assert answer.status == status, answer.body
    return answer.error


# -- answers -------------------------------------------------------------------------------------------------------


async def test_a_whole_answer_has_every_field_of_the_schema_null_where_it_is_empty(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    answer = await answered(gate, metadata={"a": "b"}, temperature=0.5)
    assert set(answer) == FIELDS
    assert (answer["object"], answer["status"], answer["model"], answer["error"]) == (
        "response",
        "completed",
        "m",
        None,
    )
    assert (answer["metadata"], answer["temperature"], answer["top_p"]) == ({"a": "b"}, 0.5, 1.0)
    (item,) = answer["output"]
    assert item["content"] == [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}]
    assert answer["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }
    assert worker.requests[0].json["messages"] == [{"role": "user", "content": "hello"}]
    (row,) = await gate.rows()
    assert (row.prompt_tokens, row.completion_tokens, row.outcome) == (5, 2, "ok")


async def test_a_stream_tells_each_step_in_order_and_ends_with_the_whole_answer(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    worker.usual = stream(thinks("hm"), delta("Hel"), delta("lo"), FINISH, USAGE, DONE)
    answer = await gate.ask(asks(stream=True))
    assert answer.header("content-type") == "text/event-stream"
    found = events(answer.body)
    assert kinds(found) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    whole = found[-1]["response"]
    assert set(whole) == set(found[0]["response"]) == FIELDS
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    assert whole["output"][1]["content"][0]["text"] == "Hello"
    assert whole["usage"]["total_tokens"] == 14
    assert (await gate.ask(get(whole["id"]), method="GET")).json == whole


async def test_calls_come_in_pieces_and_keep_their_places_when_pieces_take_turns(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    ends = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    worker.usual = stream(
        delta("Let me see."),
        calls(0, "", id="a", name="weather"),
        calls(1, "", id="b", name="clock"),
        calls(0, '{"x"'),
        calls(1, "{}"),
        calls(0, ":1}"),
        ends,
        DONE,
    )
    found = events((await gate.ask(asks(stream=True, tools=[WEATHER]))).body)
    output = found[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert [(i["call_id"], i["name"], i["arguments"]) for i in output[1:]] == [
        ("a", "weather", '{"x":1}'),
        ("b", "clock", "{}"),
    ]
    for item, place in zip(output, range(3), strict=True):
        mine = [each for each in found if each.get("output_index") == place]
        assert kinds(mine)[0] == "output_item.added"
        assert mine[-1]["item"] == item
        pieces = "".join(each["delta"] for each in mine if each["type"].endswith(".delta"))
        assert pieces == (item.get("arguments") or item["content"][0]["text"])


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_that_reached_its_length_is_incomplete_and_says_why(
    both: tuple[Gate, ScriptedWorker], streaming: bool
) -> None:
    gate, worker = both
    worker.usual = stream(delta("He"), LENGTH, DONE)
    answer = await gate.ask(asks(stream=streaming, max_output_tokens=1))
    whole = events(answer.body)[-1]["response"] if streaming else answer.json
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert whole["output"][0]["status"] == "incomplete"
    assert worker.requests[0].json["max_tokens"] == 1


async def test_the_first_piece_arrives_before_the_last_is_made_and_a_client_that_leaves_ends_the_work(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    worker.usual = held = Held(delta("first"))
    async with gate.client() as client:
        await client.send(asks(stream=True))
        await client.head()
        async for piece in client.chunks():
            if b"first" in piece:
                break
        assert not held.let_go.is_set()
        client.abort()
        assert held.peer is not None
        await held.peer.gone.wait()
    await until(lambda: not gate.gateway.dispatch.active)
    assert (await gate.rows())[0].outcome == "cancelled"


async def test_a_stream_that_breaks_off_ends_with_an_error_and_the_failed_answer(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    worker.usual = raw(SSE_HEAD, chunk(delta("He")), close=True)
    found = events((await gate.ask(asks(stream=True))).body)
    assert kinds(found)[-5:] == ["error", "output_text.done", "content_part.done", "output_item.done", "failed"]
    last = found[-1]["response"]
    assert (last["status"], last["error"]["code"], set(last)) == ("failed", "server_error", FIELDS)
    assert (await gate.ask(get(last["id"]), method="GET")).status == 404


async def test_an_error_before_the_first_byte_is_a_plain_error(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.usual = reply(b'{"error":{"message":"too long","type":"invalid_request_error"}}', 400)
    assert (await refused(gate, 400, asks(stream=True)))["type"] == "invalid_request_error"
    assert (await refused(gate, 404, asks(model="nobody")))["code"] == "model_not_found"


# -- what is asked of the worker -----------------------------------------------------------------------------------


async def test_items_become_messages_and_one_turn_of_the_model_is_one_message(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Rain?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"at":"A"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "sun"}]},
    ]
    await answered(gate, items, instructions="You are kind.", tools=[WEATHER])
    sent = worker.requests[0].json["messages"]
    assert sent == [
        {"role": "system", "content": "You are kind.\n\nBe brief."},
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at":"A"}'}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        {"role": "tool", "content": "sun", "tool_call_id": "c2"},
    ]


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
        {"type": "function", "name": "f", "function": {"description": "d", "parameters": {"type": "object"}}},
    ],
)
async def test_a_tool_is_understood_flat_and_nested_and_repeated_flat(
    both: tuple[Gate, ScriptedWorker], tool: dict[str, Any]
) -> None:
    gate, worker = both
    answer = await answered(gate, tools=[tool], tool_choice={"type": "function", "name": "f"})
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert worker.requests[0].json["tools"] == [{"type": "function", "function": function}]
    assert worker.requests[0].json["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert answer["tools"] == [{"type": "function", **function, "strict": True}]


async def test_settings_reach_the_worker_by_the_names_of_its_wire(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    answer = await answered(
        gate,
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        tools=[WEATHER],
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "x", "schema": schema}},
        extra_body={"top_k": 4, "seed": 1},
        truncation="auto",
    )
    sent = worker.requests[0].json
    wanted = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "parallel_tool_calls": False, "top_k": 4, "seed": 1}
    assert {name: sent[name] for name in wanted} == wanted
    assert (sent["reasoning_effort"], sent["response_format"]["json_schema"]["schema"]) == ("low", schema)
    assert (answer["max_output_tokens"], answer["truncation"]) == (9, "disabled")


async def test_only_the_tools_that_are_allowed_are_offered(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    await answered(gate, tools=[WEATHER, {**WEATHER, "name": "clock"}], tool_choice=choice)
    sent = worker.requests[0].json
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["weather"]
    assert sent["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"truncation": "middle"}, "truncation"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "g"}, "tools": [WEATHER]}, "tool_choice.name"),
        ({"tool_choice": {"type": "mcp"}, "tools": [WEATHER]}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "item_reference", "id": "msg_abc"}]}, "input"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
    ],
)
async def test_what_cannot_be_done_is_a_clear_400(
    both: tuple[Gate, ScriptedWorker], fields: dict[str, Any], param: str
) -> None:
    gate, worker = both
    error = await refused(gate, 400, request({"model": "m", "input": "x", **fields}, path=PATH))
    assert error["param"] == param
    assert not worker.requests


# -- what is kept --------------------------------------------------------------------------------------------------


async def test_a_conversation_goes_on_from_a_kept_answer(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    first = await answered(gate, "one", instructions="Only now.")
    second = await answered(gate, "two", previous_response_id=first["id"])
    await answered(gate, [{"role": "user", "content": "three"}], previous_response_id=second["id"])
    assert second["previous_response_id"] == first["id"]
    texts = [(each["role"], each["content"]) for each in worker.requests[-1].json["messages"]]
    assert texts == [("user", "one"), ("assistant", "hi"), ("user", "two"), ("assistant", "hi"), ("user", "three")]


async def test_a_result_of_a_tool_finds_its_call_in_the_answer_before(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(stream(calls(0, "{}", id="c9", name="weather"), FINISH, DONE))
    first = await answered(gate, tools=[WEATHER])
    output = {"type": "function_call_output", "call_id": "c9", "output": "rain"}
    await answered(gate, [output], previous_response_id=first["id"], tools=[WEATHER])
    assert [each["role"] for each in worker.requests[-1].json["messages"]] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("said", [{"type": "item_reference"}, {"type": None}, {}])
async def test_an_item_that_was_kept_can_be_sent_by_its_id(
    both: tuple[Gate, ScriptedWorker], said: dict[str, Any]
) -> None:
    gate, worker = both
    first = await answered(gate, "one")
    reference = {"id": first["output"][0]["id"], **said}
    second = await answered(gate, [reference, {"role": "user", "content": "two"}])
    assert [each["content"] for each in worker.requests[-1].json["messages"]] == ["hi", "two"]
    listed = (await gate.ask(get(f"{second['id']}/input_items?order=asc"), method="GET")).json["data"]
    assert [each["type"] for each in listed] == ["message", "message"]


async def test_a_kept_answer_is_shown_listed_and_deleted(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    items = [{"role": "user", "content": str(number)} for number in range(3)]
    answer = await answered(gate, items)
    assert (await gate.ask(get(answer["id"]), method="GET")).json == answer
    page = (await gate.ask(get(f"{answer['id']}/input_items?limit=2"), method="GET")).json
    assert [each["content"][0]["text"] for each in page["data"]] == ["2", "1"]
    assert page["has_more"]
    rest = (await gate.ask(get(f"{answer['id']}/input_items?after={page['last_id']}"), method="GET")).json
    assert [each["content"][0]["text"] for each in rest["data"]] == ["0"]
    assert (await gate.ask(get(f"{answer['id']}/cancel", "POST"))).error["code"] == "not_cancellable"
    gone = await gate.ask(get(answer["id"], "DELETE"), method="DELETE")
    assert gone.json == {"id": answer["id"], "object": "response", "deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        assert (await gate.ask(get(f"{answer['id']}{path}", method), method=method)).status == 404


async def test_what_is_not_to_be_kept_is_nowhere(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    answer = await answered(gate, "secret", store=False)
    assert (await gate.ask(get(answer["id"]), method="GET")).status == 404
    error = await refused(gate, 404, asks("more", previous_response_id=answer["id"]))
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
    assert (await refused(gate, 404, asks(previous_response_id="chatcmpl-1")))["param"] == "previous_response_id"
    assert len(worker.requests) == 1


async def test_what_is_in_no_field_that_is_read_is_kept_as_it_was_sent(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    item = b'{"role":"user","content":"one","mine":[9e999,%d,%b]}' % (10**30, b"[" * 300 + b"]" * 300)
    answer = await gate.ask(request(b'{"model":"m","input":[%b]}' % item, path=PATH))
    assert answer.status == 200
    listed = await gate.ask(get(f"{answer.json['id']}/input_items"), method="GET")
    assert b"9e999" in listed.body
    await answered(gate, "two", previous_response_id=answer.json["id"])
    assert [each["content"] for each in worker.requests[-1].json["messages"]] == ["one", "hi", "two"]


@pytest.mark.parametrize("bound", ["DEEPEST", "LARGEST"])
async def test_a_conversation_without_end_is_refused(
    both: tuple[Gate, ScriptedWorker], monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    gate, _ = both
    monkeypatch.setattr(f"rolecast.turn.memory.{bound}", 1)
    first = await answered(gate, "one")
    second = await answered(gate, "two", previous_response_id=first["id"])
    error = await refused(gate, 400, asks("three", previous_response_id=second["id"]))
    assert "begin another one" in error["message"]


async def test_a_conversation_with_a_hole_is_refused(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    first = await answered(gate, "one")
    second = await answered(gate, "two", previous_response_id=first["id"])
    await gate.ask(get(first["id"], "DELETE"), method="DELETE")
    assert first["id"] in (await refused(gate, 404, asks("three", previous_response_id=second["id"])))["message"]


async def test_answers_belong_to_the_key_that_asked_for_them() -> None:
    async with pair(keys=["first", "second"]) as (gate, _):
        mine, other = ("Authorization: Bearer first\r\n", "Authorization: Bearer second\r\n")
        body = {"model": "m", "input": "hello"}
        answer = (await gate.ask(request(body, path=PATH, head=mine))).json
        path = f"{PATH}/{answer['id']}"
        for head, status in ((mine, 200), (other, 404), ("", 401)):
            assert (await gate.ask(request(path=path, method="GET", head=head), method="GET")).status == status
        body["previous_response_id"] = answer["id"]
        assert (await gate.ask(request(body, path=PATH, head=other))).status == 404
        assert (await gate.ask(request(body, path=PATH, head=mine))).status == 200


async def test_no_more_is_kept_than_there_is_room_for(
    both: tuple[Gate, ScriptedWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, _ = both
    monkeypatch.setattr("rolecast.turn.memory.KEPT", 2)
    names = [(await answered(gate, str(number)))["id"] for number in range(3)]
    await gate.gateway.memory.close()
    found = [(await gate.ask(get(name), method="GET")).status for name in names]
    assert found == [404, 200, 200]


# -- readers and writers, whatever comes ---------------------------------------------------------------------------

SAID = st.one_of(
    st.builds(Text, st.text(min_size=1)),
    st.builds(Reasoning, st.text(min_size=1)),
    st.builds(ToolCallDelta, st.integers(0, 2), st.just("c"), st.just("f"), st.text()),
)


@given(st.lists(SAID), st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
def test_a_stream_adds_up_to_the_answer_it_ends_with_and_to_the_whole_form(said: list[Any], reason: str) -> None:
    answers = []
    for streaming in (True, False):
        known = Known("0" * 32, {})
        made = writer(known, "m", stream=streaming)
        data = b"".join(made.write(each) for each in [*said, Done(reason), Report(Usage(3, 2))]) + made.end(Phases())
        answers.append(events(data)[-1]["response"] if streaming else json.loads(data))
        if streaming:
            told = events(data)
            done = [each["item"] for each in told if each["type"] == "response.output_item.done"]
            added = [each["item"]["id"] for each in told if each["type"] == "response.output_item.added"]
            assert sorted(done, key=lambda item: added.index(item["id"])) == answers[0]["output"]
            pieces = "".join(each.text for each in said if isinstance(each, Text))
            assert "".join(e["delta"] for e in told if e["type"] == "response.output_text.delta") == pieces
    same = {"created_at": 0, "completed_at": 0}
    assert {**answers[0], **same} == {**answers[1], **same}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "call_id", "output", "name", "id"])
            | st.text(max_size=4),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON, JSON)
def test_whatever_is_sent_is_read_or_refused_as_the_clients_mistake(given: Any, tools: Any, text: Any) -> None:
    read = entries(Limits())[PATH.encode()].read
    body = json.dumps({"model": "m", "input": given, "tools": tools, "text": text}).encode()
    try:
        read(body)
    except RolecastError as refusal:
        error: RolecastError | None = refusal
    else:
        error = None
    assert error is None or (isinstance(error, BadRequest) and error.message)
