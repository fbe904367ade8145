"""Fields that a server takes under another name, or not at all: asked again once, and right at once from then on."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    DONE,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chat,
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
from msgspec.structs import replace

from rolecast.config.edit import edit_to
from rolecast.turn.unsaid import refused
from rolecast.values import Failure

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
REASONS = [
    {
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "param": "max_tokens",
        "code": "unsupported_parameter",
    },
    {
        "message": "Unsupported value: 'temperature' does not support 0.2 with this model. "
        "Only the default (1) value is supported.",
        "param": "temperature",
        "code": "unsupported_value",
    },
]
USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}


def error(**said: Any) -> Any:
    return reply(json.dumps({"error": {"type": "invalid_request_error", **said}}).encode(), 400)


async def thinker(peer: Peer, received: Received) -> None:
    """A model that takes neither field, as newer ones of OpenAI."""
    body = received.json
    if "max_tokens" in body:
        await error(**REASONS[0])(peer, received)
    elif "temperature" in body:
        await error(**REASONS[1])(peer, received)
    elif body.get("stream"):
        await stream(delta("hi"), event({"choices": [], "usage": USAGE}), DONE)(peer, received)
    else:
        await reply()(peer, received)


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker, ScriptedWorker]]:
    """A gateway with a role of two servers."""
    with short_folder() as folder:
        async with ScriptedWorker().listening() as one, ScriptedWorker().listening() as two:
            made = config({"one": remote(one.url), "two": remote(two.url)})
            async with running_gateway(replace(made, roles={"standard": ["one", "two"]}), Path(folder)) as gate:
                yield gate, one, two


Both = tuple[Gate, ScriptedWorker, ScriptedWorker]
MESSAGES = {"max_tokens": 9, "temperature": 0.2, "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("name", ["one", "standard", "auto"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"])
async def test_a_model_that_takes_a_field_by_another_name_answers(
    both: Both, path: str, name: str, streams: bool
) -> None:
    gate, one, two = both
    one.usual = thinker
    body: dict[str, Any] = {"model": name, "stream": streams}
    if path == "/v1/responses":
        body |= {"max_output_tokens": 9, "temperature": 0.2, "input": "hello"}
    elif path == "/api/chat":
        body |= {"options": {"num_predict": 9, "temperature": 0.2}, "messages": MESSAGES["messages"]}
    else:
        body |= MESSAGES
    for seen in (3, 1, 1):
        one.requests.clear()
        answer = await gate.ask(request(body, path=path))
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "one"), answer
        assert len(one.requests) == seen
        last = one.requests[-1].json
        assert (last["max_completion_tokens"], "max_tokens" in last, "temperature" in last) == (9, False, False)
    assert not two.requests
    rows = await gate.rows()
    assert {(row.outcome, row.attempts) for row in rows} == {("ok", 1)}
    if streams:
        assert {(row.prompt_tokens, row.completion_tokens) for row in rows} == {(9, 1)}  # usage was asked for


async def test_requests_side_by_side_all_learn(both: Both) -> None:
    gate, one, _ = both
    one.usual = thinker
    answers = await asyncio.gather(*[gate.ask(request({"model": "one", **MESSAGES})) for _ in range(8)])
    assert [answer.status for answer in answers] == [200] * 8


async def test_the_other_way_round_and_what_both_say_is_said_once(both: Both) -> None:
    gate, one, _ = both
    said = {
        "type": "extra_forbidden",
        "loc": ["body", "max_completion_tokens"],
        "msg": "Extra inputs are not permitted",
    }
    one.script.append(reply(json.dumps({"detail": [said]}).encode(), 422))
    assert (await gate.ask(request(chat(model="one", max_completion_tokens=7)))).status == 200
    assert (one.requests[-1].json["max_tokens"], "max_completion_tokens" in one.requests[-1].json) == (7, False)
    await gate.ask(request(chat(model="one", max_completion_tokens=7, max_tokens=5)))
    assert one.requests[-1].json["max_tokens"] == 5


async def test_a_server_that_always_refuses_is_asked_once_more_and_the_next_answers(both: Both) -> None:
    gate, one, two = both
    one.usual = error(**REASONS[0])
    for _ in range(2):
        one.requests.clear()
        answer = await gate.ask(request({"model": "standard", **MESSAGES}))
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "two")
        assert len(one.requests) == 2
    assert two.requests[-1].json["max_tokens"] == 9
    answer = await gate.ask(request({"model": "one", **MESSAGES}))
    assert (answer.status, answer.error["code"]) == (400, "unsupported_parameter")


async def test_of_two_fields_that_do_not_go_together_one_is_sent(both: Both) -> None:
    gate, one, _ = both
    one.script.append(error(message="`temperature` and `top_p` cannot both be specified for this model."))
    assert (await gate.ask(request(chat(model="one", temperature=0.5, top_p=0.5)))).status == 200
    for fields in ({"temperature": 0.5}, {"top_p": 0.5}):
        assert (await gate.ask(request(chat(model="one", **fields)))).status == 200
    sent = [{k: v for k, v in each.json.items() if k in ("temperature", "top_p")} for each in one.requests]
    assert sent == [{"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, {"temperature": 0.5}, {"top_p": 0.5}]


async def test_an_edit_forgets_it(both: Both) -> None:
    gate, one, _ = both
    one.usual = thinker
    await gate.ask(request({"model": "one", **MESSAGES}))
    plans = gate.gateway.plans
    (await plans.prepare(edit_to(gate.gateway.current.config, {}))).commit()
    one.usual = reply()
    await gate.ask(request({"model": "one", **MESSAGES}))
    assert one.requests[-1].json["temperature"] == 0.2


@pytest.mark.parametrize(
    ("message", "code", "param", "name"),
    [
        *[(str(each["message"]), each["code"], each["param"], each["param"]) for each in REASONS],
        *[(str(each["message"]), "", None, each["param"]) for each in REASONS],
        ("Unrecognized request argument supplied: max_completion_tokens", "", None, "max_completion_tokens"),
        ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", "", None, "top_p"),
        ("`temperature` is deprecated for this model.", "", None, "temperature"),
        ("body.top_k: Extra inputs are not permitted", "", None, "top_k"),
        ("presence_penalty is not supported by this model", "", None, "presence_penalty"),
        ("`temperature` must be between 0 and 2", "", "temperature", ""),
        (
            "max_tokens is too large: 99999. This model supports at most 16384 tokens.",
            "invalid_value",
            "max_tokens",
            "",
        ),
        ("Unsupported value: 'max_tokens' does not support 0", "unsupported_value", "max_tokens", ""),
        ("tools are not supported with temperature 0", "", None, ""),
        ("Unsupported parameter: 'tools' is not supported with this model", "unsupported_parameter", "tools", ""),
        ("'stop' is not supported with this model", "unsupported_parameter", "stop", ""),
        ("", "", None, ""),
    ],
)
def test_only_a_refusal_of_the_field_itself_is_one(message: str, code: str, param: str | None, name: str) -> None:
    found = refused(Failure(message, code, param=param))
    assert (found[0] if found else "") == name
