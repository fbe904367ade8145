"""What is done to models while they run, by their own paths and by those of llama-swap and llama.cpp's router."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Answer, Gate, chat, config, on_uvloop, remote, request, running_gateway, until

from rolecast.config.schema import Config, Model, Seconds
from rolecast.fleet import State

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
BASE = "/v1/admin/models"
SLASHES = "org/with:all"
SPELLINGS = [SLASHES, "org%2Fwith%3Aall", "org%2fwith:all", "other"]


SCRIPT = """
replies:
  - {match: ^slow, reply: one two three four, token_delay: 0.05}
  - {match: ^endless, reply: one two three four, token_delay: 60}
"""


def cast(script: Path) -> Config:
    script.write_text(SCRIPT)
    models = {
        "fast": Model(backend="fake", script=str(script), idle_timeout=Seconds(600)),
        SLASHES: Model(backend="fake", aliases=["other"]),
        "far": remote("http://127.0.0.1:9/v1"),
        "absent": Model(source="file:/nowhere/x.gguf"),
    }
    return config(models)


@pytest.fixture(scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    folder = tmp_path_factory.mktemp("control")
    async with running_gateway(cast(folder / "script.yaml"), folder) as running:
        yield running


async def post(gate: Gate, path: str, body: dict[str, Any] | None = None, head: str = "") -> Answer:
    return await gate.ask(request(body, path=path, head=head))


async def get(gate: Gate, path: str) -> Any:
    answer = await gate.ask(request(path=path, method="GET"), method="GET")
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize("name", SPELLINGS)
async def test_a_model_is_found_by_its_path_however_that_is_spelled(gate: Gate, name: str) -> None:
    assert (await get(gate, f"{BASE}/{name}"))["id"] == SLASHES
    unloaded = await post(gate, f"{BASE}/{name}/unload")
    assert (unloaded.status, unloaded.json["id"], unloaded.json["state"]) == (200, SLASHES, "cold")


async def test_a_model_is_loaded_pinned_let_go_and_unloaded(gate: Gate) -> None:
    path = f"{BASE}/org%2Fwith%3Aall"
    cold = await get(gate, path)
    assert (cold["id"], cold["state"], cold["since"], cold["memory_bytes"]) == (SLASHES, "cold", None, 0)
    loaded = (await post(gate, f"{path}/load")).json
    assert (loaded["state"], loaded["pinned"], loaded["leases"], loaded["error"]) == ("ready", False, 0, None)
    assert loaded["since"] > 0
    assert loaded["memory_bytes"] > 5e6
    pinned = (await post(gate, f"{path}/pin")).json
    assert (pinned["pinned"], pinned["idle_timeout_s"]) == (True, None)
    gate.gateway.fleet.worker(SLASHES).last_used -= 10_000
    gate.gateway.fleet._tick()
    assert (await get(gate, path))["state"] == "ready", "it stays however long nobody asks"
    freed = (await post(gate, f"{path}/unpin")).json
    assert (freed["pinned"], freed["idle_timeout_s"], freed["state"]) == (False, 600, "ready")
    gone = (await post(gate, f"{path}/unload")).json
    assert (gone["state"], gone["memory_bytes"]) == ("cold", 0)


async def test_two_loads_are_one_and_one_may_leave_before_it_is_done(gate: Gate) -> None:
    assert (await post(gate, f"{BASE}/fast/unload")).json["state"] == "cold"
    before = gate.gateway.fleet.worker("fast").generation
    first, second = await asyncio.gather(*(post(gate, f"{BASE}/fast/load") for _ in range(2)))
    assert first.json["state"] == second.json["state"] == "ready"
    assert gate.gateway.fleet.worker("fast").generation == before + 1
    behind = await post(gate, f"{BASE}/{SLASHES}/load?wait=false")
    assert (behind.status, behind.json["state"]) == (202, "loading")
    await until(lambda: gate.gateway.fleet.worker(SLASHES).state is State.READY)
    assert (await post(gate, f"{BASE}/{SLASHES}/load?wait=30s")).status == 200


async def test_a_model_that_is_unloaded_or_renewed_ends_its_answers_first(gate: Gate) -> None:
    assert (await post(gate, f"{BASE}/fast/load")).status == 200
    generation = gate.gateway.fleet.worker("fast").generation + 1
    for action, state in (("reload", "ready"), ("unload", "cold")):
        async with gate.client() as client:
            await client.send(request(chat("slow", model="fast", stream=True)))
            await client.head()
            answer = await post(gate, f"{BASE}/fast/{action}")
            assert (answer.status, answer.json["state"]) == (200, state)
            rest = b"".join([piece async for piece in client.chunks()])
            assert b"four" in rest
            assert b"error" not in rest
        assert gate.gateway.fleet.worker("fast").generation == generation


async def test_force_cuts_them_off(gate: Gate) -> None:
    async with gate.client() as client:
        await client.send(request(chat("endless", model="fast", stream=True)))
        await client.head()
        assert (await post(gate, f"{BASE}/fast/unload?force=true")).json["state"] == "cold"
        rest = b"".join([piece async for piece in client.chunks()])
    assert b'"code":"worker_lost"' in rest


@pytest.mark.parametrize("action", ["load", "unload", "pin", "unpin", "reload"])
async def test_what_cannot_be_done_says_why(gate: Gate, action: str) -> None:
    unknown = await post(gate, f"{BASE}/nobody/{action}")
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    form = await post(gate, f"{BASE}/fast/{action}", head="Content-Type: text/plain\r\n")
    assert form.status == 415
    far = await post(gate, f"{BASE}/far/{action}")
    assert far.status == (200 if action == "load" else 409)
    if action in ("load", "pin", "reload"):
        absent = await post(gate, f"{BASE}/absent/{action}")
        assert (absent.status, absent.error["code"]) == (503, "load_failed")
        for wrong in ("soon", "-1", "1e9x", "nan"):
            assert (await post(gate, f"{BASE}/fast/{action}?wait={wrong}")).status == 400


async def test_a_model_that_cannot_be_loaded_is_not_pinned_either(gate: Gate) -> None:
    assert (await post(gate, f"{BASE}/absent/pin")).status == 503
    assert (await get(gate, f"{BASE}/absent"))["pinned"] is False
    assert gate.gateway.health.failing() == {}


async def test_the_list_has_every_model_in_use(gate: Gate) -> None:
    models = {each["id"]: each["state"] for each in (await get(gate, BASE))["models"]}
    assert set(models) == {"fast", SLASHES, "far", "absent"}
    assert (models["far"], models["absent"]) == ("remote", "absent")


async def test_llama_swaps_and_the_routers_words_do_the_same(gate: Gate) -> None:
    fleet = gate.gateway.fleet
    await post(gate, "/unload")
    answer = await post(gate, "/models/load", {"model": "fast"})
    assert (answer.status, answer.json) == (200, {"success": True})
    await until(lambda: fleet.worker("fast").state is State.READY)
    assert (await get(gate, "/running"))["running"] == [{"model": "fast", "name": "fast", "state": "ready", "ttl": 600}]
    assert (await post(gate, "/models/unload", {"model": "fast"})).json == {"success": True}
    assert fleet.worker("fast").state is State.COLD
    for path in ("/api/models/unload", f"/api/models/unload/{SLASHES}"):
        assert (await post(gate, f"{BASE}/{SLASHES}/load")).json["state"] == "ready"
        assert (await post(gate, path)).status == 200
        assert (await get(gate, "/running"))["running"] == []
    assert (await post(gate, "/unload")).json == {"msg": "ok"}
    looked = await gate.ask(request(path="/unload", method="GET"), method="GET")
    assert looked.status == 405, "what only looks changes nothing: any page could make a browser look"


async def test_a_word_of_pinning_outlives_other_edits(gate: Gate) -> None:
    await post(gate, f"{BASE}/fast/pin")
    now = gate.gateway.current.config
    models = {**now.models, "new": Model(backend="fake")}
    await gate.gateway.reloader.apply(msgspec.structs.replace(now, models=models))
    assert (await get(gate, f"{BASE}/fast"))["pinned"]
    await post(gate, f"{BASE}/fast/unpin")
