"""The whole answers of the built-in engine, which the gateway gathers of streams, are those of the engine itself.

The engine is real and asked twice: through the gateway, and at its own socket for a whole answer. Its weights are
random, with the template of a model that thinks and calls tools, and a bias makes it do so.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
import tiny_gguf
from gateway import CHAT, Gate, config, request, running_gateway, short_folder

from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio
COMPLETION = "/v1/completions"
ASKED = [{"role": "user", "content": "Say hi and count to three."}]
TEMPLATE = r"""{%- if tools %}
    {{- '<|im_start|>system\n# Tools\n<tools>' }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- '\n</tools>\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>' }}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role != "assistant" %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- else %}
        {%- set content = message.content if message.content is string else '' %}
        {%- set thoughts = message.reasoning_content if message.reasoning_content is string else '' %}
        {{- '<|im_start|>assistant\n' }}
        {%- if thoughts %}{{- '<think>\n' + thoughts.strip('\n') + '\n</think>\n\n' }}{%- endif %}
        {{- content }}
        {%- for tool_call in message.tool_calls or [] %}
            {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
            {%- set tool_call = tool_call.function or tool_call %}
            {{- '<tool_call>\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
            {%- if tool_call.arguments is string %}
                {{- tool_call.arguments }}
            {%- else %}
                {{- tool_call.arguments | tojson }}
            {%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "'
"""A phrase that the bias makes the model say; the grammar of its tools demands the rest."""


def tool(name: str, field: str, *values: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {field: {"enum": values}}, "required": [field]}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [tool("weather", "city", "Paris", "Rome"), tool("clock", "zone", "a", "b")]
ITEMS = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 5, "maxItems": 5}
SCHEMA = {"type": "object", "properties": {"n": ITEMS}, "required": ["n"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
THOUGHTS = 'root ::= "<think>\\nwhy \U0001f98a not\\n</think>\\n\\nso be it "'


class Engine(NamedTuple):
    """The gateway, and a client of the socket of its engine."""

    gate: Gate
    http: httpx2.AsyncClient


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    weights = tiny_gguf.write(tmp_path_factory.mktemp("w") / "t.gguf", context=2048, template=TEMPLATE, phrases=[CALL])
    capabilities = ["chat", "completion"]
    model = Model(source=f"file:{weights}", context=2048, parallel=4, threads=1, capabilities=capabilities)
    with short_folder() as folder:
        async with running_gateway(config({"m": model}), Path(folder)) as gate:
            assert (await gate.ask(request({"model": "m", "messages": ASKED, "max_tokens": 1}))).status == 200
            pool = gate.gateway.fleet.stations.pool("m")
            assert pool is not None
            transport = httpx2.AsyncHTTPTransport(
                uds=pool.endpoint.uds, limits=httpx2.Limits(max_keepalive_connections=0)
            )
            async with httpx2.AsyncClient(transport=transport, base_url="http://worker", timeout=60) as http:
                yield Engine(gate, http)


def lasting(answer: Any) -> Any:
    """What of an answer is the same each time it is given."""
    calls = [call for choice in answer["choices"] for call in choice.get("message", {}).get("tool_calls") or ()]
    assert all(call.pop("id") for call in calls)
    assert answer.pop("id")
    assert answer.pop("created")
    assert set(answer.pop("timings")) >= {"cache_n", "prompt_n", "prompt_ms", "predicted_n", "predicted_ms"}
    return answer


async def both(engine: Engine, path: str, fields: dict[str, Any]) -> tuple[Any, Any]:
    """The answer of the gateway and that of the engine to the same body."""
    body = {"model": "m", "seed": 1, "temperature": 0, "cache_prompt": False, **fields}
    ours, own = await engine.gate.ask(request(body, path=path)), await engine.http.post(path, json=body)
    assert (ours.status, own.status_code) == (200, 200), (ours.body, own.text)
    assert ours.header("content-type") == own.headers["content-type"]
    return lasting(ours.json), lasting(own.json())


CALLING = {"tools": TOOLS, "logit_bias": [[tiny_gguf.FIRST_MARK, 60]]}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"max_tokens": 12}),
        (CHAT, {"max_tokens": 300, "stream": False}),
        (CHAT, {"max_tokens": 0}),
        (CHAT, {"max_tokens": 90, "response_format": FORMAT}),
        (CHAT, {"max_tokens": 90, "grammar": THOUGHTS}),
        (CHAT, {"max_tokens": 14, "grammar": THOUGHTS}),
        (CHAT, {"max_tokens": 90, "grammar": THOUGHTS, "reasoning_format": "none"}),
        (CHAT, {"max_tokens": 4, "timings_per_token": True, "return_progress": True, "return_tokens": True}),
        (CHAT, {"max_tokens": 9, "logit_bias": [[2, 100]]}),
        (CHAT, {"max_tokens": 200, "tool_choice": "required", **CALLING}),
        (CHAT, {"max_tokens": 200, "tool_choice": "auto", "parallel_tool_calls": True, **CALLING}),
        (CHAT, {"max_tokens": 20, "tool_choice": "required", **CALLING}),
        (CHAT, {"max_tokens": 9, "stop": ["zzz"]}),
        (CHAT, {"max_tokens": 9, "logprobs": True, "top_logprobs": 2}),
        (CHAT, {"max_tokens": 9, "logprobs": True, **CALLING}),
        (CHAT, {"max_tokens": 9, "messages": [*ASKED, {"role": "assistant", "content": "Well"}]}),
        (COMPLETION, {"max_tokens": 9}),
        (COMPLETION, {"max_tokens": 5, "prompt": [20, 30]}),
        (COMPLETION, {"max_tokens": 60, "json_schema": SCHEMA | {"x-guidance": {"whitespace_flexible": False}}}),
    ],
)
async def test_an_answer_is_that_of_the_engine(engine: Engine, path: str, fields: dict[str, Any]) -> None:
    asked = {"messages": ASKED} if path == CHAT else {"prompt": "the of and"}
    ours, own = await both(engine, path, asked | fields)
    assert ours == own


async def test_text_that_may_begin_a_stop_sequence_is_not_lost_where_an_answer_is_cut(engine: Engine) -> None:
    whole, _ = await both(engine, COMPLETION, {"prompt": "the of and", "max_tokens": 3})
    said = whole["choices"][0]["text"]
    ours, own = await both(engine, COMPLETION, {"prompt": "the of and", "max_tokens": 3, "stop": [said[-1] + "zzz"]})
    assert ours["choices"][0]["text"] == own["choices"][0]["text"] == said


@pytest.mark.parametrize("fields", [{"json_schema": SCHEMA}, {"response_format": FORMAT}])
async def test_no_completion_by_a_schema_gets_lost_in_white_space(engine: Engine, fields: dict[str, Any]) -> None:
    body = {"model": "m", "prompt": "the of and", "max_tokens": 60, "logit_bias": [["\n", 40]], **fields}
    texts = []
    for seed in range(8):
        answer = await engine.gate.ask(request(body | {"seed": seed}, path=COMPLETION))
        texts.append(answer.json["choices"][0]["text"])
    assert [json.dumps(json.loads(text)) for text in texts] == texts
    own = await engine.http.post(COMPLETION, json=body | {"json_schema": SCHEMA, "seed": 0})
    assert own.json()["choices"][0]["finish_reason"] == "length", "else this shows nothing"


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "#/$defs/none"}, {"pattern": "(?=a)"}, [], 5])
async def test_a_completion_by_a_schema_that_the_engine_would_leave_out_is_refused(engine: Engine, schema: Any) -> None:
    body = {"model": "m", "prompt": "the of and", "max_tokens": 4, "json_schema": schema}
    answer = await engine.gate.ask(request(body, path=COMPLETION))
    assert (answer.status, answer.error["param"]) == (400, "json_schema")
    asked = {"model": "m", "prompt": "x", "raw": True, "stream": False, "format": schema}
    assert (await engine.gate.ask(request(asked, path="/api/generate"))).status == 400


