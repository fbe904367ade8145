"""Backends: what they plan, and what their workers really answer on their sockets."""

import asyncio
import base64
import json
import math
import os
import signal
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import tiny_gguf
from live_worker import DEADLINE_S, MODEL_ID, running, until_idle

from rolecast import backends
from rolecast.backends import fake_answer
from rolecast.backends.fake import Fake
from rolecast.backends.llamacpp import LlamaCpp
from rolecast.backends.remote import OpenAIRemote
from rolecast.config.schema import Model
from rolecast.errors import ConfigError, SourceError
from rolecast.processes import folder as runtime
from rolecast.processes import process
from rolecast.values import Endpoint, Launch, Listen

LISTEN = Listen("/run/x/w.sock")
HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = runtime.runtime_dir()
    yield made
    runtime.remove_runtime_dir(made)


# The table


def test_every_built_in_backend_can_be_made_and_is_named():
    assert set(backends.BUILT_IN) <= set(backends.names())
    for name in backends.BUILT_IN:
        assert backends.get(name).usage in ("timings", "inject", "always")


def test_an_unknown_backend_names_those_that_exist():
    with pytest.raises(ConfigError, match="fake, llamacpp, mlx, ollama, openai, vllm"):
        backends.get("nope")


# Remote


def remote(**fields: Any) -> Endpoint:
    return OpenAIRemote().plan("cloud", Model(backend="openai", **fields), None, LISTEN)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "base"),
    [
        ("http://box:8080/v1", "box", 8080, False, "/v1"),
        ("http://box/v1/", "box", 80, False, "/v1"),
        ("https://api.example.com/openai/v1", "api.example.com", 443, True, "/openai/v1"),
        ("HTTPS://Box:8443", "box", 8443, True, ""),
        ("http://[::1]:9000/v1", "::1", 9000, False, "/v1"),
    ],
)
def test_a_remote_url_becomes_an_address(url, host, port, tls, base):
    endpoint = remote(url=url)
    assert (endpoint.host, endpoint.port, endpoint.tls, endpoint.base) == (host, port, tls, base)
    assert endpoint.health_path == f"{base}/models"
    assert endpoint.headers == b""


def test_a_remote_may_listen_on_a_unix_socket():
    endpoint = remote(url="unix:/run/w.sock", key="sk-1")
    assert (endpoint.uds, endpoint.base, endpoint.health_path) == ("/run/w.sock", "/v1", "/v1/models")
    assert endpoint.headers == b"Authorization: Bearer sk-1\r\n"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "missing"),
        ("ftp://box/v1", "http:// or https://"),
        ("box:8080/v1", "http:// or https://"),
        ("http:///v1", "a host"),
        ("http://box:0/v1", "a host"),
        ("http://box:99999/v1", "not a URL"),
        ("http://[::1/v1", "not a URL"),
        ("http://user:pw@box/v1", "`key` instead"),
        ("http://@box/v1", "`key` instead"),
        ("http://box/v1?x=1", "query"),
        ("http://box/v1#x", "fragment"),
        ("http://box/v1\r\nX-Evil: 1", "control"),
        ("http://bo\tx/v1", "control"),
        ("http://bücher/v1", "non-ASCII"),
    ],
)
def test_a_bad_remote_url_is_refused_with_its_place(url, problem):
    with pytest.raises(ConfigError, match=r"models\.cloud\.url") as caught:
        remote(url=url)
    assert problem in str(caught.value)
    assert "pw" not in str(caught.value)


def test_the_key_of_a_remote_is_plain_or_from_the_environment(monkeypatch):
    monkeypatch.setenv("CLOUD_KEY", "sk-1")
    for key in ("sk-1", "env:CLOUD_KEY"):
        assert remote(url="http://box/v1", key=key).headers == b"Authorization: Bearer sk-1\r\n"


def test_a_missing_key_variable_is_named(monkeypatch):
    monkeypatch.delenv("CLOUD_KEY", raising=False)
    with pytest.raises(ConfigError, match="CLOUD_KEY"):
        remote(url="http://box/v1", key="env:CLOUD_KEY")
    hint = OpenAIRemote().missing(Model(url="http://box/v1", key="env:CLOUD_KEY"))
    assert hint is not None
    assert "export CLOUD_KEY" in hint
    assert OpenAIRemote().missing(Model(url="http://box/v1", key="plain")) is None


