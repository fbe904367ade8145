"""Bodies of the OpenAI dialect: what is refused, what reaches the worker, what is counted, how errors look."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    ANSWER,
    CHAT,
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    event,
    on_uvloop,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    turns,
    until,
)

from rolecast.backends.fake import Fake
from rolecast.backends.llamacpp import LlamaCpp
from rolecast.backends.remote import OpenAIRemote
from rolecast.config.schema import Limits, Model
from rolecast.decision import Choice
from rolecast.dialects import dialect
from rolecast.dialects.request import Request
from rolecast.telemetry.metrics import ModelStats
from rolecast.turn.dispatch import MAY_MEAN_OUR_WISH
from rolecast.turn.plan import Plan

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

COMPLETE = "/v1/completions"
EMBED = "/v1/embeddings"
ALL = ["chat", "completion", "embeddings"]


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with pytest.MonkeyPatch.context() as patch, short_folder() as folder:
        patch.setenv("ROLECAST_HOME", folder)
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {
                "m": remote(worker.url, capabilities=ALL, aliases=["nick"]),
                "named": remote(worker.url, remote_model="their/name", chat_template_kwargs={"thinking": False}),
                "silent": remote(worker.url, capabilities=["embeddings"]),
                "off": remote(worker.url, enabled=False),
                "f": Model(backend="fake", parallel=2, capabilities=ALL),
            }
            conf = config(models, limits=Limits(messages=50))
            async with running_gateway(conf, Path(folder)) as gate:
                yield gate, worker


async def ask(front: Gate, text: str = "hello", **fields: Any) -> Any:
    return await front.ask(request(chat(text, **fields)))


# -- bodies that are refused -----------------------------------------------------------------------------------

MESSAGES = b'"messages":[{"role":"user","content":"x"}]'
NOT_JSON = {
    "nothing": b"",
    "white space": b" \r\n\t",
    "a word": b"hello",
    "half an object": b'{"model":"m",',
    "a form": b"model=m&messages=x",
    "single quotes": b"{'model':'m'}",
    "an array": b"[]",
    "an array of requests": b"[{" + MESSAGES + b"}]",
    "a text": b'"hello"',
    "a number": b"5",
    "null": b"null",
    "true": b"true",
    "a byte order mark": b"\xef\xbb\xbf{" + MESSAGES + b"}",
    "UTF-16": ("{" + MESSAGES.decode() + "}").encode("utf-16"),
    "two objects": b"{" + MESSAGES + b"}{" + MESSAGES + b"}",
    "something behind": b"{" + MESSAGES + b"} x",
    "NUL behind": b"{" + MESSAGES + b"}\0",
    "a comment": b"{" + MESSAGES + b"/* x */}",
    "a comma too many": b"{" + MESSAGES + b",}",
    "a line break in a text": b'{"user":"a\nb",' + MESSAGES + b"}",
    "NaN": b'{"temperature":NaN,' + MESSAGES + b"}",
    "NaN in a field that goes on": b'{"typical_p":NaN,' + MESSAGES + b"}",
    "Infinity": b'{"mirostat_tau":-Infinity,' + MESSAGES + b"}",
    "a hexadecimal number": b'{"seed":0x5,' + MESSAGES + b"}",
    "a lone surrogate": b'{"messages":[{"role":"user","content":"\\ud800"}]}',
    "a lone surrogate in the model": b'{"model":"\\udfff",' + MESSAGES + b"}",
    "a lone surrogate in a name": b'{"\\ud800":1,' + MESSAGES + b"}",
    "invalid UTF-8": b'{"messages":[{"role":"user","content":"\xff"}]}',
    "overlong UTF-8": b'{"messages":[{"role":"user","content":"\xc0\xaf"}]}',
    "a surrogate in UTF-8": b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "invalid UTF-8 in a name": b'{"\xff":1,' + MESSAGES + b"}",
    "100,000 arrays in each other": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"," + MESSAGES + b"}",
    "100,000 objects in each other": b'{"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"," + MESSAGES + b"}",
    "100,000 arrays that never close": b'{"x":' + b"[" * 100_000,
}


@pytest.mark.parametrize("name", NOT_JSON)
async def test_what_is_no_json_object_is_refused(front: Gate, worker: ScriptedWorker, name: str) -> None:
    for path in (CHAT, COMPLETE, EMBED, "/v1/chat/%63ompletions"):
        answer = await front.ask(request(NOT_JSON[name], path=path))
        error = answer.error
        assert (answer.status, error["type"], error["code"]) == (400, "invalid_request_error", "bad_json")
        assert answer.header("content-type") == "application/json"
    assert not worker.requests


def with_field(name: str, value: bytes) -> tuple[bytes, str]:
    return b'{"%b":%b,%b}' % (name.encode(), value, MESSAGES), name


WRONG_VALUES = [
    with_field("n_discard", b"-1"),
    with_field("n_discard", b"99999999999"),
    with_field("n_keep", b"-5"),
    with_field("n_predict", b"1e12"),
    with_field("n_predict", b"1000000000000"),
    with_field("n_predict", b"-2"),
    with_field("n_predict", b'"5"'),
    with_field("max_tokens", b"-2"),
    with_field("max_tokens", b"2147483648"),
    with_field("max_tokens", b"1.5"),
    with_field("max_tokens", b"[]"),
    with_field("max_completion_tokens", b"-7"),
    with_field("temperature", b"1e400"),
    with_field("temperature", b"-0.1"),
    with_field("temperature", b"101"),
    with_field("temperature", b'"hot"'),
    with_field("top_p", b"1.01"),
    with_field("top_p", b"-1e-9"),
    with_field("top_k", b"2147483648"),
    with_field("top_k", b"1e2"),
    with_field("min_p", b"1e300"),
    with_field("n", b"0"),
    with_field("n", b"129"),
    with_field("n_probs", b"-1"),
    with_field("repeat_last_n", b"1048577"),
    with_field("repeat_last_n", b"-2"),
    with_field("dry_penalty_last_n", b"2147483647"),
    with_field("samplers", b'"' + b"e" * 33 + b'"'),
    with_field("samplers", b"[" + b'"penalties",' * 32 + b'"penalties"]'),
    with_field("top_logprobs", b"-1"),
    with_field("top_logprobs", b"1001"),
    with_field("seed", b'"x"'),
    with_field("seed", b"9" * 5000),
    with_field("repetition_penalty", b"-1e9"),
    with_field("stop", b"5"),
    with_field("stop", b"[5]"),
    with_field("stop", b"{}"),
    with_field("response_format", b'"json"'),
    with_field("response_format", b"[]"),
    with_field("response_format", b"true"),
    with_field("logit_bias", b'"x"'),
    with_field("logit_bias", b"5"),
    with_field("stream", b'"true"'),
    with_field("stream", b"1"),
    with_field("model", b"5"),
    with_field("model", b'["m"]'),
    with_field("model", b'"' + b"x" * 513 + b'"'),
    with_field("stream_options", b"true"),
    with_field("extra_body", b'"x"'),
    with_field("extra_body", b"[1]"),
    (b'{"stream_options":{"include_usage":"yes"},' + MESSAGES + b"}", "stream_options.include_usage"),
    (b"{}", "messages"),
    (b'{"model":"m"}', "messages"),
    (b'{"messages":null}', "messages"),
    (b'{"messages":[]}', "messages"),
    (b'{"messages":{}}', "messages"),
    (b'{"messages":"hello"}', "messages"),
    (b'{"messages":[' + b",".join([b'{"role":"user"}'] * 51) + b"]}", "messages"),
]


@pytest.mark.parametrize(("body", "param"), WRONG_VALUES, ids=lambda x: str(x[:40]))
async def test_a_wrong_value_is_refused_with_its_place(
    front: Gate, worker: ScriptedWorker, body: bytes, param: str
) -> None:
    answer = await front.ask(request(body))
    error = answer.error
    assert (answer.status, error["type"], error["code"]) == (422, "invalid_request_error", "invalid_value")
    assert param.startswith(error["param"].split("[", 1)[0])
    assert error["param"].startswith(param.split("[", 1)[0])
    assert error["param"].split(".")[0].split("[")[0] in error["message"]
    assert not worker.requests


@pytest.mark.parametrize("schema", [True, 5, "x", [], None])
async def test_a_schema_that_is_none_is_refused(front: Gate, worker: ScriptedWorker, schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await front.ask(request(chat(response_format=form)))
    assert (answer.status, answer.error["param"]) == (400, "response_format.json_schema")
    assert not worker.requests


@pytest.mark.parametrize("dimensions", [0, -1, 1.5, "64"])
async def test_vectors_of_no_size_are_refused(front: Gate, worker: ScriptedWorker, dimensions: Any) -> None:
    answer = await front.ask(request({"input": "x", "dimensions": dimensions}, path=EMBED))
    assert (answer.status, answer.error["param"]) == (422, "dimensions")
    assert not worker.requests


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": "x", "response_format": {"type": "json_object"}, "logit_bias": {"5": -100}},
        {"stop": ["x", "y"], "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        {"stop": None, "response_format": None, "logit_bias": None},
        {"stop": [], "response_format": {}, "logit_bias": [[5, -1.0], ["word", False]]},
    ],
)
async def test_what_shapes_an_answer_goes_on_as_it_was_written(
    front: Gate, worker: ScriptedWorker, fields: dict[str, Any]
) -> None:
    assert (await front.ask(request(chat(**fields)))).status == 200
    assert {name: worker.requests[-1].json[name] for name in fields} == fields


@pytest.mark.parametrize("path", [CHAT, COMPLETE, EMBED])
@pytest.mark.parametrize("field", ["n_discard", "n_keep", "n_predict", "max_tokens"])
async def test_a_wrong_number_is_found_in_extra_body_too(
    front: Gate, worker: ScriptedWorker, field: str, path: str
) -> None:
    body = {**chat(), "prompt": "x", "input": "x", "extra_body": {field: -99}}
    answer = await front.ask(request(body, path=path))
    assert (answer.status, answer.error["param"]) == (422, field)
    nested = {**body, "extra_body": {"extra_body": {field: -99}}}
    assert (await front.ask(request(nested, path=path))).status == 200
    assert field not in worker.requests[-1].body.decode()


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (COMPLETE, {"model": "m"}, "prompt"),
        (COMPLETE, {"model": "m", "prompt": None}, "prompt"),
        (EMBED, {"model": "m"}, "input"),
        (EMBED, {"model": "m", "input": None}, "input"),
    ],
)
async def test_a_missing_prompt_or_input_is_named(front: Gate, path: str, body: dict[str, Any], param: str) -> None:
    answer = await front.ask(request(body, path=path))
    assert (answer.status, answer.error["param"]) == (422, param)


@pytest.mark.parametrize(
    ("path", "model", "status", "code"),
    [
        (CHAT, "nobody", 404, "model_not_found"),
        (CHAT, "M", 404, "model_not_found"),
        (CHAT, "m ", 404, "model_not_found"),
        (CHAT, "../m", 404, "model_not_found"),
        (CHAT, "__proto__", 404, "model_not_found"),
        (CHAT, "m\0", 404, "model_not_found"),
        (CHAT, "x' OR 1=1--", 404, "model_not_found"),
        (CHAT, "\U0001f600", 404, "model_not_found"),
        (CHAT, "off", 503, "model_disabled"),
        (CHAT, "silent", 400, "wrong_capability"),
        (COMPLETE, "silent", 400, "wrong_capability"),
        (EMBED, "named", 400, "wrong_capability"),
        (EMBED, "", 404, "model_not_found"),
        (EMBED, "auto", 404, "model_not_found"),
    ],
)
async def test_a_model_that_cannot_answer_is_told_as_such(
    front: Gate, worker: ScriptedWorker, path: str, model: str, status: int, code: str
) -> None:
    body = {"model": model, "messages": [{"role": "user"}], "prompt": "x", "input": "x"}
    for _ in range(2):
        answer = await front.ask(request(body, path=path))
        assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, "model")
        assert (answer.header("x-request-id") or "").startswith("req_")
    assert not worker.requests


# -- what reaches the worker ---------------------------------------------------------------------------------

EXACT = [
    b'{"model":"m","messages":[{"role":"user","content":"hi"}]}',
    b' {"model":"m","messages" : [ {"role":"user", "content":[{"type":"text","text":"\\u00e9"}]} ] , "x":1e400}\r\n ',
    b'{"model":"m","messages":[{"role":"user","content":"'
    + "\u00e9\u4e2d\U0001f600".encode()
    + b'"}],"__proto__":{"a":1}}',
    b'{"model":"m","messages":[{"role":"tool","tool_call_id":"t"}],"n_discard":0,"n_keep":-1,"n_predict":-1,"max_tokens":0}',
    b'{"model":"m","messages":[{"role":"user"}],"seed":'
    + b"9" * 30
    + b',"big":'
    + b"9" * 6000
    + b',"temperature":0,"top_k":-1}',
    b'{"model":"m","messages":[{"role":"user"}],"stream":null,"temperature":null,"stream_options":null,"extra_body":null}',
    b'{"model":"m","messages":[{"role":"user"}],"model":"m","messages":[{"role":"system"}]}',
    b'{"model":"m","messages":[{"role":"user"}],"x":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"model":"m","messages":[{"role":"user"}],"response_format":{"type":"json_schema","json_schema":{"schema":{"model":"x"}}}}',
]


@pytest.mark.parametrize("body", EXACT, ids=range(len(EXACT)))
async def test_a_body_that_needs_no_change_reaches_the_worker_as_it_was_written(
    front: Gate, worker: ScriptedWorker, body: bytes
) -> None:
    for path in (CHAT, "/v1/chat/%63ompletions"):
        assert (await front.ask(request(body, path=path))).status == 200
        sent = worker.requests[-1].body
        if b'"stream_options":null' in body:  # edited by value: the null is what the worker may not like
            assert json.loads(sent).items() <= json.loads(body).items()
        else:
            assert sent == body


@pytest.mark.parametrize("asked", [{"model": "nick"}, {"model": "auto"}, {"model": "m:latest"}, {"model": None}, {}])
async def test_a_server_is_asked_by_its_own_name_whatever_the_client_calls_it(
    front: Gate, worker: ScriptedWorker, asked: dict[str, Any]
) -> None:
    fields = {name: value for name, value in chat().items() if name != "model"}
    for body, path in ((fields, CHAT), ({"prompt": "x"}, COMPLETE), ({"input": "x"}, EMBED)):
        if path == EMBED and asked.get("model") in ("auto", None):
            continue  # the default of embeddings is another one
        assert (await front.ask(request({**body, **asked}, path=path))).status == 200
        assert worker.requests[-1].json == {**body, "model": "m"}


async def test_the_tag_of_ollamas_clients_means_nothing_to_pages_either(front: Gate) -> None:
    assert (await front.ask(request(path="/v1/models/m:latest", method="GET"), method="GET")).json["id"] == "m"
    loaded = await front.ask(request({"model": "f:latest"}, path="/admin/load"))
    assert (loaded.status, loaded.json["model"]) == (200, "f")


async def test_of_a_field_given_twice_the_last_counts_for_everybody(front: Gate, worker: ScriptedWorker) -> None:
    for body in (
        b'{"model":"nobody","messages":[{"role":"user"}],"model":"m"}',
        b'{"model":"nobody","messages":[{"role":"user"}],"mod\\u0065l":"m"}',
        b'{"n_discard":-1,"messages":[{"role":"user"}],"model":"m","n_discard":0}',
    ):
        answer = await front.ask(request(body))
        assert answer.status in (200, 422)
        assert answer.status == 422 or answer.header("x-rolecast-model") == "m"
        assert answer.status == 422 or worker.requests[-1].json["model"] == "m"
    last = b'{"model":"m","messages":[{"role":"user"}],"model":"nobody"}'
    assert (await front.ask(request(last))).status == 404


async def test_extra_body_lies_beside_the_other_fields_which_win(front: Gate, worker: ScriptedWorker) -> None:
    extra = {"top_k": 5, "temperature": 0.5, "model": "nobody", "nested": {"a": [1]}, "grammar": 'root ::= "\u00e9"'}
    await ask(front, temperature=0.9, extra_body=extra)
    assert worker.requests[-1].json == {**chat(), **extra, "model": "m", "temperature": 0.9}
    assert (await ask(front, extra_body={})).status == 200
    assert worker.requests[-1].json == chat()


async def test_routing_sees_what_the_worker_sees(front: Gate, worker: ScriptedWorker) -> None:
    body = {"messages": [{"role": "user"}], "extra_body": {"model": "nobody"}}
    assert (await front.ask(request(body))).error["code"] == "model_not_found"
    body["extra_body"] = {"model": "nick", "stream": True}
    worker.script.append(stream(delta("a"), USAGE, DONE))
    answer = await front.ask(request(body))
    assert answer.body == delta("a") + DONE
    assert answer.header("x-rolecast-route") == "alias; asked for alias nick"
    assert worker.requests[-1].json["stream_options"] == {"include_usage": True}


async def test_numbers_and_texts_survive_an_edit_as_they_were_written(front: Gate, worker: ScriptedWorker) -> None:
    body = b'{"model":"named","messages":[{"role":"user","content":"\\u00e9\xc3\xa9"}],"x":1e400,"y":1.10,"z":%b}'
    body = body % (b"9" * 6000)
    assert (await front.ask(request(body))).status == 200
    sent = worker.requests[-1].body
    for part in (b'"\\u00e9\xc3\xa9"', b'"x":1e400', b'"y":1.10', b"9" * 6000):
        assert part in sent


async def test_a_remote_gets_its_own_name_and_the_templates_settings_unless_sent(
    front: Gate, worker: ScriptedWorker
) -> None:
    await ask(front, model="named")
    assert worker.requests[-1].json == {
        **chat(model="their/name"),
        "chat_template_kwargs": {"thinking": False},
    }
    await ask(front, model="named", chat_template_kwargs={"thinking": True})
    assert worker.requests[-1].json["chat_template_kwargs"] == {"thinking": True}
    await front.ask(request({"model": "named", "prompt": "x"}, path=COMPLETE))
    assert worker.requests[-1].json == {"model": "their/name", "prompt": "x"}


@pytest.mark.parametrize(("backend", "name"), [(LlamaCpp(), "repeat_penalty"), (OpenAIRemote(), "repetition_penalty")])
def test_an_engine_gets_a_field_by_the_name_it_knows(backend: Any, name: str) -> None:
    plan = Plan("m", Choice("m"), "m", "m", Model(), backend, ModelStats())
    asked = Request("chat", b"/x", "m", False, b'{"model":"m","repetition_penalty":1.30,"a":1}', edit=True)
    assert plan.body(asked) == (
        b'{"model":"m","a":1,"repeat_penalty":1.30}' if name != "repetition_penalty" else asked.body
    )
    both = Request("chat", b"/x", "m", False, b'{"repetition_penalty":2,"repeat_penalty":1}', edit=True)
    assert json.loads(plan.body(both))["repeat_penalty"] == 1


@pytest.mark.parametrize("nested", [False, True])
def test_a_budget_for_thinking_reaches_the_engine_by_the_name_it_knows(nested: bool) -> None:
    own = {"thinking_budget": 64, "chat_template_kwargs": {"enable_thinking": False}, "top_k": 3, "min_p": 0.1}
    fields = {"extra_body": own} if nested else own
    read = dialect("openai").paths(Limits())["/v1/chat/completions"]
    asked = read(json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode())
    plan = Plan("m", Choice("m"), "m", "m", Model(), LlamaCpp(), ModelStats())
    assert asked.edit
    sent = json.loads(plan.body(asked))
    assert (sent["thinking_budget_tokens"], sent["top_k"], sent["min_p"]) == (64, 3, 0.1)
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}
    assert "thinking_budget" not in sent
    assert dialect("openai").chat(asked).extra["thinking_budget_tokens"] == 64


def test_the_fake_engine_needs_no_renames() -> None:
    assert dict(Fake().renames) == {}


# -- usage -------------------------------------------------------------------------------------------------


async def last(front: Gate) -> tuple[Any, ...]:
    row = (await front.rows())[-1]
    return row.outcome, row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.counted


@pytest.mark.parametrize("options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}])
async def test_usage_is_asked_of_a_remote_and_hidden_from_a_client_who_did_not_ask(
    front: Gate, worker: ScriptedWorker, options: dict[str, Any]
) -> None:
    worker.script.append(stream(delta("a"), delta("b"), USAGE, DONE))
    answer = await ask(front, stream=True, **options)
    assert answer.body == delta("a") + delta("b") + DONE
    sent = worker.requests[-1]
    assert sent.json["stream_options"] == {"include_usage": True}
    assert sent.body.count(b'"stream_options"') == 1
    assert await last(front) == ("ok", 11, 3, 0, False)


async def test_usage_that_was_asked_for_is_passed_on(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.append(stream(delta("a"), USAGE, DONE))
    body = chat(stream=True, stream_options={"include_usage": True, "x": 1})
    answer = await front.ask(request(body))
    assert answer.body == delta("a") + USAGE + DONE
    assert worker.requests[-1].body == json.dumps(body).encode()
    assert await last(front) == ("ok", 11, 3, 0, False)


@pytest.mark.parametrize("gap", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("ending", [b"", DONE])
async def test_usage_is_hidden_wherever_the_events_are_cut(
    front: Gate, worker: ScriptedWorker, gap: bytes, ending: bytes
) -> None:
    seen = (delta('a "usage" b') + delta("\u00e9")).replace(b"\n\n", gap)
    whole = seen + (USAGE + ending).replace(b"\n\n", gap)
    wanted = seen + ending.replace(b"\n\n", gap)
    async with front.client() as client:
        for at in range(1, len(whole)):
            worker.script.append(raw(SSE_HEAD, chunk(whole[:at]), chunk(whole[at:]), b"0\r\n\r\n"))
            await client.send(request(chat(stream=True)))
            assert (await client.answer()).body == wanted, whole[:at]
    rows = (await front.rows())[1 - len(whole) :]
    assert {(r.prompt_tokens, r.completion_tokens, r.counted) for r in rows} == {(11, 3, False)}


@pytest.mark.parametrize("wanted", [True, False])
async def test_usage_is_read_from_a_stream_in_reads_of_one_byte(
    front: Gate, worker: ScriptedWorker, wanted: bool
) -> None:
    whole = delta("a") + USAGE + DONE
    worker.script.append(raw(SSE_HEAD, *(chunk(whole[i : i + 1]) for i in range(len(whole))), b"0\r\n\r\n"))
    answer = await ask(front, stream=True, stream_options={"include_usage": wanted})
    assert answer.body == (whole if wanted else delta("a") + DONE)
    assert await last(front) == ("ok", 11, 3, 0, False)


async def test_usage_is_read_from_a_stream_in_one_read(front: Gate, worker: ScriptedWorker) -> None:
    body = b"".join(delta(f"word {n}") for n in range(2000))
    for wanted in (True, False):
        worker.script.append(raw(SSE_HEAD + chunk(body + USAGE + DONE) + b"0\r\n\r\n"))
        answer = await ask(front, stream=True, stream_options={"include_usage": wanted})
        assert answer.body == body + (USAGE if wanted else b"") + DONE
        assert await last(front) == ("ok", 11, 3, 0, False)


async def test_events_are_passed_on_as_they_come(front: Gate, worker: ScriptedWorker) -> None:
    for gap in (b"\n\n", b"\r\n\r\n"):
        slow = Held(delta("one").replace(b"\n\n", gap))
        worker.script.append(slow)
        async with front.client() as client:
            await client.send(request(chat(stream=True)))
            await client.head()
            assert await anext(client.chunks()) == delta("one").replace(b"\n\n", gap)
            slow.let_go.set()
            assert [c async for c in client.chunks()] == [DONE]


@pytest.mark.parametrize("wanted", [True, False])
async def test_usage_in_the_last_event_with_text_is_counted_and_passed_on(
    front: Gate, worker: ScriptedWorker, wanted: bool
) -> None:
    usage = {"prompt_tokens": 6, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    first = event({"choices": [{"delta": {"content": "a"}}], "usage": None})
    final = event({"choices": [{"delta": {"content": "b"}}], "usage": usage})
    worker.script.append(stream(first, final, DONE))
    answer = await ask(front, stream=True, stream_options={"include_usage": wanted})
    assert answer.body == first + final + DONE
    assert await last(front) == ("ok", 6, 4, 2, False)


async def test_of_several_reports_the_last_counts(front: Gate, worker: ScriptedWorker) -> None:
    events = [
        event({"choices": [{"delta": {"content": "x"}}], "usage": {"completion_tokens": n, "prompt_tokens": 7}})
        for n in range(5)
    ]
    for wanted in (True, False):
        worker.script.append(stream(*events, DONE))
        answer = await ask(front, stream=True, stream_options={"include_usage": wanted})
        assert answer.body == b"".join(events) + DONE
        assert await last(front) == ("ok", 7, 4, 0, False)


async def test_a_text_that_speaks_of_usage_is_not_counted(front: Gate, worker: ScriptedWorker) -> None:
    text = delta('{"choices":[],"usage":{"prompt_tokens": 99999,"completion_tokens": 99999}}')
    worker.script.append(stream(text, DONE))
    assert (await ask(front, stream=True)).body == text + DONE
    assert (await last(front))[-1] is True


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        (ANSWER, (5, 2, 0, False)),
        (b'{"usage":{"prompt_tokens":4,"total_tokens":4},"data":[{}]}', (4, 0, 0, False)),
        (
            b'{"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":8}}}',
            (9, 1, 8, False),
        ),
        (b'{"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":null}}', (9, 1, 0, False)),
        (b'{"x":"\xff","usage":{"prompt_tokens":3,"completion_tokens":1}}', (3, 1, 0, False)),
    ],
    ids=range(5),
)
async def test_usage_of_a_plain_answer_is_in_the_books(
    front: Gate, worker: ScriptedWorker, body: bytes, counts: tuple[Any, ...]
) -> None:
    for script in (reply(body), raw(b"HTTP/1.1 200 OK\r\n\r\n" + body, close=True)):
        worker.script.append(script)
        assert (await ask(front)).body == body
        assert await last(front) == ("ok", *counts)


@pytest.mark.parametrize("usage", ["null", '"much"', '{"prompt_tokens":"nine"}', "[" * 400 + "]" * 400])
async def test_a_usage_that_is_none_is_counted_by_us(front: Gate, worker: ScriptedWorker, usage: str) -> None:
    body = b'{"choices":[{"message":{"content":"four"}}],"usage":%b}' % usage.encode()
    for script in (reply(body), raw(b"HTTP/1.1 200 OK\r\n\r\n" + body, close=True)):
        worker.script.append(script)
        assert (await ask(front)).body == body
        outcome, prompt, completion, cached, counted = await last(front)
        assert (outcome, completion, cached, counted) == ("ok", 1, 0, True)
        assert prompt > 0


async def test_usage_of_a_local_engine_is_read_from_its_own_words(front: Gate, worker: ScriptedWorker) -> None:
    answer = await ask(front, "one two three", model="f")
    assert answer.status == 200
    usage = answer.json["usage"]
    counts = (usage["prompt_tokens"], usage["completion_tokens"], 0, False)
    assert await last(front) == ("ok", *counts)
    for options in ({}, {"stream_options": {"include_usage": True}}, {"stream_options": {"include_usage": False}}):
        answer = await ask(front, "one two three", model="f", stream=True, **options)
        assert (b'"choices":[]' in answer.body) is bool(options and options["stream_options"]["include_usage"])
        assert answer.body.endswith(DONE)
        assert await last(front) == ("ok", *counts)
    answer = await front.ask(request({"model": "f", "input": ["a b", "c"]}, path=EMBED))
    assert len(answer.json["data"]) == 2
    assert await last(front) == ("ok", 3, 0, 0, False)
    answer = await front.ask(request({"model": "f", "prompt": "a b"}, path=COMPLETE))
    assert answer.status == 200
    assert (await last(front))[:2] == ("ok", 2)
    assert not worker.requests


async def test_a_stream_that_ends_early_or_fails_is_counted_by_us(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.append(raw(SSE_HEAD, *(chunk(delta(str(n))) for n in range(4)), close=True))
    await ask(front, "x" * 400, stream=True)
    outcome, prompt, completion, _, counted = await last(front)
    assert (outcome, counted) == ("error", True)
    assert prompt > 100
    assert completion == 4
    worker.script += [reply(b'{"error":{"message":"bad","type":"t","code":"c"}}', 400)] * 2
    await ask(front, stream=True)
    assert await last(front) == ("error", 0, 0, 0, False)
    slow = Held(delta("a"), delta("b"))
    worker.script.append(slow)
    async with front.client() as client:
        await client.send(request(chat(stream=True)))
        await slow.began.wait()
        await turns()
        client.abort()
        await until(lambda: not front.gateway.dispatch.active)
    assert (await last(front))[0] == "cancelled"


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "code", "text", "kind"),
    [
        (
            400,
            b'{"error":{"message":"no","type":"exceed_context_size_error","code":400}}',
            "context_length_exceeded",
            "no",
            "exceed_context_size_error",
        ),
        (
            400,
            b'{"error":{"message":"no","type":"t","param":"p","code":"context_length_exceeded"}}',
            "context_length_exceeded",
            "no",
            "t",
        ),
        (413, b'{"message":"too large"}', "worker_refused", "too large", "invalid_request_error"),
        (422, b'{"detail":[{"loc":["x"]}]}', "worker_refused", None, "invalid_request_error"),
        (429, b'{"error":{"message":"slow down","type":"rate","code":null}}', "worker_refused", "slow down", "rate"),
        (
            503,
            b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}',
            "upstream_error",
            "{where}: Loading model",
            "server_error",
        ),
    ],
    ids=range(6),
)
async def test_an_error_about_the_request_keeps_its_status_and_words_in_the_one_shape(
    front: Gate, worker: ScriptedWorker, status: int, body: bytes, code: str, text: str | None, kind: str
) -> None:
    for streamed in (False, True):
        head = b"Retry-After: 7\r\nX-RateLimit-Limit: 3\r\nContent-Encoding: gzip\r\n"
        worker.script += [reply(body, status, head=head)] * (2 if streamed and status in MAY_MEAN_OUR_WISH else 1)
        answer = await ask(front, stream=streamed)
        error = answer.error
        assert (answer.status, error["code"], error["type"]) == (status, code, kind)
        where = f"m at {worker.url} answered with status {status}"
        silent = f"m at {worker.url} refuses this request with status {status} and does not say why."
        assert error["message"] == (text or silent).replace("{where}", where)
        assert answer.header("content-encoding") is None  # that was about the worker's body
        assert (answer.header("retry-after"), answer.header("x-ratelimit-limit")) == ("7", "3")
        assert answer.header("content-type") == "application/json"
        assert answer.header("x-rolecast-model") == "m"
        row = (await front.rows())[-1]
        assert (row.status, row.error, row.outcome) == (status, code, "error")


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (401, b'{"error":"bad key"}', ": bad key"),
        (404, b'{"detail":"not here"}', ": not here"),
        (500, b"<html>", "."),
        (500, b'{"error":{"message":"\xff"}}', ": \xff"),
        (500, b'{"error":' + b"[" * 100_000, "."),
        (500, b'{"error":{"message":"x","code":"a b\\r\\nc"}}', ": x"),
        (500, b'{"error":{"message":"x","code":"' + b"c" * 65 + b'"}}', ": x"),
        (501, b"", "."),
        (599, b"null", "."),
    ],
    ids=range(9),
)
async def test_a_failure_of_the_worker_is_told_as_its_own_in_the_one_shape(
    front: Gate, worker: ScriptedWorker, status: int, body: bytes, text: str
) -> None:
    worker.script.append(reply(body, status))
    answer = await ask(front)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (502, "upstream_error", "server_error")
    assert answer.error["message"] == f"m at {worker.url} answered with status {status}{text}"
    row = (await front.rows())[-1]
    assert (row.status, row.error, row.outcome) == (502, "upstream_error", "error")


async def test_every_error_of_the_front_has_the_one_shape(front: Gate) -> None:
    table = [
        (request(b"{"), 400, "invalid_request_error"),
        (request({}), 422, "invalid_request_error"),
        (request(chat(model="x")), 404, "invalid_request_error"),
        (request(path="/none", method="GET"), 404, "invalid_request_error"),
        (request({}, path="/v1/none"), 404, "invalid_request_error"),
        (request(path=CHAT, method="GET"), 405, "invalid_request_error"),
        (request({}, path="/health"), 405, "invalid_request_error"),
        (request(path="/v1/models/none", method="GET"), 404, "invalid_request_error"),
        (request({}, path="/admin/load"), 400, "invalid_request_error"),
        (request({"model": "none"}, path="/admin/load"), 404, "invalid_request_error"),
        (request(path="/admin/logs?lines=x", method="GET"), 400, "invalid_request_error"),
        (request(path="/admin/logs?model=none", method="GET"), 404, "invalid_request_error"),
        (request(chat(), host="evil.example"), 403, "permission_error"),
        (request(chat(), head="Content-Encoding: br\r\n"), 415, "invalid_request_error"),
        (request(chat(), head="X: " + "y" * 70_000 + "\r\n"), 431, "invalid_request_error"),
    ]
    for data, status, kind in table:
        answer = await front.ask(data)
        assert (answer.status, answer.error["type"]) == (status, kind), data[:60]
        assert answer.header("content-type") == "application/json"
        assert answer.header("content-length") == str(len(answer.body))


async def test_a_failure_of_ours_says_where_to_look_and_no_more(
    shared: tuple[Gate, ScriptedWorker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    front, _ = shared

    def breaks(*_: Any) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(front.gateway.dispatch, "begin", breaks)
    for path in (CHAT, "/v1/chat/%63ompletions"):
        answer = await front.ask(request(chat(), path=path))
        assert (answer.status, answer.error["code"], answer.error["type"]) == (500, "internal", "server_error")
        assert "planted" not in answer.error["message"]
    assert caplog.text.count("ZeroDivisionError: planted") == 2


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/v1/models", "/v1 is in the base URL twice"),
        ("/api/v0/models", "LM Studio's API is not spoken here"),
        ("/api/v1/chat", "LM Studio's API is not spoken here"),
    ],
)
async def test_a_client_of_another_kind_of_server_is_told_what_is_spoken_here(
    front: Gate, path: str, hint: str
) -> None:
    answer = await front.ask(request({}, path=path))
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert answer.error["message"].startswith(f"There is nothing at {path}: ")
    assert hint in answer.error["message"]
