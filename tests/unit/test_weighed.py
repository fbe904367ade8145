"""Who answers `auto` on a running gateway: by what is loaded, by queues, by the client's wish, by the conversation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    Answer,
    Gate,
    Held,
    ScriptedWorker,
    config,
    on_uvloop,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
)

from rolecast.config.edit import edit_to
from rolecast.config.edit import prepare as prepare_edit
from rolecast.config.schema import Config, Model

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CODE = "Write a Python function that merges two sorted lists into one and explain its complexity."


@asynccontextmanager
async def remotes(*ids: str, **roles: Any) -> AsyncIterator[tuple[Gate, dict[str, ScriptedWorker], Config]]:
    """A gateway whose models are played by a worker each; all are in the default role."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        workers = {i: await stack.enter_async_context(ScriptedWorker().listening(f"{folder}/{i}")) for i in ids}
        conf = config({i: remote(workers[i].url, parallel=1, timeout=5.0) for i in ids})
        conf = msgspec.structs.replace(conf, roles={"standard": list(ids), **roles})
        gate = await stack.enter_async_context(running_gateway(conf, Path(folder)))
        await gate.gateway.cards.learn()
        yield gate, workers, conf


def turns(*said: str, **fields: Any) -> bytes:
    """A chat in which a model answered all but the last text."""
    messages: list[dict[str, Any]] = []
    for text in said:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]
    return request({"model": fields.pop("model", "auto"), "messages": messages[:-1], **fields})


async def who(gate: Gate, data: bytes) -> tuple[str, str]:
    """Who answered, and why."""
    answer: Answer = await gate.ask(data)
    assert answer.status == 200, answer.body
    return answer.header("x-rolecast-model") or "", answer.header("x-rolecast-route") or ""


# -- what is loaded ----------------------------------------------------------------------------------------------


async def test_what_is_loaded_answers_before_what_is_a_little_better_unless_quality_is_wished(tmp_path: Path) -> None:
    models = {"big": Model(backend="fake", quality=0.78), "small": Model(backend="fake", quality=0.65)}
    conf = msgspec.structs.replace(config(models), roles={"standard": ["big", "small"]})
    async with running_gateway(conf, tmp_path) as gate:
        await gate.gateway.cards.learn()
        gate.gateway.cards.loaded("big", 30.0)
        assert (await who(gate, turns("hello", model="small")))[0] == "small"
        model, route = await who(gate, turns("hello there"))
        assert (model, route.rpartition(", ")[2]) == ("small", "resident before better")
        assert gate.gateway.fleet.worker("big").generation == 0
        model, route = await who(gate, turns("hello you", metadata={"prefer": "quality"}))
        assert model == "big"
        assert (await who(gate, turns("hello them")))[0] == "big"  # it is loaded now
        assert gate.gateway.paces.of("big").load_s < 30


async def test_the_role_that_a_client_names_is_loaded_as_it_stands(tmp_path: Path) -> None:
    models = {"big": Model(backend="fake"), "small": Model(backend="fake")}
    conf = msgspec.structs.replace(config(models), roles={"standard": ["big", "small"]})
    async with running_gateway(conf, tmp_path) as gate:
        await who(gate, turns("hello", model="small"))
        assert (await who(gate, turns("hello", model="standard")))[0] == "big"


# -- queues and failures -----------------------------------------------------------------------------------------


async def test_a_request_goes_past_a_queue_to_an_idle_model() -> None:
    async with remotes("first", "second") as (gate, workers, _):
        assert (await who(gate, turns("one")))[0] == "first"
        gate.gateway.paces.of("first").request_s = 15.0
        held = Held()
        workers["first"].script.append(held)
        async with gate.client() as client:
            await client.send(turns("two", model="first", stream=True))
            await held.began.wait()
            model, route = await who(gate, turns("three"))
            assert (model, route.rpartition(", ")[2]) == ("second", "less busy")
            held.let_go.set()
            await client.answer()
        assert (await who(gate, turns("four")))[0] == "first"


async def test_a_model_that_failed_just_now_is_left_alone_for_a_while() -> None:
    async with remotes("first", "second") as (gate, workers, _):
        workers["first"].usual = raw(close=True)
        assert (await who(gate, turns("one")))[0] == "second"
        asked = len(workers["first"].requests)
        assert (await who(gate, turns("two")))[0] == "second"
        assert len(workers["first"].requests) == asked


@pytest.mark.parametrize(("asked", "rests_s"), [(b"60", 60), (b"1", 5), (b"86400", 300), (b"2.5", 5), (b"soon", 5)])
async def test_a_server_that_asks_to_be_left_alone_is_for_as_long_as_it_says(asked: bytes, rests_s: float) -> None:
    async with remotes("a", "b") as (gate, workers, _):
        workers["a"].usual = reply(b'{"error":{"message":"slow down"}}', 429, head=b"retry-after: %b\r\n" % asked)
        assert (await who(gate, turns("hello")))[1] == "fallback; a failed"
        model, route = await who(gate, turns("hello again"))
        assert (model, route.rpartition(", ")[2]) == ("b", "less busy")
        assert len(workers["a"].requests) == 1
        waits_s = gate.gateway.plans.card("a").wait_s
        assert rests_s - 2 < waits_s <= rests_s
        assert gate.gateway.plans.card("b").wait_s == 0
        workers["b"].usual = workers["a"].usual
        workers["a"].usual = reply()
        assert (await who(gate, turns("hello you")))[0] == "a"  # better than nobody