@pytest.mark.parametrize("key", ["sk-1\r\nX-Evil: 1", "sk 1", "sk-1\n", "schlüssel"])
def test_a_key_that_would_break_the_header_is_refused_and_not_shown(key):
    with pytest.raises(ConfigError, match=r"models\.cloud\.key") as caught:
        remote(url="http://box/v1", key=key)
    assert key.strip() not in str(caught.value)


# llama.cpp: plans


def test_a_llamacpp_model_without_weights_is_refused():
    with pytest.raises(ConfigError, match=r"models\.m\.source"):
        LlamaCpp().plan("m", Model(), None, LISTEN)


def test_the_built_in_engine_runs_in_a_worker_of_ours():
    launch = LlamaCpp().plan("m", Model(), Path("/w.gguf"), LISTEN)
    assert launch.own_watch
    assert launch.argv[:4] == (sys.executable, "-P", "-m", "rolecast.backends.llamacpp_worker")
    assert launch.endpoint == Endpoint(uds=LISTEN.socket, max_requests=99, idle_s=4.0)


def test_a_binary_gets_the_documented_flags_and_then_the_users_own(tmp_path):
    binary = executable(tmp_path / "llama-server")
    model = Model(
        binary=str(binary),
        context=4096,
        parallel=2,
        threads=3,
        gpu_layers=20,
        cache_type_k="q8_0",
        cache_type_v="f16",
        flash_attn=True,
        chat_template_kwargs={"enable_thinking": False},
        args=["--kv-unified"],
    )
    launch = LlamaCpp().plan(MODEL_ID, model, Path("/w.gguf"), LISTEN)
    assert not launch.own_watch
    assert " ".join(launch.argv) == (
        f"{binary} --model /w.gguf --alias {MODEL_ID} --host {LISTEN.socket} --ctx-size 8192 --parallel 2 --threads"
        ' 3 --n-gpu-layers 20 --chat-template-kwargs {"enable_thinking":false} --cache-type-k q8_0 '
        "--cache-type-v f16 --flash-attn on --slot-prompt-similarity 0.5 --kv-unified"
    )


def test_a_binary_serves_embeddings_with_the_pooling_of_the_file():
    model = Model(binary="llama-server", capabilities=["embeddings"])
    argv = LlamaCpp().plan("m", model, Path("/w.gguf"), LISTEN).argv
    assert "--embedding" in argv
    assert "--pooling" not in argv
    assert "--n-gpu-layers" not in argv


def test_what_is_missing_for_llamacpp_is_told_with_the_remedy(tmp_path, monkeypatch):
    assert LlamaCpp().missing(Model()) is None
    assert LlamaCpp().missing(Model(binary=str(executable(tmp_path / "llama-server")))) is None
    (tmp_path / "text").write_text("")
    for binary in (tmp_path / "text", tmp_path / "none"):
        assert "executable" in str(LlamaCpp().missing(Model(binary=str(binary))))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'rolecast[llamacpp]'" in str(LlamaCpp().missing(Model()))


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


# llama.cpp: the engine


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf")


@pytest.mark.anyio
async def test_the_engine_chats_streams_counts_and_names_itself(folder, weights):
    model = Model(context=2048, parallel=2, threads=1)
    async with running(LlamaCpp(), model, folder, weights) as worker:
        assert stat.S_IMODE(worker.socket.stat().st_mode) == 0o600
        answer = await worker.chat(max_tokens=5, temperature=0)
        assert answer.model == MODEL_ID
        assert answer.usage.completion_tokens == 5
        assert answer.choices[0].finish_reason == "length"
        events = await worker.lines("/v1/chat/completions", messages=HELLO, max_tokens=5, temperature=0)
        text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events)
        assert text == answer.choices[0].message.content
        assert events[-1]["timings"]["predicted_n"] == 5
        slots = (await worker.http.get("/slots")).json()
        assert [slot["n_ctx"] for slot in slots] == [2048, 2048]
        models = await worker.openai.models.list()
        assert [m.id for m in models.data] == [MODEL_ID]


