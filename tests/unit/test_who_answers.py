"""Who answers a request on a running gateway: by what it needs, shared by equals, and as a port judges it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_gguf
from gateway import (
    ANSWER,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    config,
    on_uvloop,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
)

from rolecast.config.schema import Config, Listener, Model
from rolecast.decision import Facts
from rolecast.sources.here import stand_ins

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

EMBED = "/v1/embeddings"
VECTOR = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0]}]}'
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
WITH_TOOLS = tiny_gguf.CHAT_TEMPLATE + "{% if tools %}{{ tools | tojson }}{% endif %}"


@asynccontextmanager
async def cast(
    models: dict[str, dict[str, Any]], roles: dict[str, Any], **more: Any
) -> AsyncIterator[tuple[Gate, dict[str, ScriptedWorker]]]:
    """A gateway whose remotes are played by a worker each."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        workers = {
            name: await stack.enter_async_context(ScriptedWorker().listening(f"{folder}/{i}.sock"))
            for i, name in enumerate(models)
        }
        conf = config({name: remote(workers[name].url, **fields) for name, fields in models.items()}, **more)
        conf = msgspec.structs.replace(conf, roles={"standard": [next(iter(models))], **roles})
        yield await stack.enter_async_context(running_gateway(conf, Path(folder))), workers


def seeing(model: str, **fields: Any) -> bytes:
    return request({"model": model, "messages": [{"role": "user", "content": [IMAGE]}], **fields})


def calling(model: str, choice: Any = "required") -> bytes:
    return request(chat("hi", model, tools=[TOOL], tool_choice=choice))


def facts(name: str, needs: str = "", prefers: str = "") -> Facts:
    return Facts(name, "chat", frozenset(needs.split()), frozenset(prefers.split()))


# -- needs -----------------------------------------------------------------------------------------------------


async def test_an_image_goes_to_the_model_of_the_role_that_sees() -> None:
    models: dict[str, dict[str, Any]] = {"text": {}, "eyes": {"capabilities": ["chat", "vision"]}}
    async with cast(models, {"both": ["text", "eyes"]}) as (gate, workers):
        for _ in range(2):
            answer = await gate.ask(seeing("both"))
            assert answer.header("x-rolecast-model") == "eyes"
            assert answer.header("x-rolecast-route") == "role; asked for role both, needs vision"
            assert (await gate.ask(request(chat("image_url", "both")))).header("x-rolecast-model") == "text"
        assert [len(w.requests) for w in workers.values()] == [2, 2]
        assert (await gate.ask(seeing("text"))).status == 200  # of a remote that says nothing, nothing is known


async def test_an_image_for_a_blind_model_is_the_clients_mistake(tmp_path: Path) -> None:
    models = {"blind": Model(backend="fake"), "eyes": Model(backend="fake", capabilities=["chat", "vision"])}
    conf = msgspec.structs.replace(config(models), roles={"standard": ["blind"], "both": ["blind", "eyes"]})
    async with running_gateway(conf, tmp_path) as gate:
        for name in ("blind", "standard"):
            answer = await gate.ask(seeing(name))
            error = answer.error
            assert (answer.status, error["code"], error["param"]) == (400, "wrong_capability", "model")
            assert error["message"].endswith("cannot take images, and this request holds some. Here eyes can.")
        assert (await gate.ask(seeing("both"))).header("x-rolecast-model") == "eyes"