async def test_a_request_that_only_loads_decides_nothing_for_those_that_ask() -> None:
    async with remotes("first", "second", coding=["second"]) as (gate, _, _):
        for _ in range(2):
            answer = await gate.ask(request({"model": "auto"}, path="/api/generate"))
            assert answer.status == 200
            assert (await who(gate, turns(CODE)))[0] == "second"
            assert (await who(gate, turns("hello")))[0] == "first"


# -- conversations -----------------------------------------------------------------------------------------------


async def begun_at_second(gate: Gate, workers: dict[str, ScriptedWorker], said: str) -> None:
    """A conversation whose first turn the second model answers, because the first one is busy."""
    held = Held()
    workers["first"].script.append(held)
    async with gate.client() as client:
        await client.send(turns("busy", model="first", stream=True))
        await held.began.wait()
        assert (await who(gate, turns(said)))[0] == "second"
        held.let_go.set()
        await client.answer()


async def test_a_conversation_stays_with_the_model_that_began_it() -> None:
    async with remotes("first", "second") as (gate, workers, _):
        await begun_at_second(gate, workers, "hello")
        model, route = await who(gate, turns("hello", "and then?"))
        assert (model, route.rpartition(", ")[2]) == ("second", "as before")
        assert (await who(gate, turns("hello", "and then?", "well?")))[0] == "second"
        assert (await who(gate, turns("hello")))[0] == "first"  # it begins anew
        assert (await who(gate, turns("another", "and then?")))[0] == "first"


async def test_a_conversation_with_a_model_that_was_named_is_not_bound() -> None:
    async with remotes("first", "second") as (gate, _, _):
        assert (await who(gate, turns("hello", model="second")))[0] == "second"
        assert (await who(gate, turns("hello", "and then?")))[0] == "first"
        assert len(gate.gateway.plans.bonds) == 1


async def test_sticky_false_weighs_every_turn_anew() -> None:
    async with remotes("first", "second") as (gate, workers, conf):
        await begun_at_second(gate, workers, "hello")
        routing = msgspec.structs.replace(conf.routing, sticky=False)
        await reload(gate, msgspec.structs.replace(conf, routing=routing))
        assert (await who(gate, turns("hello", "and then?")))[0] == "first"


async def test_a_conversation_outlives_its_model_and_goes_back_to_a_better_one_after_a_failure() -> None:
    async with remotes("first", "second", "third") as (gate, workers, _):
        await begun_at_second(gate, workers, "hello")
        workers["second"].usual = reply(b"{}", 503)
        model, _ = await who(gate, turns("hello", "two"))
        assert model == "first"
        assert (await who(gate, turns("hello", "two", "three")))[0] == "first"
        assert len(workers["second"].requests) == 2


async def test_a_reload_forgets_the_conversations_of_a_model_that_left() -> None:
    async with remotes("first", "second") as (gate, workers, conf):
        await begun_at_second(gate, workers, "hello")
        assert len(gate.gateway.plans.bonds) == 1
        left = {i: m for i, m in conf.models.items() if i != "second"}
        await reload(gate, msgspec.structs.replace(conf, models=left, roles={"standard": ["first"]}))
        assert len(gate.gateway.plans.bonds) == 0
        assert (await who(gate, turns("hello", "and then?")))[0] == "first"


async def test_a_tool_call_is_finished_by_the_model_that_made_it_and_code_moves_on_after_it() -> None:
    async with remotes("first", "second", coding=["second"]) as (gate, _, _):
        assert (await who(gate, turns("hello there, my friend")))[0] == "first"
        talk = [{"role": "user", "content": "hello there, my friend"}, {"role": "assistant", "content": "hi"}]
        call = [
            {"role": "user", "content": CODE},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
        ]
        model, route = await who(gate, request({"model": "auto", "messages": [*talk, *call]}))
        assert (model, route.rpartition(", ")[2]) == ("first", "its tool call is open")
        after = [*talk, *call, {"role": "assistant", "content": "there"}, {"role": "user", "content": CODE}]
        model, route = await who(gate, request({"model": "auto", "messages": after}))
        assert (model, route) == ("second", "learned; looks like code_generation, so coding")
        thanks = [*after, {"role": "assistant", "content": "x"}, {"role": "user", "content": "thank you so much"}]
        assert (await who(gate, request({"model": "auto", "messages": thanks})))[0] == "second"


async def test_nothing_that_was_said_is_kept() -> None:
    async with remotes("first") as (gate, _, _):
        await who(gate, turns("a secret word", "and another"))
        kept = gate.gateway.plans.bonds
        assert len(kept) == 1
        assert "secret" not in repr(kept._bonds)


async def test_a_hundred_conversations_at_once_stay_apart() -> None:
    async with remotes("first", "second") as (gate, _, _):
        for said in range(2):
            found = await asyncio.gather(*(who(gate, turns(*[f"talk {i}"] * (said + 1))) for i in range(100)))
            assert {model for model, _ in found} <= {"first", "second"}
        assert len(gate.gateway.plans.bonds) == 100


async def reload(gate: Gate, conf: Config) -> None:
    """Another configuration applies."""
    old = gate.gateway.current.config
    edit = edit_to(msgspec.structs.replace(conf, storage=old.storage), {})
    change = await prepare_edit(gate.gateway.parts, edit)
    change.commit()