@pytest.mark.anyio
async def test_the_engine_obeys_a_json_schema(folder, weights):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    async with running(LlamaCpp(), Model(context=512, threads=1), folder, weights) as worker:
        answer = await worker.chat(max_tokens=100, temperature=0, response_format=wanted)
        assert type(json.loads(answer.choices[0].message.content)["ok"]) is bool


@pytest.mark.anyio
async def test_closing_the_connection_stops_the_engine(folder, weights):
    async with running(LlamaCpp(), Model(context=60_000, threads=1), folder, weights) as worker:
        body = {"messages": HELLO, "stream": True, "max_tokens": 59_000}
        async with worker.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            await anext(answer.aiter_bytes())
        await until_idle(worker)
        metrics = (await worker.http.get("/metrics")).text
        made = next(line for line in metrics.splitlines() if line.startswith("llamacpp:tokens_predicted_total"))
        assert float(made.split()[1]) < 59_000


@pytest.mark.anyio
async def test_an_embedding_model_answers_with_the_pooling_of_its_file(folder, tmp_path):
    weights = tiny_gguf.write(tmp_path / "embedding.gguf", pooled=True)
    model = Model(context=512, threads=1, capabilities=["embeddings"])
    async with running(LlamaCpp(), model, folder, weights) as worker:
        data = (await worker.openai.embeddings.create(model="any", input=["one", "two"])).data
        assert [len(item.embedding) for item in data] == [tiny_gguf.WIDTH] * 2


@pytest.mark.anyio
async def test_one_model_can_both_chat_and_embed(folder, weights):
    model = Model(context=512, threads=1, capabilities=["chat", "completion", "embeddings"])
    async with running(LlamaCpp(), model, folder, weights) as worker:
        assert (await worker.chat(max_tokens=3)).usage.completion_tokens == 3
        data = (await worker.openai.embeddings.create(model="any", input="one")).data
        assert len(data[0].embedding) == tiny_gguf.WIDTH


@pytest.mark.anyio
async def test_the_engines_settings_are_taken(folder, weights):
    model = Model(
        context=512,
        threads=1,
        cache_type_k="q8_0",
        cache_type_v="f16",
        flash_attn=False,
        chat_template_kwargs={"enable_thinking": False, "name": "x"},
    )
    async with running(LlamaCpp(), model, folder, weights) as worker:
        assert (await worker.chat(max_tokens=3)).usage.completion_tokens == 3


@pytest.mark.anyio
async def test_the_worker_of_the_engine_ends_cleanly_when_asked(folder, weights):
    async with running(LlamaCpp(), Model(context=512, threads=1), folder, weights) as worker:
        async with asyncio.timeout(DEADLINE_S):
            async for line in worker.child.follow(100):
                if line.startswith("serving"):
                    break
        os.kill(worker.child.pid, signal.SIGTERM)
        assert await worker.child.wait() == 0
        assert not worker.socket.exists()


async def load_failure(folder: Path, weights: Path, **fields: Any) -> str:
    launch = LlamaCpp().plan(MODEL_ID, Model(context=512, threads=1, **fields), weights, Listen(str(folder / "w.sock")))
    child = await process.spawn(launch, name=MODEL_ID, log=folder / "w.log")
    async with asyncio.timeout(DEADLINE_S):
        assert await child.wait() == 1
    assert not any("Traceback" in line for line in child.tail(1000))
    return child.tail(1)[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("architecture", "reason"), [(None, "No such file"), ("zzzzz", "unknown model architecture: 'zzzzz'")]
)
async def test_weights_that_the_engine_cannot_load_end_in_one_plain_line(
    folder, tmp_path, weights, architecture, reason
):
    path = tmp_path / "bad.gguf"
    if architecture:
        path.write_bytes(weights.read_bytes().replace(b"llama", architecture.encode()))
    last = await load_failure(folder, path)
    assert last.startswith(f"cannot load {path}: ")
    assert reason in last


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too short"),
        (b"<!doctype html><title>404</title>", "does not start with GGUF"),
        (0.5, "ends at byte"),
        ("llama.block_count", "its block_count is 4294967295"),
        ("general.alignment", "alignment"),
    ],
)
def test_weights_that_cannot_be_a_model_are_refused_before_an_engine_is_started(tmp_path, weights, content, reason):
    path = tmp_path / "bad.gguf"
    whole = weights.read_bytes()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, float):
        path.write_bytes(whole[: int(len(whole) * content)])
    else:
        path.write_bytes(tiny_gguf.with_number(whole, content, 0xFFFF_FFFF))
    for model in (Model(), Model(binary="llama-server")):
        with pytest.raises(SourceError, match=r"bad\.gguf is not a usable GGUF") as caught:
            LlamaCpp().plan("m", model, path, LISTEN)
        assert reason in caught.value.message


