"""Models that sleep, with real workers: the built-in engine over tiny weights, and a server that is told to sleep."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import tiny_gguf
from gateway import Gate, config, on_uvloop, request, running_gateway, until

from rolecast import backends
from rolecast.backends.llamacpp_defaults import sleep_timer_s
from rolecast.backends.sleepers import ByTimer
from rolecast.backends.vllm import Vllm
from rolecast.config.advice import warnings
from rolecast.config.memory import Memory
from rolecast.config.schema import Model, Seconds
from rolecast.fleet import State, sleep
from rolecast.footprint import Footprint
from rolecast.net.probe import fetch
from rolecast.values import Listen

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

SOON = Seconds(0.05)
MIB = 1 << 20
TOLD = "the of and to in is you that it was for on long down day word " * 12
"""A conversation that is long enough to be kept."""


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleep, "SETTLE_S", 0.05)


@asynccontextmanager
async def gateway(folder: Path, models: dict[str, Model], memory: Memory | None = None) -> AsyncIterator[Gate]:
    made = msgspec.structs.replace(config(models), memory=memory or Memory())
    async with running_gateway(made, folder) as gate:
        yield gate


def fake(folder: Path, fault: str = "", **fields: Any) -> Model:
    script = folder / f"script{fault}.yaml"
    script.write_text(f"sleep: {fault or repr('')}\nreplies: [{{match: slow, delay: 0.4}}]\n")
    return Model(backend="fake", sleep=SOON, script=str(script), **fields)


async def ask(gate: Gate, text: str = "hi", model: str = "m", **fields: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 6, "temperature": 0}
    answer = await gate.ask(request({**body, **fields}))
    assert answer.status == 200, answer.body
    return answer.json


async def asleep(gate: Gate, model: str = "m") -> None:
    await until(lambda: gate.gateway.fleet.worker(model).rest is not None, f"{model} sleeps and is measured")


# -- the built-in engine ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf")


async def test_the_engine_gives_memory_back_and_a_request_finds_it_as_it_was(weights, tmp_path):
    model = Model(source=f"file:{weights}", threads=1, context=32768, parallel=1, sleep=Seconds(1))
    async with gateway(tmp_path, {"m": model}) as gate:
        fleet = gate.gateway.fleet
        first = await ask(gate, TOLD)
        child = fleet.stations.child("m")
        awake = psutil.Process(child.pid).memory_info().rss
        await asleep(gate)
        worker, generation = fleet.worker("m"), fleet.worker("m").generation
        assert awake - psutil.Process(child.pid).memory_info().rss > 16 * MIB
        assert worker.held.ram < worker.full.ram - 16 * MIB
        listed = await gate.ask(request(path="/v1/models/m", method="GET"), method="GET")
        status = await gate.ask(request(path="/admin/status", method="GET"), method="GET")
        assert b"asleep" in listed.body
        assert b"asleep" in status.body
        assert (await fetch(fleet.stations.at["m"].pool, "GET", "/health")).status == 200
        assert await fleet.stations.at["m"].sleeper.sleeps(fleet.stations.at["m"].pool), "looking wakes nobody"
        again = await ask(gate, TOLD)
        assert again["choices"] == first["choices"]
        assert again["timings"]["cache_n"] > 100, "it was read back, not read again"
        assert (fleet.worker("m").generation, fleet.stations.child("m")) == (generation, child), "the same process"
        await asleep(gate)
        await fleet.unload("m")
        assert child.returncode is not None
        assert (await ask(gate, TOLD))["timings"]["cache_n"] > 100, "also when it was ended asleep"


def test_the_timer_is_set_back_before_it_runs_out_and_runs_out_when_all_of_the_time_is_over():
    for seconds in range(2, 3600):
        timer = ByTimer(sleep_timer_s(Model(sleep=Seconds(seconds))))
        told = max(0.0, seconds - timer.lead_s)
        assert told + 1 <= timer.timer_s, "the engine would sleep before what it has read is saved"
        assert told + timer.timer_s == seconds
    assert sleep_timer_s(Model()) == sleep_timer_s(Model(sleep=Seconds(60), adapters=["one.gguf"])) == 0


def test_a_sleep_that_does_nothing_is_said_so():
    def said(**fields: Any) -> list[str]:
        found = warnings(config({"m": Model(sleep=Seconds(60), **fields)}), backends.table())
        return [line.partition(": ")[2] for line in found if line.startswith("models.m.sleep")]

    assert said(source="file:a.gguf") == said(backend="fake") == said(backend="vllm", source="file:a") == []
    assert said(source="file:a.gguf", pinned=True, idle_timeout=Seconds(5)) == []
    assert said(backend="fake", idle_timeout=Seconds(60))[0].startswith("does nothing, because idle_timeout")
    assert said(source="file:a.gguf", adapters=["b.gguf"])[0].startswith("does nothing with adapters")
    for name in ("mlx", "command", "ollama", "openai", "anthropic", "ctranslate2"):
        assert said(backend=name) == [f"does nothing with backend {name}"]


# -- a server that is told -------------------------------------------------------------------------------------------


async def test_a_request_wakes_it_before_it_reaches_it_and_all_who_ask_wait_for_that(tmp_path):
    async with gateway(tmp_path, {"m": fake(tmp_path, parallel=4)}) as gate:
        fleet = gate.gateway.fleet
        await ask(gate)
        await asleep(gate)
        pid = fleet.stations.child("m").pid
        await asyncio.gather(*(ask(gate) for _ in range(6)))
        assert fleet.stations.child("m").pid == pid
        assert woken(gate) == 1
        await asleep(gate)
        counted = {"model": "m", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 1}
        answer = await gate.ask(request(counted, path="/v1/messages/count_tokens"))
        assert answer.json["input_tokens"] == 2
        assert woken(gate) == 2, "a question for it is no way round"
        await asleep(gate)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: fleet.worker("m").state is State.COLD, "its end is seen")
        await ask(gate)
        assert fleet.worker("m").faults == 0, "nothing is held against one that is killed asleep"
        await asleep(gate)
        fleet.keep("m", 0.0)
        await until(lambda: fleet.worker("m").state is State.COLD, "it is idle for long enough")


def woken(gate: Gate) -> int:
    return [each.event_type for each in gate.gateway.events.recent()].count("model_awake")


async def test_a_model_fits_because_another_sleeps_and_that_one_waits_for_room_to_wake_in(tmp_path):
    models = {name: fake(tmp_path, memory="400MiB") for name in ("m", "n")}
    models["n"] = msgspec.structs.replace(models["n"], sleep=Seconds(0))
    memory = Memory(budget="600MiB", patience=Seconds(0.1), turn=Seconds(0))
    async with gateway(tmp_path, models, memory) as gate:
        fleet = gate.gateway.fleet
        most: list[int] = []

        def within() -> bool:
            most.append(fleet.worker("m").held.ram + fleet.worker("n").held.ram)
            return fleet.worker("n").active == 1

        await ask(gate)
        await asleep(gate)
        answering = asyncio.create_task(ask(gate, "slow", "n"))
        await until(within, "the other one answers")
        assert fleet.worker("m").state is State.ASLEEP
        waking = asyncio.create_task(ask(gate))
        await until(lambda: (within(), fleet.worker("m").waiting)[1], "it waits for room")
        await until(lambda: (within(), waking.done())[1], "it is answered")
        await asyncio.gather(answering, waking)
        assert max(most) <= 600 * MIB
        assert fleet.worker("n").state is State.COLD


async def test_one_that_refuses_to_sleep_serves_on_and_one_that_does_not_wake_is_loaded_anew(tmp_path, caplog):
    faults = ("hangs", "dies")
    async with gateway(tmp_path, {fault: fake(tmp_path, fault) for fault in ("refuses", *faults)}) as gate:
        fleet = gate.gateway.fleet
        await asyncio.gather(*(ask(gate, model=fault) for fault in ("refuses", *faults)))
        for _ in range(2):
            await asyncio.wait({await until(lambda: fleet.stations.at["refuses"].lulling)})
            fleet.stations.at["refuses"].lulling = None
            await ask(gate, model="refuses")
        assert sum("refuses stays awake: POST /sleep" in each.message for each in caplog.records) == 1, "once"
        await asyncio.gather(*(asleep(gate, fault) for fault in faults))
        station = fleet.stations.at["hangs"]
        patient, station.model = station.model, msgspec.structs.replace(station.model, load_timeout=Seconds(0.2))
        waking = [asyncio.create_task(ask(gate, model=fault)) for fault in faults]
        await until(lambda: station.worker.state is State.STOPPING, "it is given up")
        station.model = patient
        await asyncio.gather(*waking)
        assert [fleet.worker(fault).restarts for fault in faults] == [1, 1]
        assert [fleet.worker(fault).faults for fault in faults] == [0, 0]


# -- vLLM's ----------------------------------------------------------------------------------------------------------


def test_vllm_is_started_so_that_it_can_sleep_only_where_it_shall(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "a.safetensors").write_bytes(bytes(1000))
    (folder / "b.safetensors").write_bytes(bytes(500))
    plans = [
        Vllm().plan("m", Model(backend="vllm", source="x", sleep=Seconds(after)), folder / "config.json", Listen())
        for after in (0, 60)
    ]
    assert ["--enable-sleep-mode" in plan.argv for plan in plans] == [False, True]
    assert [("VLLM_SERVER_DEV_MODE", "1") in plan.env for plan in plans] == [False, True]
    assert Vllm().sleeper(Model()).beside(folder / "config.json") == Footprint(1500)


VLLM = """
import asyncio, json, sys
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from rolecast.backends.serving import serve