async def test_a_call_is_forced_only_on_weights_that_know_tools(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "plain.gguf")
    tiny_gguf.write(tmp_path / "tools.gguf", template=WITH_TOOLS)
    models = {
        "plain": Model(source=f"file:{tmp_path}/plain.gguf", tools=True),  # what is promised and what is true
        "able": Model(source=f"file:{tmp_path}/tools.gguf"),
        "far": Model(backend="openai", url="http://127.0.0.1:1/v1"),
        "absent": Model(source=f"file:{tmp_path}/absent.gguf"),
    }
    conf = msgspec.structs.replace(config(models), roles={"standard": ["plain", "able"], "late": ["absent", "plain"]})
    async with running_gateway(conf, tmp_path) as gate:
        plans, abilities = gate.gateway.plans, gate.gateway.abilities
        assert [abilities.can(m, "tools") for m in models] == [False, True, None, None]
        for choice in ("required", {"type": "function", "function": {"name": "look"}}):
            answer = await gate.ask(calling("plain", choice))
            assert (answer.status, answer.error["code"]) == (400, "wrong_capability")
            assert answer.error["message"].endswith("its chat template knows no tools. Here able can.")
        assert plans.choose(facts("standard", needs="tools")).model == "able"
        wish = plans.choose(facts("standard", prefers="tools"))
        assert (wish.model, wish.alternatives) == ("able", ("plain",))
        listed = (await gate.ask(request(path="/v1/models", method="GET"), method="GET")).json["data"]
        known = {entry["id"]: entry["supports_function_calling"] for entry in listed if entry["kind"] == "model"}
        assert known == {"plain": False, "able": True, "far": False, "absent": False}
        assert plans.choose(facts("late", needs="tools")).model == "absent"  # nobody knows yet
        tiny_gguf.write(tmp_path / "absent.gguf")
        assert (await gate.ask(calling("late"))).error["code"] == "wrong_capability"


async def test_a_list_tells_what_the_stand_in_can_do(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "small.gguf")
    models = {
        "big": Model(
            source=f"file:{tmp_path}/big.gguf", tools=True, context=65536, capabilities=["chat", "vision", "reasoning"]
        ),
        "small": Model(source=f"file:{tmp_path}/small.gguf", context=2048),
        "vectors": Model(source=f"file:{tmp_path}/v.gguf", capabilities=["embeddings"]),
    }
    conf = msgspec.structs.replace(config(models), stand_in="small")
    async with running_gateway(conf, tmp_path) as gate:
        entry = (await gate.ask(request(path="/v1/models/big", method="GET"), method="GET")).json
        assert entry["stand_in"] == "small"
        assert (entry["supports_function_calling"], entry["context_length"]) == (False, 2048)
        assert entry["capabilities"] == ["chat", "completion"]
        assert (await gate.ask(seeing("big"))).error["code"] == "wrong_capability"


def test_nobody_stands_in_for_a_model_that_embeds(tmp_path: Path) -> None:
    both = ["chat", "embeddings"]
    models = {
        "helper": Model(backend="fake", capabilities=both),
        "vectors": Model(source=f"file:{tmp_path}/a.gguf", capabilities=["embeddings"]),
        "both": Model(source=f"file:{tmp_path}/b.gguf", capabilities=both),
        "chat": Model(source=f"file:{tmp_path}/c.gguf", capabilities=["chat"]),
    }
    assert stand_ins(Config(models=models, stand_in="helper")) == {"chat": "helper"}


# -- embeddings --------------------------------------------------------------------------------------------------


async def test_an_embedding_model_that_fails_is_not_replaced_by_another() -> None:
    models = {name: {"capabilities": ["embeddings"]} for name in ("a", "b")}
    async with cast(models, {"vectors": ["a", "b"], "equals": [["a", "b"]]}) as (gate, workers):
        workers["a"].usual = reply(b'{"error":{"message":"not now"}}', 503)
        workers["b"].usual = reply(VECTOR)
        body = {"model": "vectors", "input": "x"}
        assert (await gate.ask(request(body, path=EMBED))).status >= 500
        assert not workers["b"].requests
        for _ in range(2):  # those that are declared equal give the same vectors
            answer = await gate.ask(request({**body, "model": "equals"}, path=EMBED))
            assert (answer.status, answer.header("x-rolecast-model")) == (200, "b")


# -- equals ------------------------------------------------------------------------------------------------------


async def test_requests_at_the_same_time_are_spread_over_equals() -> None:
    async with cast({name: {} for name in "abcd"}, {"fast": [["a", "b", "c"], "d"]}) as (gate, workers):
        held = {name: [Held() for _ in range(10)] for name in "abc"}
        for name, scripts in held.items():
            workers[name].script.extend(scripts)
        body = request(chat("hi", "fast", stream=True))
        asking = [asyncio.create_task(gate.ask(body)) for _ in range(30)]
        everyone = [script for scripts in held.values() for script in scripts]
        for script in everyone:
            await asyncio.wait_for(script.began.wait(), 30)
        for script in everyone:
            script.let_go.set()
        answers = await asyncio.gather(*asking)
        assert Counter(answer.header("x-rolecast-model") for answer in answers) == {"a": 10, "b": 10, "c": 10}
        assert not workers["d"].requests
        assert {row.role for row in await gate.rows()} == {"fast"}