@pytest.mark.anyio
async def test_settings_the_engine_refuses_end_in_one_plain_line(folder, weights):
    assert "cache type 'q9' is unknown" in await load_failure(folder, weights, cache_type_k="q9")
    refused = await load_failure(folder, weights, cache_type_v="q8_0", flash_attn=False)
    assert "quantized V cache requires flash_attn" in refused


@pytest.mark.anyio
async def test_a_crash_of_the_engine_while_it_loads_ends_in_one_plain_line(folder):
    code = "import os; from rolecast.backends.llamacpp_worker import LoadReport; LoadReport('w'); os.abort()"
    launch = Launch(argv=(sys.executable, "-c", code), endpoint=Endpoint(), own_watch=True)
    child = await process.spawn(launch, name="m", log=folder / "w.log")
    assert await child.wait() == -signal.SIGABRT
    assert child.tail(1)[0].startswith("cannot load w: the engine ended without giving a reason")


# Fake: the worker


@pytest.mark.anyio
async def test_the_fake_chats_the_same_every_time(folder):
    async with running(Fake(), Model(parallel=3), folder) as worker:
        assert stat.S_IMODE(worker.socket.stat().st_mode) == 0o600
        first, second = [await worker.post("/v1/chat/completions", messages=HELLO) for _ in range(2)]
        assert first.content == second.content
        answer = await worker.chat()
        assert answer.choices[0].message.content == "fake: hello there"
        assert answer.model == MODEL_ID
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 3)
        assert [m.id for m in (await worker.openai.models.list()).data] == [MODEL_ID]
        assert len((await worker.http.get("/slots")).json()) == 3


@pytest.mark.anyio
async def test_the_fake_streams_a_token_per_word_and_timings_last(folder):
    async with running(Fake(), Model(), folder) as worker:
        events = await worker.lines("/v1/chat/completions", messages=HELLO)
        assert [e["choices"][0]["delta"].get("content") for e in events] == [
            None,
            "fake:",
            " hello",
            " there",
            None,
        ]
        assert events[-1]["choices"][0]["finish_reason"] == "stop"
        assert events[-1]["timings"]["predicted_n"] == 3
        assert events[-1]["timings"]["prompt_n"] == 2
        stream = await worker.chat(stream=True, stream_options={"include_usage": True}, n=2)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 6
        assert {c.choices[0].index for c in chunks[:-1]} == {0, 1}


@pytest.mark.anyio
async def test_the_fake_calls_tools(folder):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in ("one", "two")]
    named = {"type": "function", "function": {"name": "two"}}
    async with running(Fake(), Model(), folder) as worker:
        for fields, expected in (
            ({"tool_choice": "required"}, "one"),
            ({"tool_choice": named}, "two"),
            ({"text": "call it"}, "one"),
        ):
            choice = (await worker.chat(tools=tools, **fields)).choices[0]
            assert choice.finish_reason == "tool_calls"
            assert choice.message.content is None
            assert choice.message.tool_calls[0].function.name == expected
            assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": ""}
        async with worker.openai.chat.completions.stream(
            model="any", messages=[{"role": "user", "content": "call it"}], tools=tools
        ) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.tool_calls[0].function.arguments == '{"city":""}'
        plain = (await worker.chat("call it", tools=tools, tool_choice="none")).choices[0]
        assert plain.message.content == "fake: call it"


