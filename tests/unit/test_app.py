"""The composition root: what a configuration becomes, and the ports and files of a running gateway."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import tiny_gguf
from gateway import config, pair, request, running_gateway, until

from rolecast import books, statefile
from rolecast.config import check, paths
from rolecast.config.schema import Config, Listener, Model, Server, Storage
from rolecast.errors import ConfigError
from rolecast.fleet import State
from rolecast.processes import resident
from rolecast.sources import here

FAKE = Model(backend="fake")


def test_an_app_may_be_imported_without_an_engine() -> None:
    heavy = ["xllamacpp", "gguf", "numpy", "httpx2", "rich", "typer", "torch", "transformers"]
    code = f"import sys, rolecast.app; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_gateway_imports_few_packages_of_others() -> None:
    """What it imports, each start waits for, and it stays in memory. A new name here costs what it must be worth."""
    few = {"anyio", "click", "httptools", "msgspec", "psutil", "python_multipart", "shellingham", "sniffio"}
    few |= {"starlette", "typer", "uvicorn", "annotated_doc", "typing_extensions", "cython_runtime", "h11", "rolecast"}
    code = (
        "import sys; before = set(sys.modules); import rolecast.app, rolecast.cli.foreground\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "print(*(name for name in names if not name.startswith('_')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) <= few


# -- files ---------------------------------------------------------------------------------------------------------


def test_storage_is_in_the_data_folder_unless_it_is_named(tmp_path: Path) -> None:
    assert books.store_of(Config()).name == str(paths.database())
    named = Config(storage=Storage(url=f"sqlite:///{tmp_path}/x.db", models=f"{tmp_path}/w"))
    assert books.store_of(named).name == f"{tmp_path}/x.db"
    assert paths.models(named.storage.models) == tmp_path / "w"
    assert paths.models() == paths.home() / "models"
    assert books.store_of(Config(storage=Storage(url="sqlite:///~/x.db"))).name == str(Path("~/x.db").expanduser())
    with pytest.raises(ConfigError, match=r"storage\.url: there is no such kind of database; use sqlite"):
        books.store_of(Config(storage=Storage(url="mysql://x")))


def test_weights_are_found_when_they_come_and_missed_when_they_go(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    find = here.weights_finder(Config())
    model = Model(source=f"file:{path}")
    assert find(model) is None
    tiny_gguf.write(path)
    assert find(model) == path
    path.unlink()
    assert find(model) is None


def test_a_stand_in_answers_for_absent_weights_that_it_can_replace(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "here.gguf")
    absent = f"file:{tmp_path}/absent.gguf"
    cast = Config(
        models={
            "helper": Model(backend="fake", aliases=["small"]),
            "absent": Model(source=absent),
            "here": Model(source=f"file:{tmp_path}/here.gguf"),
            "off": Model(source=absent, enabled=False),
            "vectors": Model(source=absent, capabilities=["embeddings"]),
            "talker": Model(source=absent, capabilities=["chat", "planning"]),
            "remote": Model(backend="openai", url="http://127.0.0.1:1/v1"),
        },
        stand_in="helper",
    )
    assert here.stand_ins(cast) == {"absent": "helper", "talker": "helper"}
    assert here.stand_ins(msgspec.structs.replace(cast, stand_in="")) == {}


@pytest.mark.anyio
async def test_the_state_file_tells_who_runs_where_and_only_its_writer_removes_it() -> None:
    addresses = [statefile.Address("front door", "http://127.0.0.1:8000", "", "openai")]
    statefile.write(addresses, Path("/etc/rolecast.yaml"), 12.5)
    state = json.loads(paths.state_file().read_bytes())
    assert (state["pid"], state["url"], state["config"]) == (os.getpid(), "http://127.0.0.1:8000", "/etc/rolecast.yaml")
    assert state["create_time"] == psutil.Process().create_time()
    assert state["listeners"] == [
        {"name": "front door", "url": "http://127.0.0.1:8000", "model": "", "surface": "openai"}
    ]
    assert [p.name for p in paths.state_file().parent.iterdir()] == ["gateway.json"]  # written aside, then moved
    paths.state_file().write_text(json.dumps(state | {"pid": os.getpid() + 1}))
    statefile.remove()
    assert paths.state_file().exists()
    paths.state_file().write_text(json.dumps(state))
    statefile.remove()
    assert not paths.state_file().exists()
    statefile.remove()


def test_two_listeners_of_one_name_would_be_one_so_they_are_refused() -> None:
    def problems(*listeners: Listener) -> list[str]:
        found = check.check(
            Config(
                server=Server(port=1, listeners=list(listeners)),
                models={"a": FAKE, "b": FAKE},
                roles={"standard": ["a"]},
            )
        )
        return [".".join(map(str, p[0])) for p in found]

    x, y = Listener(port=2, name="x", model="a"), Listener(port=3, name="x", model="b")
    assert problems(x, y) == ["server.listeners.1.name"]
    assert problems(Listener(port=2, name="front door")) == ["server.listeners.0.name"]
    assert problems(x, Listener(port=3, name="y", model="a"), Listener(port=4), Listener(port=5)) == []


# -- a running one -------------------------------------------------------------------------------------------------


def health(path: str = "/health") -> bytes:
    return request(path=path, method="GET")


@pytest.mark.anyio
async def test_each_port_has_the_health_of_the_system_it_stands_for(tmp_path: Path) -> None:
    listeners = [
        Listener(port=0, name="plain", model="tiny"),
        Listener(port=0, name="llama", model="tiny", surface="llama-server"),
        Listener(port=0, model="tiny", surface="pas"),
    ]
    async with running_gateway(config({"tiny": FAKE}, listeners=listeners), tmp_path) as gate:
        door = await gate.ask(health(), method="GET")
        assert door.json["status"] == "healthy"
        assert isinstance(door.json["last_updated"], float)  # seconds, which clients subtract
        backends = (await gate.ask(health("/v1/backends/health"), method="GET")).json
        assert (backends["standard"]["status"], backends["standard"]["state"]) == ("healthy", "cold")
        plain = await gate.ask(health(), "plain", "GET")
        assert plain.json == {"status": "healthy", "model": "tiny", "state": "cold"}
        assert (await gate.ask(health(), "llama", "GET")).body == b'{"status":"ok"}'
        pas = await gate.ask(health(), "tiny:0", "GET")
        assert (pas.json["status"], pas.json["model_loaded"], pas.json["last_request_ms"]) == ("healthy", False, None)
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
        assert (await gate.ask(request(body), "tiny:0")).status == 200
        pas = await gate.ask(health(), "tiny:0", "GET")
        assert (pas.json["model_loaded"], pas.json["last_request_ms"] >= 0) == (True, True)
        assert (await gate.ask(health("/v1/models"), "llama", "GET")).json["data"][0]["id"] == "tiny"
        assert (await gate.ask(health("/admin/status"), "llama", "GET")).status == 404


@pytest.mark.anyio
async def test_a_model_that_failed_shows_in_every_health(tmp_path: Path) -> None:
    broken = Model(backend="fake", script=str(tmp_path / "absent.yaml"))
    listeners = [
        Listener(port=0, name="plain", model="broken"),
        Listener(port=0, name="llama", model="broken", surface="llama-server"),
        Listener(port=0, name="pas", model="broken", surface="pas"),
    ]
    async with running_gateway(config({"broken": broken}, listeners=listeners), tmp_path) as gate:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
        refused = await gate.ask(request(body))
        assert (refused.status, refused.error["code"]) == (503, "load_failed")
        assert "absent.yaml is not a file" in refused.error["message"]
        door = (await gate.ask(health(), method="GET")).json
        assert (door["status"], door["failing"]) == ("degraded", ["broken"])
        (problem,) = door["problems"]
        assert problem.startswith("broken does not run: ")
        assert "absent.yaml is not a file" in problem
        status = (await gate.ask(health("/admin/status"), method="GET")).json
        assert status["problems"] == [problem]
        assert (await gate.ask(health(), "plain", "GET")).status == 503
        assert (await gate.ask(health(), "llama", "GET")).status == 503
        assert (await gate.ask(health(), "pas", "GET")).json["status"] == "unhealthy"
        backends = (await gate.ask(health("/v1/backends/health"), method="GET")).json
        assert backends["standard"]["status"] == "error"


@pytest.mark.anyio
async def test_a_pinned_model_that_cannot_load_is_named_with_why_before_anybody_asks(tmp_path: Path) -> None:
    models = {
        "fine": Model(backend="fake", pinned=True),
        "lost": Model(backend="fake", pinned=True, source=f"file:{tmp_path}/lost.gguf"),
        "broken": Model(backend="fake", pinned=True, script=str(tmp_path / "absent.yaml")),
        "unasked": Model(backend="fake", source=f"file:{tmp_path}/lost.gguf"),
    }
    async with running_gateway(config(models), tmp_path) as gate:
        await until(lambda: gate.gateway.fleet.worker("fine").state is State.READY)
        await until(lambda: gate.gateway.fleet.worker("broken").error)
        door = await gate.ask(health(), method="GET")
        assert (door.status, door.json["status"], door.json["failing"]) == (200, "degraded", ["lost", "broken"])
        lost, broken = door.json["problems"]
        there = f"there is no file {tmp_path}/lost.gguf; correct `source`, or bring the file."
        assert lost == f"lost does not run: the weights of lost are not here: {there}"
        assert "absent.yaml is not a file" in broken


@pytest.mark.anyio
async def test_a_ledger_that_cannot_be_written_shows_and_strangers_learn_no_details(tmp_path: Path) -> None:
    for keys in ([], ["sk-x"]):
        async with running_gateway(config({"tiny": FAKE}, keys=keys), tmp_path) as gate:
            writer = gate.gateway.store._writer
            writer.execute("PRAGMA query_only=ON")
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
            key = "Authorization: Bearer sk-x\r\n"
            assert (await gate.ask(request(body, head=key))).status == 200
            await until(lambda: gate.gateway.ledger.trouble)
            door = (await gate.ask(health(), method="GET")).json
            assert (door["status"], "failing" in door) == ("degraded", False)
            said = "something is wrong" if keys else "the ledger cannot be written: it is read-only; 1 rows wait"
            assert door["problems"][0].startswith(said)
            writer.execute("PRAGMA query_only=OFF")
            await until(lambda: not gate.gateway.ledger.trouble)
            assert (await gate.ask(health(), method="GET")).json["status"] == "healthy"


@pytest.mark.anyio
async def test_the_memory_of_workers_is_measured_beside_the_loop_and_once_for_all_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    whole = resident.tree_bytes
    monkeypatch.setattr(
        resident, "tree_bytes", lambda pid: measured.append(threading.current_thread().name) or whole(pid)
    )
    async with running_gateway(config({"tiny": FAKE}), tmp_path) as gate:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
        assert (await gate.ask(request(body))).status == 200
        for _ in range(3):
            assert (await gate.ask(health(), method="GET")).json["total_memory_gb"] > 0
        status = (await gate.ask(health("/admin/status"), method="GET")).json
        assert status["models"][0]["rss_bytes"] > 1e6
    assert len(measured) < 4
    assert threading.main_thread().name not in measured


@pytest.mark.anyio
async def test_what_is_disabled_says_so_wherever_it_is_asked_for(tmp_path: Path) -> None:
    cast = config({"on": FAKE, "off": Model(backend="fake", enabled=False)})
    async with running_gateway(cast, tmp_path) as gate:
        backends = (await gate.ask(health("/v1/backends/health"), method="GET")).json
        assert (backends["standard"]["status"], backends["off"]["status"]) == ("healthy", "disabled")
        one = await gate.ask(health("/v1/models/off"), method="GET")
        assert (one.status, one.json["state"]) == (200, "disabled")
        listed = (await gate.ask(health("/v1/models"), method="GET")).json["data"]
        assert [entry["id"] for entry in listed if entry["kind"] == "model"] == ["on"]
        assert (await gate.ask(request({"model": "off", "messages": [{"role": "user"}]}))).status == 503


@pytest.mark.anyio
async def test_a_gateway_closes_with_requests_in_its_queues(tmp_path: Path) -> None:
    async with pair(model={"parallel": 1}) as (gate, worker):
        worker.usual = lambda *_: asyncio.Event().wait()  # type: ignore[assignment,return-value]
        async with gate.client() as running, gate.client() as waiting:
            for client in (running, waiting):
                await client.send(request({"messages": [{"role": "user", "content": "hello"}]}))
            while not gate.gateway.fleet.worker("m").waiting:
                await asyncio.sleep(0)
            hurry = asyncio.Event()
            hurry.set()
            await gate.gateway.dispatch.drain(0, hurry)
            for client in (running, waiting):
                assert (await client.answer()).error["code"] == "shutting_down"