@pytest.mark.parametrize(
    "schema", [{"if": {"type": "string"}, "enum": [1]}, {"$ref": "#a", "$defs": {"x": {"$anchor": "a", "enum": [1]}}}]
)
async def test_one_that_can_be_held_to_in_part_is(engine: Engine, schema: Any) -> None:
    body = {"model": "m", "prompt": "the of and", "max_tokens": 4, "json_schema": schema}
    assert (await engine.gate.ask(request(body, path=COMPLETION))).json["choices"][0]["text"] == "1"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (
            CHAT,
            {"messages": ASKED, "response_format": {"type": "json_object", "schema": {"minItems": 2, "maxItems": 1}}},
        ),
        (CHAT, {"messages": ASKED, "grammar": 'root ::= "a"{5,2}'}),
        (COMPLETION, {"prompt": "x", "grammar": 'root ::= "a"{5,2}', "stream": True}),
        (
            COMPLETION,
            {"prompt": ["x", "y"], "response_format": {"type": "json_object", "schema": {"pattern": "a{5,2}"}}},
        ),
        ("/api/chat", {"messages": ASKED, "format": {"type": "string", "minLength": 5, "maxLength": 2}}),
        (
            "/v1/responses",
            {
                "input": "x",
                "text": {"format": {"type": "json_schema", "name": "x", "schema": {"minItems": 2, "maxItems": 1}}},
            },
        ),
    ],
)
async def test_a_form_that_would_take_all_memory_does_not_reach_the_engine(
    engine: Engine, path: str, fields: dict[str, Any]
) -> None:
    answer = await engine.gate.ask(request({"model": "m", **fields}, path=path))
    assert answer.status == 400, answer.body
    assert b"{m,n}" in answer.body or b"minItems" in answer.body or b"minLength" in answer.body


async def test_calls_are_made_and_told(engine: Engine) -> None:
    fields = {"messages": ASKED, "max_tokens": 200, "tool_choice": "required", **CALLING}
    (choice,) = (await both(engine, CHAT, fields))[0]["choices"]
    assert choice["message"]["tool_calls"], "else the answers above compare nothing of calls"
    for call in choice["message"]["tool_calls"]:
        assert json.loads(call["function"]["arguments"])


async def test_what_the_engine_refuses_is_refused_as_before(engine: Engine) -> None:
    for fields, code in (({"grammar": "x ::= ("}, "worker_refused"), ({}, "context_length_exceeded")):
        text = "hi" if fields else "the of and to " * 2000
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
        answer = await engine.gate.ask(request(body))
        assert (answer.status, answer.error["code"]) == (400, code)