@pytest.mark.anyio
async def test_the_fake_completes_and_embeds(folder):
    async with running(Fake(), Model(), folder) as worker:
        done = await worker.openai.completions.create(model="any", prompt=["a b", "c"], max_tokens=2)
        assert [choice.text for choice in done.choices] == ["fake: a", "fake: c"]
        events = await worker.lines("/v1/completions", prompt="a b")
        assert "".join(e["choices"][0]["text"] for e in events) == "fake: a b"
        floats = (await worker.openai.embeddings.create(model="any", input="x", encoding_format="float")).data
        assert math.isclose(sum(x * x for x in floats[0].embedding), 1.0)
        packed = (await worker.post("/v1/embeddings", input=["x"], encoding_format="base64")).json()["data"]
        vector = struct.unpack("<32f", base64.b64decode(packed[0]["embedding"]))
        assert vector == pytest.approx(floats[0].embedding, abs=1e-6)


@pytest.mark.anyio
async def test_the_fake_refuses_what_it_cannot_read(folder):
    async with running(Fake(), Model(), folder) as worker:
        for body in (b"{", b"[]", b'{"messages":1}', b'{"messages":[]}', b'\xff{"a":1}'):
            answer = await worker.http.post("/v1/chat/completions", content=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["type"] == "invalid_request_error"


SCRIPT = """
replies:
  - {match: '^hi', reply: 'good day to you'}
  - {match: busy, status: 503}
  - {match: broken, error: {message: no, code: 418}, status: 418}
  - {match: die now, die_after: 0}
  - {match: die, reply: 'a b c d e', die_after: 2}
  - {match: hang, hang: true}
  - {match: slow, reply: 'a b c d e', token_delay: 60}
  - {match: raw, raw: "data: {]\\n\\n"}
"""


@pytest.fixture
def scripted(tmp_path: Path) -> Model:
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT)
    return Model(script=str(path))


@pytest.mark.anyio
async def test_a_script_decides_answers_and_errors(folder, scripted):
    async with running(Fake(), scripted, folder) as worker:
        assert (await worker.chat("hi")).choices[0].message.content == "good day to you"
        assert (await worker.chat("other")).choices[0].message.content == "fake: other"
        with pytest.raises(openai.InternalServerError):
            await worker.chat("busy")
        broken = await worker.post(
            "/v1/chat/completions", messages=[{"role": "user", "content": "broken"}], stream=True
        )
        assert (broken.status_code, broken.json()) == (418, {"error": {"message": "no", "code": 418}})
        raw = await worker.post("/v1/completions", prompt="raw")
        assert raw.text == "data: {]\n\n"


@pytest.mark.anyio
async def test_a_request_cannot_cause_a_fault_by_itself(folder):
    async with running(Fake(), Model(), folder) as worker:
        answer = await worker.chat("die now", extra_body={"die_after": 0, "hang": True, "status": 500})
        assert answer.choices[0].message.content == "fake: die now"


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_a_scripted_death_is_a_real_one(folder, scripted, stream):
    async with running(Fake(), scripted, folder) as worker:
        body = {"messages": [{"role": "user", "content": "please die"}], "stream": stream}
        got = bytearray()

        async def read() -> None:
            async with worker.http.stream("POST", "/v1/chat/completions", json=body) as answer:
                async for data in answer.aiter_bytes():
                    got.extend(data)

        with pytest.raises(httpx2.TransportError):
            await read()
        assert got.count(b'"content":"') == (2 if stream else 0)
        assert await worker.child.wait() == -signal.SIGSEGV


@pytest.mark.anyio
async def test_the_fake_is_free_again_when_the_client_leaves(folder, scripted):
    async with running(Fake(), scripted, folder) as worker:
        for text, stream in (("hang", True), ("hang", False), ("slow", True), ("slow", False)):
            messages = [{"role": "user", "content": text}]
            call = asyncio.ensure_future(worker.post("/v1/chat/completions", messages=messages, stream=stream))
            async with asyncio.timeout(DEADLINE_S):
                while not (await worker.http.get("/slots")).json()[0]["is_processing"]:
                    await asyncio.sleep(0.01)
            call.cancel()
            await asyncio.wait({call})
            await until_idle(worker)