asleep, asked = False, []

async def told(request):
    global asleep
    asked.append(f"{request.method} {request.url.path}?{request.url.query}")
    if request.url.path == "/sleep":
        asyncio.get_running_loop().call_later(0.1, fall)  # its answer comes before it is done
        return Response()
    if request.url.path == "/wake_up":
        asleep = False
        return Response()
    if request.url.path == "/is_sleeping":
        return JSONResponse({"is_sleeping": asleep})
    if asleep:
        return Response(status_code=500)
    if request.url.path == "/v1/chat/completions":
        said = " ".join(a for a in asked if "is_sleeping" not in a and "health" not in a)
        message = {"role": "assistant", "content": said}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return JSONResponse({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices})
    return Response()

def fall():
    global asleep
    asleep = True

assert "--enable-sleep-mode" in sys.argv
serve(Starlette(routes=[Route("/{path:path}", told, methods=["GET", "POST"])]), sys.argv[sys.argv.index("--uds") + 1])
"""


async def test_a_server_that_speaks_as_vllm_is_put_to_sleep_and_woken(tmp_path):
    program = tmp_path / "vllm"
    (tmp_path / "server.py").write_text(VLLM)
    path = os.pathsep.join(filter(None, sys.path))
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec {sys.executable} {tmp_path}/server.py "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    model = Model(backend="vllm", source=f"file:{folder}", binary=str(program), sleep=SOON, parallel=1)
    async with gateway(tmp_path, {"m": model}) as gate:
        worker = gate.gateway.fleet.worker("m")
        await ask(gate)
        await until(lambda: worker.state is State.ASLEEP, "it is told to sleep")
        said = (await ask(gate))["choices"][0]["message"]["content"]
        assert said.split("POST ")[1:] == [
            "/v1/chat/completions? ",
            "/sleep?level=1 ",
            "/wake_up? ",
            "/v1/chat/completions?",
        ]
        await asleep(gate)
        child = gate.gateway.fleet.stations.child("m")
    assert child.returncode is not None, "a gateway that stops leaves nobody asleep"
