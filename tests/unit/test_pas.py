"""The PAS services' own paths on a scripted worker: /generate and its refusals, /info with what was measured."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_gguf
from databases import OpenStore, database, postgres
from gateway import (
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
    pair,
    raw,
    reply,
    request,
    running_gateway,
    stream,
    until,
)
from hypothesis import given
from hypothesis import strategies as st

from rolecast import __version__
from rolecast.books.ledger import Ledger
from rolecast.books.pace import MOST, Pace, pace
from rolecast.config.schema import Limits, Listener, Model
from rolecast.dialects import entries
from rolecast.dialects.pas import on_port
from rolecast.errors import BadRequest
from rolecast.values import Usage

pytestmark = pytest.mark.anyio
__all__ = ["database", "postgres"]  # fixtures

PORT = "llm_llama31_8b"
PATHS = ("/generate", "/api/generate")
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
FIELDS = {
    "model",
    "created_at",
    "response",
    "done",
    "done_reason",
    "context",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    listeners = [
        Listener(port=0, name=PORT, model="m", surface="pas"),
        Listener(port=0, name="plain", model="m"),
        Listener(port=0, name="every model", surface="pas"),
    ]
    fields = {"context": 8192, "parameters": "8B", "quantization": "Q4_K_M", "capabilities": ["chat", "reasoning"]}
    async with pair(model=fields, listeners=listeners) as (gate, worker):
        yield gate, worker


def asked(path: str = "/generate", **fields: Any) -> bytes:
    return request({"model": "llama3.1:8b", "prompt": "What is AI?", **fields}, path=path)


async def info(gate: Gate, port: str = PORT) -> Any:
    answer = await gate.ask(request(path="/info", method="GET"), port, "GET")
    assert answer.status == 200, answer.body
    return answer.json


# -- prompts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_a_prompt_is_answered_in_one_object_unless_a_stream_is_wanted(
    both: tuple[Gate, ScriptedWorker], path: str
) -> None:
    gate, worker = both
    options = {"temperature": 0.7, "num_predict": 500, "top_k": 1}
    answer = await gate.ask(asked(path, options=options, system="be brief"), PORT)
    assert (answer.status, answer.header("content-type")) == (200, "application/json; charset=utf-8")
    assert set(answer.json) == FIELDS
    assert (answer.json["response"], answer.json["done"], answer.json["eval_count"]) == ("hi", True, 2)
    sent = worker.requests[0].json
    assert (sent["max_tokens"], sent["temperature"], sent["top_k"]) == (500, 0.7, 1)
    assert [m["content"] for m in sent["messages"]] == ["be brief", "What is AI?"]
    worker.script.append(stream(delta("Hel"), delta("lo"), FINISH, USAGE, DONE))
    answer = await gate.ask(asked(path, stream=True), PORT)
    assert answer.header("content-type") == "application/x-ndjson"
    *pieces, last = map(json.loads, answer.body.splitlines())
    assert [piece["response"] for piece in pieces] == ["Hel", "lo"]
    assert (last["done"], last["eval_count"]) == (True, 3)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("named", [{}, {"model": "anything"}, {"model": ""}, {"model": "m"}])
async def test_the_model_of_the_port_answers_and_says_so(
    both: tuple[Gate, ScriptedWorker], path: str, named: dict[str, str]
) -> None:
    gate, _ = both
    answer = await gate.ask(request({"prompt": "hi", **named}, path=path), PORT)
    assert (answer.status, answer.json["model"], answer.header("x-rolecast-model")) == (200, "m", "m")
    assert (await gate.rows())[-1].asked == "m"


async def test_where_the_port_has_no_model_the_name_counts(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    assert (await gate.ask(asked(model="m"), "every model")).json["model"] == "m"
    assert (await gate.ask(request({"prompt": "hi"}, path="/generate"), "every model")).status == 200
    unknown = await gate.ask(asked(model="nobody"), "every model")
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": 1}),
    ("options.top_k", {"options": {"top_k": 0}}),
    ("options.num_predict", {"options": {"num_predict": -3}}),
    ("options.num_predict", {"options": {"num_predict": 8193}}),
    ("options.repeat_penalty", {"options": {"repeat_penalty": -1}}),
    ("options.top_p", {"options": {"top_p": 2}}),
    ("options.temperature", {"options": {"temperature": "SECRET"}}),
    ("stream", {"stream": "SECRET"}),
    ("format", {"format": "SECRET"}),
    ("keep_alive", {"keep_alive": "SECRET"}),
    ("context", {"context": [1, 2, 3]}),
    ("template", {"template": "SECRET"}),
    ("messages", {"messages": [{"role": "user", "content": "SECRET"}]}),
]


@pytest.mark.parametrize(("param", "fields"), REFUSED)
async def test_a_wrong_value_is_422_with_a_detail(
    both: tuple[Gate, ScriptedWorker], param: str, fields: dict[str, Any]
) -> None:
    gate, worker = both
    answer = await gate.ask(asked(**fields), PORT)
    assert (answer.status, answer.error["param"]) == (422, param)
    assert f"`{param}`" in answer.error["message"]
    assert "SECRET" not in answer.error["message"]
    assert not worker.requests


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"prompt":"\xff"}', b"[" * 5000])
async def test_what_is_no_json_object_is_400(both: tuple[Gate, ScriptedWorker], body: bytes) -> None:
    gate, _ = both
    answer = await gate.ask(request(body, path="/generate"), PORT)
    assert (answer.status, answer.error["code"]) == (400, "bad_json")


@pytest.mark.parametrize("number", [-2, -1, 0, 1, 8192])
async def test_an_answer_may_take_the_whole_context_or_have_no_limit(
    both: tuple[Gate, ScriptedWorker], number: int
) -> None:
    gate, worker = both
    assert (await gate.ask(asked(options={"num_predict": number}), PORT)).status == 200
    assert worker.requests[0].json.get("max_tokens") == (number if number > 0 else None)


async def test_only_these_ports_have_them(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    for port in ("plain", "front door"):
        assert (await gate.ask(request(path="/info", method="GET"), port, "GET")).status == 404
        assert "category" in (await gate.ask(asked(model="m"), port)).json  # Conductor's, which knows Ollama's form
    wrong = await gate.ask(request(path="/generate", method="GET"), PORT, "GET")
    assert (wrong.status, wrong.header("allow"), wrong.error["code"]) == (405, "POST", "method_not_allowed")
    worker.script.append(stream(delta("hi"), FINISH, DONE))
    elsewhere = await gate.ask(asked("/api/generate", model="m"), "plain")
    assert elsewhere.header("content-type") == "application/x-ndjson"


async def test_ollamas_own_path_loads_and_refuses_as_ollama_does(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    loaded = await gate.ask(request({"model": "x"}, path="/api/generate"), PORT)
    assert (loaded.status, loaded.json["done_reason"]) == (200, "load")
    wrong = await gate.ask(asked("/api/generate", template="{{ .Prompt }}"), PORT)
    assert (wrong.status, type(wrong.json["error"])) == (400, str)


async def test_the_first_line_is_there_before_the_last_is_made(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with gate.client(PORT) as client:
        await client.send(asked(stream=True))
        await client.head()
        size = int(await client.reader.readline(), 16)
        assert json.loads(await client.reader.readexactly(size))["response"] == "one"
        assert not slow.let_go.is_set()
        slow.let_go.set()


async def test_who_leaves_frees_the_slot_and_stops_the_worker(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with gate.client(PORT) as client:
        await client.send(asked())
        await slow.began.wait()
        client.abort()
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 10)
    await until(lambda: gate.gateway.fleet.worker("m").active == 0)


async def test_an_error_of_the_worker_has_a_detail_before_and_inside_of_a_stream(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    worker.usual = reply(b'{"error":{"message":"too long"}}', 400)
    answer = await gate.ask(asked(), PORT)
    assert (answer.status, "too long" in answer.json["detail"]) == (400, True)
    worker.script.append(raw(SSE_HEAD + chunk(delta("one")), close=True))
    answer = await gate.ask(asked(stream=True), PORT)
    first, last = map(json.loads, answer.body.splitlines())
    assert (first["response"], set(last)) == ("one", {"error", "detail"})


TEXT = st.text("a1{\x00\u00e9", max_size=4)
JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | TEXT, st.lists, max_leaves=3)
OPTIONS = ("num_predict", "top_k", "temperature", "seed", "stop", "unknown")
NAMES = ("model", "prompt", "system", "context", "stream", "raw", "suffix", "format", "options", "keep_alive", "think")
READ = on_port(entries(Limits()), Limits(), "m", 100)


@given(
    st.dictionaries(st.sampled_from(NAMES), JSON | st.dictionaries(st.sampled_from(OPTIONS), JSON)),
    st.sampled_from(PATHS),
)
def test_any_object_is_read_or_refused(fields: dict[str, Any], path: str) -> None:
    refusal: BadRequest | None = None
    try:
        read = READ[path.encode()].read(json.dumps(fields).encode())
    except BadRequest as error:
        refusal = error
    if refusal is not None:
        assert refusal.status == (422 if path == "/generate" and refusal.param else 400)
    else:
        assert (read.asked, read.stream) == ("m", fields.get("stream") is True and not read.only)


# -- /info ---------------------------------------------------------------------------------------------------------


async def test_the_info_tells_the_model_and_what_was_measured_on_its_port(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    before = await info(gate)
    assert before == {
        "service_name": "Llama 3.1 8B Wrapper",
        "version": __version__,
        "model": {
            "name": "m",
            "parameters": "8B",
            "quantization": "Q4_K_M",
            "context_length": 8192,
            "embedding_dim": None,
        },
        "capabilities": ["chat", "reasoning"],
        "performance": {"avg_throughput_tok_s": 0.0, "avg_latency_ms": None, "p95_latency_ms": None},
        "endpoints": [
            "/chat/completions",
            "/generate",
            "/health",
            "/info",
            "/v1/chat/completions",
            "/api/generate",
        ],
    }
    await gate.ask(request(chat()), "plain")  # counts for another port
    await gate.rows()
    assert await info(gate) == before
    for body in (asked(), request(chat(), path="/chat/completions")):
        assert (await gate.ask(body, PORT)).status == 200
    worker.usual = reply(b"{}", 500)
    assert (await gate.ask(asked(), PORT)).status >= 500
    rows = [row for row in await gate.rows() if row.listener == PORT and row.outcome == "ok"]
    times = [row.total_ms for row in rows]
    assert len(rows) == 2
    assert (await info(gate))["performance"] == {
        "avg_throughput_tok_s": round(4 / sum(times) * 1000, 1),
        "avg_latency_ms": round(sum(times) / 2, 1),
        "p95_latency_ms": round(max(times), 1),
    }


async def test_every_path_that_the_info_names_is_there(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    for path in (await info(gate))["endpoints"]:
        method = "GET" if path in ("/health", "/info") else "POST"
        body = None if method == "GET" else {"prompt": "hi", **chat()} if "chat" in path else {"prompt": "hi"}
        assert (await gate.ask(request(body, path=path, method=method), PORT, method)).status == 200


async def test_what_the_weights_say_is_told_where_the_configuration_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    tiny_gguf.write(path)
    models = {"m": Model(backend="fake", source=f"file:{path}"), "n": Model(backend="fake")}
    listeners = [Listener(port=0, model="m", surface="pas"), Listener(port=0, name="n", model="n", surface="pas")]
    async with running_gateway(config(models, listeners=listeners), tmp_path) as gate:
        told = await info(gate, "m:0")
        assert told["service_name"] == "m"
        assert told["model"]["embedding_dim"] > 0
        assert (told["model"]["parameters"][-1], told["model"]["context_length"]) == ("K", 4096)
        assert (await info(gate, "n"))["model"]["parameters"] is None


async def test_a_port_that_the_system_chose_tells_its_number(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    health = (await gate.ask(request(method="GET", path="/health"), PORT, "GET")).json
    assert (health["port"], health["ollama_backend"]) == (gate.port(PORT), worker.url)


async def test_a_stand_in_plays_what_its_model_is_for(tmp_path: Path) -> None:
    words = ["chat", "tagging", "domain_classification"]
    models = {"m": Model(source=f"file:{tmp_path}/absent.gguf", capabilities=words), "fake": Model(backend="fake")}
    names = (PORT, "tlc_domain_classifier")
    listeners = [Listener(port=0, name=name, model="m", surface="pas") for name in names]
    setup = config(models, listeners=listeners)
    async with running_gateway(msgspec.structs.replace(setup, stand_in="fake"), tmp_path) as gate:
        said = [await info(gate, name) for name in names]
        assert [each["stand_in"] for each in said] == ["fake", "fake"]
        assert "tagging" in said[0]["capabilities"]
        assert "domain_classification" not in said[0]["capabilities"]
        assert said[1]["capabilities"] == ["domain_classification"]


async def test_a_model_that_left_is_said_so(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    now = gate.gateway.current.config
    gone = msgspec.structs.replace(now, models={"n": Model(backend="fake")}, roles={"standard": ["n"]})
    await gate.gateway.reloader.apply(gone)
    answer = await gate.ask(request(path="/info", method="GET"), PORT, "GET")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_the_pace_is_that_of_the_newest_answers_of_one_worker_on_one_port(database: OpenStore) -> None:
    store = database()
    await store.open()
    try:
        ledger = Ledger(store)
        now = int(time.time() * 1000) << 20

        def add(number: int, seconds: float, tokens: int = 10, outcome: str = "ok", **columns: str) -> None:
            where = {"listener": "p", "kind": "chat", "asked": "m", "model": "m", "worker": "m"} | columns
            route = ledger.route(**where, role="", route="", key="")
            error = None if outcome == "ok" else "x"
            ledger.record(number, route, 200, outcome, error, False, Usage(1, tokens), 0.0, seconds, 1, 0, 0, "")

        add(5, 99.0)  # long ago
        add(now + 1, 99.0, listener="q")
        add(now + 2, 99.0, worker="stand-in")
        add(now + 3, 99.0, outcome="error")
        add(now + 4, 99.0, outcome="cancelled")
        add(now + 5, 99.0, tokens=0)  # only loaded the model
        await ledger.close()
        assert await pace(store, "p", "m") is None
        for n in range(1, 101):
            add(now + 10 + n, n / 100)
        await ledger.close()
        assert await pace(store, "p", "m") == Pace(1000 / 50.5, 505.0, 950.0)
        for n in range(MOST):
            add(now + 1000 + n, 2.0, tokens=4)
        await ledger.close()
        assert await pace(store, "p", "m") == Pace(2.0, 2000.0, 2000.0)
    finally:
        await store.close()