@pytest.mark.anyio
@pytest.mark.parametrize("content", ["replies: [{replay: x}]", "replies: {", "replies: [{match: '('}]", None])
async def test_a_bad_script_ends_the_fake_in_one_plain_line(folder, tmp_path, content):
    path = tmp_path / "script.yaml"
    if content is not None:
        path.write_text(content)
    launch = Fake().plan("m", Model(script=str(path)), None, Listen(str(folder / "w.sock")))
    child = await process.spawn(launch, name="m", log=folder / "w.log")
    async with asyncio.timeout(DEADLINE_S):
        assert await child.wait() == 1
    assert child.tail(50)[0].startswith(f"cannot load the script {path}: ")
    assert "Traceback" not in "".join(child.tail(50))


def test_only_a_named_script_can_be_missing_for_the_fake(scripted, tmp_path):
    assert Fake().missing(Model()) is None
    assert Fake().missing(scripted) is None
    assert "script" in str(Fake().missing(Model(script=str(tmp_path / "none.yaml"))))


# Fake: what it says


def ask(**fields: Any) -> fake_answer.Request:
    return fake_answer.Request(messages=[fake_answer.Message(role="user", content="one two three")], **fields)


@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({}, "fake: one two three", "stop"),
        ({"max_tokens": 2}, "fake: one", "length"),
        ({"max_tokens": 4}, "fake: one two three", "stop"),
        ({"max_tokens": 0}, "", "length"),
        ({"max_tokens": -1}, "fake: one two three", "stop"),
        ({"max_tokens": 3, "max_completion_tokens": 1}, "fake:", "length"),
        ({"stop": " two"}, "fake: one", "stop"),
        ({"stop": ["three", "one", ""]}, "fake: ", "stop"),
    ],
)
def test_limits_and_stops_end_the_answer(fields, text, finish):
    answer = fake_answer.answer_chat(ask(**fields), fake_answer.Reply())
    assert (answer.text, answer.finish) == (text, finish)


def test_text_parts_are_read_and_the_result_of_a_tool_is_answered():
    parts = [fake_answer.Part(text="a"), fake_answer.Part(type="image_url"), fake_answer.Part(text="b")]
    tools = [fake_answer.Tool(function=fake_answer.Function(name="f"))]
    messages = [fake_answer.Message(role="user", content=parts)]
    request = fake_answer.Request(messages=messages)
    assert fake_answer.last_text(request) == "a\nb"
    messages.append(fake_answer.Message(role="tool", content="call again"))
    request = fake_answer.Request(messages=messages, tools=tools)
    assert fake_answer.answer_chat(request, fake_answer.Reply()).text == "fake: call again"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 5}, 5),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "string", "minLength": 2}, "xx"),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": ["boolean", "null"]}, False),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, 0),
        ({"type": "array", "minItems": 2, "items": {"type": "null"}}, [None, None]),
        ({"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}, {"a": ""}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"const": 1}}}, 1),
        ({"$ref": "#/nowhere"}, None),
        ({}, None),
    ],
)
def test_a_smallest_instance_of_a_schema_is_made(schema, value):
    assert fake_answer.instance(schema) == value


def test_a_schema_that_contains_itself_comes_to_an_end():
    schema = {"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]}
    assert fake_answer.instance(schema)["me"]["me"]


@pytest.mark.parametrize(
    ("response_format", "text"),
    [
        ({"type": "json_object"}, '{"answer":"fake"}'),
        ({"type": "json_object", "schema": {"const": 1}}, "1"),
        ({"type": "json_schema", "json_schema": {"schema": {"const": 2}}}, "2"),
        ({"type": "text"}, "fake: one two three"),
    ],
)
def test_json_is_answered_when_json_is_asked_for(response_format, text):
    request = ask(response_format=response_format)
    assert fake_answer.answer_chat(request, fake_answer.Reply()).text == text


@pytest.mark.parametrize(
    ("given", "texts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], ["1 2"]), ([[1, 2], [3]], ["[1,2]", "[3]"]), ([], [])],
)
def test_each_form_of_embedding_input_is_read(given, texts):
    assert fake_answer.texts_to_embed(fake_answer.Request(input=given)) == texts
