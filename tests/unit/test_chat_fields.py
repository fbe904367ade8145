"""OpenAI's fields of a chat on the real engine: each has its effect, or is refused; none is ignored without a word."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import tiny_gguf
from gateway import Gate, chat, config, pair, request, running_gateway

from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio
THINKS = (
    tiny_gguf.CHAT_TEMPLATE
    + "{% if enable_thinking is defined and not enable_thinking %}the end of thinking{% endif %}"
    + "{% if reasoning_effort %}effort {{ reasoning_effort }}{% endif %}"
)
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
SCHEMA = {"type": "object", "properties": {"a": DIGIT}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    folder = tmp_path_factory.mktemp("tiny")
    common = {"context": 512, "threads": 1, "parallel": 1}
    models = {
        "m": Model(source=f"file:{tiny_gguf.write(folder / 'tiny.gguf')}", **common),
        "thinks": Model(source=f"file:{tiny_gguf.write(folder / 'thinks.gguf', template=THINKS)}", **common),
    }
    async with running_gateway(config(models), folder) as gate:
        yield gate


async def said(gate: Gate, **fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "seed": 1, **fields}
    answer = await gate.ask(request({k: v for k, v in body.items() if v != "absent"}))
    return answer.json


def text(body: Any) -> str:
    return str(body["choices"][0]["message"]["content"])


async def test_each_field_changes_the_answer_as_it_says(gate: Gate) -> None:
    plain = text(await said(gate))
    assert text(await said(gate)) == plain
    assert text(await said(gate, seed=2)) != plain
    for bias in ({"300": 100}, [[300, 100]], {"300": 100, "301": False}):
        assert len(set(text(await said(gate, logit_bias=bias)))) == 1
    first = plain[3]
    assert text(await said(gate, stop=first)) == plain[: plain.index(first)]
    assert text(await said(gate, stop=["zz", first])) == plain[: plain.index(first)]
    greedy = text(await said(gate, temperature=0))
    assert text(await said(gate, temperature=0, presence_penalty=2)) != greedy
    assert text(await said(gate, temperature=0, frequency_penalty=2)) != greedy
    assert text(await said(gate, grammar='root ::= "yes"')) == "yes"
    assert text(await said(gate, parallel_tool_calls=False, reasoning_effort="low", user="me")) == plain


async def test_the_length_is_the_newer_fields(gate: Gate) -> None:
    for fields in ({"max_tokens": "absent", "max_completion_tokens": 3}, {"max_completion_tokens": 3}):
        body = await said(gate, **fields)
        assert (body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"]) == (3, "length")


async def test_logprobs_are_of_each_token(gate: Gate) -> None:
    for fields in ({"logprobs": True}, {"logprobs": True, "top_logprobs": 2}):
        content = (await said(gate, **fields))["choices"][0]["logprobs"]["content"]
        assert len(content) == 8
        assert all(each["logprob"] <= 0 and each["bytes"] for each in content)
        if "top_logprobs" in fields:
            assert all(len(each["top_logprobs"]) == 2 for each in content)


async def test_an_answer_has_the_form_that_is_asked_for(gate: Gate) -> None:
    assert isinstance(json.loads(text(await said(gate, response_format={"type": "json_object"}, max_tokens=60))), dict)
    for form in (FORMAT, {"type": "json_object", "schema": SCHEMA}):
        assert 0 <= json.loads(text(await said(gate, response_format=form, max_tokens=60)))["a"] <= 9


async def test_a_schema_holds_in_a_stream_with_the_newer_length(gate: Gate) -> None:
    fields = {"response_format": FORMAT, "max_completion_tokens": 60, "stream": True, "seed": 1}
    answer = await gate.ask(request({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}))
    pieces = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n")[:-2]]
    whole = "".join(c["delta"].get("content") or "" for each in pieces for c in each["choices"])
    assert 0 <= json.loads(whole)["a"] <= 9


async def test_how_hard_to_think_reaches_the_template(gate: Gate) -> None:
    used = {
        effort: (await said(gate, model="thinks", **({"reasoning_effort": effort} if effort else {})))["usage"]
        for effort in ("", "high", "none")
    }
    assert len({each["prompt_tokens"] for each in used.values()}) == 3


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"logit_bias": {"300": "x"}}, 422, "logit_bias[...]"),
        ({"logit_bias": [300]}, 422, "logit_bias[0]"),
        ({"logit_bias": 3}, 422, "logit_bias"),
        ({"stop": ""}, 422, "stop"),
        ({"stop": ["a", ""]}, 422, "stop[1]"),
        ({"presence_penalty": "x"}, 422, "presence_penalty"),
        ({"frequency_penalty": 1e9}, 422, "frequency_penalty"),
        ({"grammar": 3}, 422, "grammar"),
        ({"grammar": "nonsense"}, 400, "grammar"),
        ({"parallel_tool_calls": "x"}, 422, "parallel_tool_calls"),
        ({"reasoning_effort": 3}, 422, "reasoning_effort"),
        ({"logprobs": "yes"}, 422, "logprobs"),
        ({"top_logprobs": 2}, 400, "top_logprobs"),
        ({"seed": 1.5}, 422, "seed"),
        ({"response_format": {"type": 3}}, 422, "response_format.type"),
        ({"response_format": {"type": "xml"}}, 400, "response_format"),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, 400, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, 400, "response_format.json_schema"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, 400, "model"),
        ({"functions": [{"name": "x"}]}, 400, "model"),
        ({"web_search_options": {}}, 400, "model"),
    ],
)
async def test_what_would_be_left_aside_is_refused(gate: Gate, fields: dict[str, Any], status: int, param: str) -> None:
    answer = await gate.ask(request({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}))
    assert (answer.status, answer.error["param"]) == (status, param)


async def test_what_only_other_servers_can_reaches_them() -> None:
    body = chat(modalities=["text", "audio"], functions=[{"name": "x"}], web_search_options={})
    async with pair() as (gate, worker):
        assert (await gate.ask(request(body))).status == 200
        assert worker.requests[0].json == body