async def test_one_after_the_other_they_take_turns_and_the_role_stays_best_first() -> None:
    async with cast({name: {} for name in "abc"}, {"fast": [["a", "b"], "c"], "plain": ["a", "b"]}) as (gate, _):
        asked = [(await gate.ask(request(chat("hi", "fast")))).header("x-rolecast-model") for _ in range(6)]
        assert Counter(asked) == {"a": 3, "b": 3}
        plain = [(await gate.ask(request(chat("hi", "plain")))).header("x-rolecast-model") for _ in range(3)]
        assert plain == ["a", "a", "a"]


async def test_an_equal_that_fails_is_replaced_by_another_and_rests() -> None:
    async with cast({name: {} for name in "abc"}, {"fast": [["a", "b"], "c"]}) as (gate, workers):
        workers["a"].usual = raw(b"", close=True)
        answers = [await gate.ask(request(chat("hi", "fast"))) for _ in range(8)]
        assert [(a.status, a.header("x-rolecast-model")) for a in answers] == [(200, "b")] * 8
        assert len(workers["a"].requests) == 1  # once tried it is left alone for a while
        workers["b"].usual = raw(b"", close=True)
        assert (await gate.ask(request(chat("hi", "fast")))).header("x-rolecast-model") == "c"


async def test_a_fall_back_to_equals_is_spread_too() -> None:
    async with cast({name: {} for name in "abc"}, {"fast": ["a", ["b", "c"]]}) as (gate, workers):
        workers["a"].usual = reply(b"{}", 503)
        asked = [(await gate.ask(request(chat("hi", "fast")))).header("x-rolecast-model") for _ in range(4)]
        assert Counter(asked) == {"b": 2, "c": 2}


# -- ports of PAS --------------------------------------------------------------------------------------------------

PAS = [
    ("messages[0].role", {"messages": [{"role": "robot", "content": "SECRET"}]}),
    ("messages[1].role", {"messages": [{"role": "user", "content": "x"}, {"role": "SECRET", "content": "x"}]}),
    ("max_tokens", {"max_tokens": 0}),
    ("max_tokens", {"max_tokens": -1}),
    ("max_tokens", {"max_tokens": 8193}),
    ("max_tokens", {"max_tokens": 9000}),
    ("max_completion_tokens", {"max_completion_tokens": 9000}),
    ("max_tokens", {"extra_body": {"max_tokens": 9000}}),
    ("temperature", {"temperature": 2.1}),
    ("presence_penalty", {"presence_penalty": -3}),
    ("frequency_penalty", {"frequency_penalty": 3}),
]


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
async def test_a_port_of_pas_refuses_what_pas_refuses_and_no_other_port_does(path: str) -> None:
    listeners = [
        Listener(port=0, name="llm_llama31_8b", model="m", surface="pas"),
        Listener(port=0, name="plain", model="m"),
    ]
    async with cast({"m": {"context": 8192}}, {}, listeners=listeners) as (gate, _):
        for param, fields in PAS:
            body = request({**chat(), **fields}, path=path)
            answer = await gate.ask(body, "llm_llama31_8b")
            assert (answer.status, answer.error["param"]) == (422, param)
            assert "SECRET" not in answer.error["message"]
            for port in ("plain", "front door"):
                assert (await gate.ask(body, port)).body == ANSWER
        for fields in ({}, {"max_tokens": 1}, {"max_tokens": 8192}, {"max_tokens": None, "temperature": 2}):
            assert (await gate.ask(request({**chat(), **fields}, path=path), "llm_llama31_8b")).status == 200
        broken = await gate.ask(request({"messages": []}, path=path), "llm_llama31_8b")
        assert (broken.status, broken.error["param"]) == (422, "messages")
