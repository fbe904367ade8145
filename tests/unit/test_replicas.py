"""Several copies of one model in the gateway, with real workers: who answers, what is seen of them, and their end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_gguf
from gateway import Client, Gate, chat, config, on_uvloop, remote, request, running_gateway, until
from msgspec.structs import replace

from rolecast import backends
from rolecast.config import advice
from rolecast.config.check import check
from rolecast.config.schema import Model, Seconds
from rolecast.fleet import Fleet, State
from rolecast.fleet.worker import Worker

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
SCRIPT = """
replies:
  - {match: ^held, reply: one two, delay: 60}
  - {match: ^brief, reply: three four, delay: 0.5}
"""
SERVER = Path(__file__).parent / "hanging_server.py"
PATH = "/v1/admin/models/m"


def fake(folder: Path, replicas: int = 3) -> Model:
    (folder / "script.yaml").write_text(SCRIPT)
    return Model(backend="fake", script=str(folder / "script.yaml"), replicas=replicas)


@pytest.fixture(scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    folder = tmp_path_factory.mktemp("replicas")
    async with running_gateway(config({"m": fake(folder), "other": Model(backend="fake")}), folder) as running:
        yield running


def fleet(gate: Gate) -> Fleet:
    return gate.gateway.fleet


def copy(gate: Gate, worker_id: str) -> Worker:
    return fleet(gate).machine.workers[worker_id]


async def get(gate: Gate, path: str) -> Any:
    answer = await gate.ask(request(path=path, method="GET"), method="GET")
    assert answer.status == 200, answer.body
    return answer.json


async def post(gate: Gate, path: str) -> Any:
    answer = await gate.ask(request(path=path))
    assert answer.status == 200, answer.body
    return answer.json


async def hold(gate: Gate, stack: AsyncExitStack, copies: int) -> list[Client]:
    """So many requests, each of which keeps a slot of a copy of its own until its client hangs up."""
    clients = []
    for number in range(1, copies + 1):
        clients.append(client := await stack.enter_async_context(gate.client()))
        await client.send(request(chat("held")))
        await until(lambda number=number: fleet(gate).worker("m").active == number)  # type: ignore[misc]
    return clients


async def idle(gate: Gate, copies: int) -> None:
    """So many copies are loaded and have nothing to do."""
    async with AsyncExitStack() as stack:
        await hold(gate, stack, copies)
    await until(lambda: not fleet(gate).worker("m").active)


async def test_more_copies_come_for_those_who_wait_and_are_seen_as_one_model_and_one_by_one(gate: Gate) -> None:
    await post(gate, f"{PATH}/unload")
    async with AsyncExitStack() as stack:
        await hold(gate, stack, 3)
        waiting = await stack.enter_async_context(gate.client())
        await waiting.send(request(chat("hello")))
        await until(lambda: copy(gate, "m").waiting)
        state = await get(gate, PATH)
        assert (state["state"], state["leases"], state["slots"], state["waiting"]) == ("ready", 3, 3, 1)
        copies = state["replicas"]
        assert [(c["id"], c["state"], c["active"]) for c in copies] == [(i, "ready", 1) for i in ("m", "m#2", "m#3")]
        assert state["memory_bytes"] == sum(c["memory_bytes"] for c in copies) > 3 * 5e6
        assert len({c["pid"] for c in copies}) == 3
        status = await get(gate, "/admin/status")
        assert [model["id"] for model in status["models"]] == ["m", "other"]
        assert (status["models"][0]["active"], len(status["models"][0]["replicas"])) == (3, 3)
        assert (await get(gate, f"{PATH[:-1]}other"))["replicas"] == []
        assert [model["id"] for model in (await get(gate, "/v1/models"))["data"]].count("m") == 1
        (shown,) = (await get(gate, "/api/ps"))["models"]
        assert shown["name"].startswith("m")
        assert shown["size"] > 3 * 5e6
        assert [model["model"] for model in (await get(gate, "/running"))["running"]] == ["m"]
        assert (await get(gate, "/health"))["loaded_models"] == 1
        metrics = (await gate.ask(request(path="/metrics", method="GET"), method="GET")).body.decode()
        assert 'rolecast_active_requests{model="m#3"} 1.0' in metrics
        assert 'rolecast_waiting_requests{model="m"} 1.0' in metrics
        assert 'rolecast_waiting_requests{model="m#2"}' not in metrics
        assert fleet(gate).log_path("m#2").is_file()
        assert fleet(gate).log_path("m#2") != fleet(gate).log_path("m")
        logs = await gate.ask(request(path="/admin/logs?model=m%232", method="GET"), method="GET")
        assert logs.status == 200
    pids = {c["pid"] for c in copies}
    gone = await post(gate, f"{PATH}/unload?force=true")
    assert (gone["state"], gone["memory_bytes"], [c["pid"] for c in gone["replicas"]]) == ("cold", 0, [None] * 3)
    assert not any(map(psutil.pid_exists, pids))


async def test_requests_one_after_the_other_go_to_the_first_copy_and_the_others_leave(gate: Gate) -> None:
    await idle(gate, 2)
    before = copy(gate, "m#2").last_used
    for _ in range(3):
        assert (await gate.ask(request(chat("hello")))).status == 200
    assert copy(gate, "m#2").last_used == before
    copy(gate, "m#2").last_used -= 10_000
    fleet(gate)._tick()
    await until(lambda: copy(gate, "m#2").state is State.COLD)
    assert copy(gate, "m").state is State.READY


async def test_a_copy_that_dies_under_a_request_without_a_byte_is_followed_by_another_at_once(gate: Gate) -> None:
    await idle(gate, 2)
    child = fleet(gate).stations.at["m"].child
    assert child is not None
    answered, generation = copy(gate, "m#2").answered, copy(gate, "m").generation
    async with gate.client() as client:
        await client.send(request(chat("brief")))
        await until(lambda: copy(gate, "m").active == 1)
        os.kill(child.pid, signal.SIGKILL)
        answer = await client.answer()
    assert (answer.status, answer.json["choices"][0]["message"]["content"]) == (200, "three four")
    assert copy(gate, "m#2").answered > answered or copy(gate, "m#2").answered == copy(gate, "m#2").generation
    await until(lambda: copy(gate, "m").state is State.READY)
    assert copy(gate, "m").generation == generation + 1, "it comes back by itself"


async def test_the_number_of_copies_is_edited_while_they_answer(gate: Gate, tmp_path: Path) -> None:
    now = gate.gateway.current.config
    await post(gate, f"{PATH}/unload")
    async with AsyncExitStack() as stack:
        _, second = await hold(gate, stack, 2)
        model = now.models["m"]
        await gate.gateway.reloader.apply(replace(now, models={**now.models, "m": replace(model, replicas=1)}))
        assert (await get(gate, PATH))["replicas"] == []
        assert copy(gate, "m#2").active == 1, "what it answers is not cut off"
        third = await stack.enter_async_context(gate.client())
        await third.send(request(chat("hello")))
        await until(lambda: copy(gate, "m").waiting)
        await second.close()
        await until(lambda: "m#2" not in fleet(gate).stations.at)
        assert copy(gate, "m").waiting, "it is not for those that wait"
        await gate.gateway.reloader.apply(replace(now, models={**now.models, "m": replace(model, replicas=2)}))
        assert (await third.answer()).status == 200
        assert copy(gate, "m#2").answered == copy(gate, "m#2").generation
    await gate.gateway.reloader.apply(now)
    await post(gate, f"{PATH}/unload?force=true")


async def test_a_request_whose_copy_dies_while_it_leaves_goes_on_at_those_that_stay(gate: Gate) -> None:
    now = gate.gateway.current.config
    await idle(gate, 2)
    async with AsyncExitStack() as stack:
        (first,) = await hold(gate, stack, 1)
        last = await stack.enter_async_context(gate.client())
        await last.send(request(chat("brief")))
        await until(lambda: copy(gate, "m#2").active)
        child = fleet(gate).stations.at["m#2"].child
        assert child is not None
        await gate.gateway.reloader.apply(
            replace(now, models={**now.models, "m": replace(now.models["m"], replicas=1)})
        )
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: copy(gate, "m").waiting)
        await first.close()
        assert (await last.answer()).status == 200
    await gate.gateway.reloader.apply(now)


async def test_a_copy_that_hangs_is_replaced_and_its_request_and_all_others_go_on_at_another(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    command = [sys.executable, str(SERVER), "{port}", str(tmp_path / "state")]
    model = Model(backend="command", command=command, parallel=1, replicas=2, timeout=Seconds(0.7))
    async with running_gateway(config({"m": model}), tmp_path) as gate:
        answers = await asyncio.gather(*(gate.ask(request(chat("hello"))) for _ in range(8)))
        assert {answer.status for answer in answers} == {200}
        await until(lambda: copy(gate, "m#2").state is State.READY)
        await until(lambda: not fleet(gate).worker("m").active)
        one = said(await gate.ask(request(chat("hello"))))
        (tmp_path / "state" / "hang").touch()
        stuck = asyncio.create_task(gate.ask(request(chat("hello"))))
        await until(lambda: not (tmp_path / "state" / "hang").exists())
        two = said(await gate.ask(request(chat("hello"))))
        assert two != one
        assert said(await stuck) == two
        await until(lambda: not psutil.pid_exists(int(one.removeprefix("pid "))))


def said(answer: Any) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["message"]["content"])


async def test_copies_of_a_real_model_answer_alike_and_are_learnt_as_one_and_end_with_the_gateway(
    tmp_path: Path,
) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf")
    before = set(psutil.Process().children(recursive=True))
    model = Model(source=f"file:{path}", context=512, parallel=1, threads=1, replicas=2)
    async with running_gateway(config({"m": model}), tmp_path) as gate:
        ask = request(chat("one two", max_tokens=64, temperature=0, ignore_eos=True, cache_prompt=False))
        answers = await asyncio.gather(*(gate.ask(ask) for _ in range(6)))
        assert len({said(answer) for answer in answers}) == 1
        await until(lambda: copy(gate, "m#2").state is State.READY)
        stations = fleet(gate).stations.of("m")
        assert stations[0].planned == stations[1].planned, "neither is told that it is one of several"
        assert len({fleet(gate)._housing._key(station) for station in stations}) == 1
        assert len({fleet(gate)._housing.need(station.model_id) for station in stations}) == 1
        assert all(station.worker.held == fleet(gate)._housing.need("m") for station in stations)
    assert set(psutil.Process().children(recursive=True)) <= before


# -- the setting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_id", ["small#2", "org/small#10"])
def test_no_model_may_be_called_as_a_copy_is(model_id: str) -> None:
    ((trail, text),) = check(config({model_id: Model(source="file:/x.gguf")}), backends.table())
    assert trail == ("models", model_id)
    assert "is what a copy of" in text


def test_other_names_with_that_sign_stay() -> None:
    models = {name: Model(source="file:/x.gguf") for name in ("#", "a#b", "#2", "small#2x", "issue#2/x")}
    assert check(config(models), backends.table()) == []


def test_a_command_that_listens_at_one_place_has_no_copies() -> None:
    fixed = Model(backend="command", command="serve", url="http://127.0.0.1:9000/v1", replicas=2)
    ((trail, text),) = check(config({"m": fixed}), backends.table())
    assert (trail, "{port}" in text) == (("models", "m", "replicas"), True)


@pytest.mark.parametrize("backend", ["openai", "ollama", "anthropic"])
def test_a_model_elsewhere_has_no_copies_and_is_told_what_to_do(backend: str) -> None:
    found = config({"m": replace(remote("http://127.0.0.1:9/v1"), backend=backend, replicas=2, key="env:X")})
    told = [line for line in advice.warnings(found, backends.table()) if "replicas" in line]
    assert len(told) == 1
    assert "equals in a role" in told[0]
