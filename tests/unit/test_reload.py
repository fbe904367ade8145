"""Edits of the configuration under a running gateway: what is taken over, what is refused, and that nobody notices."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import tiny_gguf
from gateway import (
    ANSWER,
    DONE,
    Client,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    config,
    delta,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    until,
)

from rolecast.cli import settings
from rolecast.config import load, read
from rolecast.config.difference import applicable, compare
from rolecast.config.schema import Config, Limits, Listener, Memory, Model, Seconds
from rolecast.errors import ConfigError
from rolecast.fleet import State

FAKE = Model(backend="fake", idle_timeout=Seconds(0))
OTHER = ANSWER.replace(b'"hi"', b'"other"')


def edited(gate: Gate, *, server: dict[str, Any] | None = None, **sections: Any) -> Config:
    """The configuration that applies, with other sections and other settings of the server."""
    now = gate.gateway.current.config
    return msgspec.structs.replace(now, server=msgspec.structs.replace(now.server, **(server or {})), **sections)


def models(gate: Gate, **changed: Model | None) -> dict[str, Model]:
    """The models that are configured, with changes; None takes one out."""
    together = {**gate.gateway.current.config.models, **changed}
    return {name: model for name, model in together.items() if model is not None}


async def apply(gate: Gate, *, server: dict[str, Any] | None = None, **sections: Any) -> None:
    await gate.gateway.reloader.apply(edited(gate, server=server, **sections))


@asynccontextmanager
async def two_workers() -> AsyncIterator[tuple[Gate, ScriptedWorker, ScriptedWorker]]:
    """A gateway whose model `m` is the first of two scripted workers."""
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/a") as first, ScriptedWorker().listening(f"{folder}/b") as two:
            two.usual = reply(OTHER)
            async with running_gateway(config({"m": remote(first.url)}), Path(folder)) as gate:
                yield gate, first, two


@asynccontextmanager
async def one_runs_one_waits(gate: Gate, worker: ScriptedWorker) -> AsyncIterator[tuple[Held, Client, Client]]:
    """The only slot of `m` is taken by a stream that the worker holds, and another request is in line for it."""
    held = Held(delta("x"))
    worker.script.append(held)
    async with gate.client() as running, gate.client() as waiting:
        await running.send(request(chat(stream=True)))
        await held.began.wait()
        await waiting.send(request(chat()))
        await until(lambda: gate.gateway.fleet.worker("m").waiting)
        yield held, running, waiting


def says(answer: Any) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["message"]["content"])


# -- what changed --------------------------------------------------------------------------------------------------

BEFORE = """
server: {port: 8000, keys: [old-secret]}
models: {m: {backend: fake}, gone: {backend: fake}}
roles: {standard: [m]}
"""
AFTER = """
server: {port: 8001, keys: [new-secret], limits: {body: 1MB}}
models: {m: {backend: fake, context: 99, chat_template_kwargs: {a: {b: 1}}}, came: {backend: fake}}
roles: {standard: [came], fast: [m]}
storage: {url: "sqlite:///elsewhere.db"}
"""


def test_a_difference_names_settings_and_never_their_values() -> None:
    found = compare(read(BEFORE), read(AFTER))
    assert found.applied == [
        "server.port",
        "server.keys",
        "server.limits.body",
        "models.m.context",
        "models.m.chat_template_kwargs",
        "models.gone (removed)",
        "models.came (added)",
        "roles.standard",
        "roles.fast (added)",
    ]
    assert found.waiting == ["storage.url"]
    assert compare(read(AFTER), read(AFTER)) == compare(Config(), Config())


def test_what_waits_for_a_restart_keeps_its_value_until_then() -> None:
    old, new = read(BEFORE), read(AFTER)
    between = applicable(old, new)
    assert (between.server.port, between.storage.url, between.server.keys) == (8001, "", ["new-secret"])
    assert compare(old, between).waiting == []
    assert compare(between, new).applied == []


# -- requests see the change, requests in flight do not ------------------------------------------------------------


@pytest.mark.anyio
async def test_a_model_that_moves_takes_new_requests_there_and_ends_old_ones_where_they_are() -> None:
    async with two_workers() as (gate, first, two), gate.client() as streaming, gate.client() as other:
        held = Held(delta("be"), delta("gin"))
        first.script.append(held)
        await streaming.send(request(chat(stream=True)))
        await held.began.wait()
        assert says(await (await other.send(request(chat()))).answer()) == "hi"
        await apply(gate, models=models(gate, m=remote(two.url)))
        assert says(await (await other.send(request(chat()))).answer()) == "other"
        held.let_go.set()
        answer = await streaming.answer()
        assert answer.body == delta("be") + delta("gin") + DONE
        assert says(await (await streaming.send(request(chat()))).answer()) == "other"
        await until(lambda: all(peer.gone.is_set() for peer in first.peers), "connections to the old place close")
        assert gate.gateway.fleet.worker("m").active == 0


@pytest.mark.anyio
async def test_a_model_that_leaves_finishes_its_requests_and_is_forgotten() -> None:
    async with two_workers() as (gate, first, two), gate.client() as streaming:
        held = Held(delta("be"))
        first.script.append(held)
        await streaming.send(request(chat(stream=True)))
        await held.began.wait()
        await apply(gate, models={"n": remote(two.url)}, roles={"standard": ["n"]})
        assert (await gate.ask(request(chat()))).error["code"] == "model_not_found"
        assert says(await gate.ask(request(chat(model="auto")))) == "other"
        held.let_go.set()
        assert (await streaming.answer()).body == delta("be") + DONE
        await until(lambda: "m" not in gate.gateway.fleet.machine.workers, "the model is forgotten")
        assert gate.gateway.fleet.stations.pool("m") is None
        await until(lambda: all(peer.gone.is_set() for peer in first.peers))
        await apply(gate, models=models(gate, m=remote(first.url)))
        assert says(await gate.ask(request(chat()))) == "hi"


@pytest.mark.anyio
async def test_requests_in_line_are_served_at_the_new_place() -> None:
    async with two_workers() as (gate, first, two):
        await apply(gate, models={"m": remote(first.url, parallel=1)})
        async with one_runs_one_waits(gate, first) as (held, running, waiting):
            await apply(gate, models={"m": remote(two.url, parallel=1)})
            assert says(await waiting.answer()) == "other"
            held.let_go.set()
            assert (await running.answer()).body.endswith(DONE)
            await until(lambda: gate.gateway.fleet.worker("m").active == 0)


@pytest.mark.anyio
async def test_more_slots_serve_who_waits_at_once() -> None:
    async with two_workers() as (gate, first, _):
        await apply(gate, models={"m": remote(first.url, parallel=1)})
        async with one_runs_one_waits(gate, first) as (held, running, waiting):
            await apply(gate, models={"m": remote(first.url, parallel=2)})
            assert says(await waiting.answer()) == "hi"
            held.let_go.set()
            await running.answer()


@pytest.mark.anyio
async def test_keys_and_limits_hold_at_once_on_connections_that_are_open() -> None:
    async with two_workers() as (gate, _, _), gate.client() as client:
        for _ in range(3):  # its head is recognised by now
            assert says(await (await client.send(request(chat()))).answer()) == "hi"
        await apply(gate, server={"keys": ["sk-new"]})
        assert (await (await client.send(request(chat()))).answer()).error["code"] == "missing_api_key"
    async with two_workers() as (gate, _, _), gate.client() as client:
        for _ in range(3):
            assert says(await (await client.send(request(chat()))).answer()) == "hi"
        await apply(gate, server={"limits": Limits(body=msgspec.convert(100, int))})
        assert (await (await client.send(request(chat("x" * 200)))).answer()).status == 413


@pytest.mark.anyio
async def test_a_configuration_that_cannot_be_run_changes_nothing() -> None:
    async with two_workers() as (gate, _, two):
        before = gate.gateway.current.config
        wrong = models(gate, m=remote(two.url), bad=remote("ftp://nowhere"))
        with pytest.raises(ConfigError, match=r"models\.bad\.url"):
            await apply(gate, server={"keys": ["sk-new"]}, models=wrong)
        with pytest.raises(ConfigError, match="ROLECAST_TEST_UNSET"):
            await apply(gate, server={"keys": ["env:ROLECAST_TEST_UNSET"]}, models=models(gate, m=remote(two.url)))
        assert gate.gateway.current.config is before
        assert says(await gate.ask(request(chat()))) == "hi"


# -- engines of ours -----------------------------------------------------------------------------------------------


def slow(folder: Path, **more: Any) -> Model:
    """A fake model that takes a moment for each token."""
    script = folder / "slow.yaml"
    script.write_text("replies: [{match: slow, reply: one two three four, token_delay: 0.1}]")
    return msgspec.structs.replace(FAKE, script=str(script), **more)


@pytest.mark.anyio
async def test_an_engine_is_replaced_when_its_requests_are_done_and_never_runs_twice(tmp_path: Path) -> None:
    async with running_gateway(config({"m": slow(tmp_path)}), tmp_path) as gate, gate.client() as streaming:
        fleet = gate.gateway.fleet
        await gate.ask(request(chat("load")))
        old = fleet.stations.child("m")
        assert old is not None
        await streaming.send(request(chat("slow", stream=True)))
        await until(lambda: fleet.worker("m").active == 1)
        await apply(gate, models={"m": slow(tmp_path, parallel=2)})
        assert fleet.worker("m").state is State.DRAINING
        async with gate.client() as waiting:
            await waiting.send(request(chat("next")))
            assert b"four" in (await streaming.answer()).body
            assert (await waiting.answer()).status == 200
        new = fleet.stations.child("m")
        assert new is not None
        assert new.pid != old.pid
        assert not psutil.pid_exists(old.pid)
        assert (fleet.worker("m").parallel, fleet.worker("m").restarts, fleet.worker("m").failures) == (2, 0, 0)


@pytest.mark.anyio
async def test_settings_that_no_process_depends_on_leave_it_alone(tmp_path: Path) -> None:
    async with running_gateway(config({"m": FAKE}), tmp_path) as gate:
        await gate.ask(request(chat()))
        child = gate.gateway.fleet.stations.child("m")
        other = msgspec.structs.replace(FAKE, aliases=["nick"], idle_timeout=Seconds(7), timeout=Seconds(9))
        await apply(gate, models={"m": other})
        assert (await gate.ask(request(chat(model="nick")))).status == 200
        assert gate.gateway.fleet.stations.child("m") is child
        assert gate.gateway.fleet.worker("m").idle_timeout_s == 7


@pytest.mark.anyio
async def test_a_model_moves_between_this_machine_and_another(tmp_path: Path) -> None:
    async with two_workers() as (gate, first, _):
        await apply(gate, models={"m": FAKE})
        assert says(await gate.ask(request(chat()))).startswith("fake")
        child = gate.gateway.fleet.stations.child("m")
        assert child is not None
        await apply(gate, models={"m": remote(first.url)})
        assert says(await gate.ask(request(chat()))) == "hi"
        assert not psutil.pid_exists(child.pid)


@pytest.mark.anyio
async def test_a_pinned_model_loads_when_it_comes_and_ends_when_it_goes(tmp_path: Path) -> None:
    async with running_gateway(config({"m": FAKE}), tmp_path) as gate:
        fleet = gate.gateway.fleet
        await apply(gate, models=models(gate, p=Model(backend="fake", pinned=True)))
        await until(lambda: fleet.worker("p").state is State.READY)
        child = fleet.stations.child("p")
        assert child is not None
        await apply(gate, models=models(gate, p=None))
        await until(lambda: "p" not in fleet.machine.workers)
        assert not psutil.pid_exists(child.pid)


@pytest.mark.anyio
async def test_what_is_not_preloaded_loads_with_its_first_request_or_as_soon_as_an_edit_says_so(tmp_path: Path) -> None:
    pinned = {"m": Model(backend="fake", pinned=True), "n": Model(backend="fake", pinned=True)}
    start = msgspec.structs.replace(config(pinned), memory=Memory(preload=False))
    async with running_gateway(start, tmp_path) as gate:
        fleet = gate.gateway.fleet
        assert (await gate.ask(request(chat()))).status == 200
        assert (fleet.worker("m").state, fleet.worker("n").state) == (State.READY, State.COLD)
        assert not fleet.worker("m").idles
        await apply(gate, models=models(gate, o=FAKE))
        assert fleet.worker("n").state is State.COLD
        await apply(gate, memory=Memory(preload=True))
        await until(lambda: fleet.worker("n").state is State.READY)


@pytest.mark.anyio
async def test_an_edit_mends_a_model_that_failed_without_a_wait(tmp_path: Path) -> None:
    broken = msgspec.structs.replace(FAKE, script=str(tmp_path / "absent.yaml"))
    async with running_gateway(config({"m": broken}), tmp_path) as gate:
        for _ in range(4):
            assert (await gate.ask(request(chat()))).error["code"] == "load_failed"
        await apply(gate, models={"m": FAKE})
        assert (await gate.ask(request(chat()))).status == 200


@pytest.mark.anyio
async def test_a_pinned_model_comes_back_when_it_is_taken_out_and_put_in_again(tmp_path: Path) -> None:
    pinned = slow(tmp_path, pinned=True)
    async with running_gateway(config({"m": pinned, "n": FAKE}), tmp_path) as gate, gate.client() as streaming:
        fleet = gate.gateway.fleet
        await until(lambda: fleet.worker("m").state is State.READY)
        await streaming.send(request(chat("slow", stream=True)))
        await until(lambda: fleet.worker("m").active == 1)
        await apply(gate, models=models(gate, m=None), roles={"standard": ["n"]})
        await apply(gate, models=models(gate, m=msgspec.structs.replace(pinned, parallel=3)))
        assert fleet.worker("m").state is State.DRAINING
        assert b"four" in (await streaming.answer()).body
        await until(lambda: fleet.worker("m").state is State.READY)
        assert fleet.worker("m").parallel == 3


@pytest.mark.anyio
async def test_a_model_that_came_here_from_elsewhere_unloads_when_it_is_idle(tmp_path: Path) -> None:
    async with two_workers() as (gate, _, _):
        await apply(gate, models={"m": Model(backend="fake", idle_timeout=Seconds(0.2))})
        assert (await gate.ask(request(chat()))).status == 200
        await until(lambda: gate.gateway.fleet.worker("m").state is State.COLD)


@pytest.mark.anyio
async def test_a_loaded_model_whose_file_is_gone_stays_until_its_own_settings_change(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "m.gguf") or tmp_path / "m.gguf"
    model = msgspec.structs.replace(FAKE, source=f"file:{path}")
    async with running_gateway(config({"m": model, "n": FAKE}), tmp_path) as gate:
        assert (await gate.ask(request(chat()))).status == 200
        path.unlink()
        await apply(gate, models=models(gate, n=msgspec.structs.replace(FAKE, aliases=["nick"])))
        assert (await gate.ask(request(chat()))).status == 200


@pytest.mark.anyio
async def test_a_request_in_line_is_sent_as_the_new_settings_want_it() -> None:
    async with two_workers() as (gate, first, two):
        await apply(gate, models={"m": remote(first.url, parallel=1, remote_model="there")})
        async with one_runs_one_waits(gate, first) as (held, running, waiting):
            await apply(gate, models={"m": remote(two.url, parallel=1, remote_model="elsewhere")})
            assert says(await waiting.answer()) == "other"
            assert [r.json["model"] for r in two.requests] == ["elsewhere"]
            held.let_go.set()
            await running.answer()


@pytest.mark.anyio
async def test_a_model_that_was_disabled_takes_over_for_nobody() -> None:
    async with two_workers() as (gate, first, two):
        await apply(gate, models=models(gate, n=remote(two.url)), roles={"standard": ["m", "n"]})
        held = Held()
        first.script.append(held)
        async with gate.client() as client:
            await client.send(request(chat(model="standard")))
            await held.began.wait()
            off = msgspec.structs.replace(remote(two.url), enabled=False)
            await apply(gate, models=models(gate, n=off), roles={"standard": ["m"]})
            assert held.peer is not None
            held.peer.transport.abort()
            assert says(await client.answer()) == "hi"  # of the same model, at another attempt


@pytest.mark.anyio
async def test_a_port_whose_model_left_says_that_it_is_unhealthy(tmp_path: Path) -> None:
    surfaces = ("openai", "llama-server", "pas")
    listeners = [Listener(port=0, name=s, model="m", surface=s) for s in surfaces]  # type: ignore[arg-type]
    async with running_gateway(config({"m": FAKE, "n": FAKE}, listeners=listeners), tmp_path) as gate:
        await apply(gate, models=models(gate, m=None), roles={"standard": ["n"]})
        asked = [await gate.ask(request(path="/health", method="GET"), surface, "GET") for surface in surfaces]
        assert [answer.status for answer in asked] == [503, 503, 200]
        assert asked[2].json["status"] == "unhealthy"
        assert (await gate.ask(request(chat()), "openai")).error["code"] == "model_not_found"


@pytest.mark.anyio
async def test_a_connection_that_was_under_way_to_the_old_place_is_not_kept() -> None:
    async with two_workers() as (gate, first, two):
        async with gate.client() as client:
            await client.send(request(chat(stream=True)))
            old = gate.gateway.fleet.stations.pool("m")
            client.abort()
        await apply(gate, models=models(gate, m=remote(two.url)))
        assert old is not None
        await until(lambda: not old.open and all(peer.gone.is_set() for peer in first.peers))


# -- workers that need a hand --------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_weights_that_are_brought_are_used_by_the_next_request(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    async with running_gateway(config({"m": Model(backend="fake", source=f"file:{path}")}), tmp_path) as gate:
        for _ in range(5):
            refused = await gate.ask(request(chat()))
            assert (refused.status, refused.error["code"]) == (503, "load_failed")
            assert f"there is no file {path}" in refused.error["message"]
        tiny_gguf.write(path)
        assert (await gate.ask(request(chat()))).status == 200
        assert gate.gateway.fleet.worker("m").restarts == 0


@pytest.mark.anyio
async def test_a_worker_that_lives_but_answers_nothing_is_replaced(tmp_path: Path) -> None:
    model = msgspec.structs.replace(FAKE, health_timeout=Seconds(1.5))
    async with running_gateway(config({"m": model}), tmp_path) as gate, gate.client() as client:
        await gate.ask(request(chat()))
        child = gate.gateway.fleet.stations.child("m")
        assert child is not None
        os.kill(child.pid, signal.SIGSTOP)
        await client.send(request(chat()))
        assert (await client.answer()).status == 200  # by the worker that followed
        assert not psutil.pid_exists(child.pid)
        assert gate.gateway.fleet.worker("m").restarts >= 1


@pytest.mark.anyio
async def test_a_request_that_kills_its_worker_is_not_tried_a_third_time(tmp_path: Path) -> None:
    script = tmp_path / "deadly.yaml"
    script.write_text("replies: [{match: poison, die_after: 0}]")
    async with running_gateway(config({"m": msgspec.structs.replace(FAKE, script=str(script))}), tmp_path) as gate:
        refused = await gate.ask(request(chat("poison")))
        assert (refused.status, refused.error["code"]) == (503, "worker_lost")
        assert "ended 2 times under this request" in refused.error["message"]
        worker = gate.gateway.fleet.worker("m")
        await until(lambda: worker.failures == 2 and worker.state is State.READY)
        assert (await gate.ask(request(chat("fine")))).status == 200


# -- the file ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[Gate, Callable[..., None]]]:
    """A gateway that watches its file; the second value writes the models in it."""
    file = folder / "rolecast.yaml"

    def write(models: str, more: str = "") -> None:
        file.write_text(f"server: {{port: 0}}\nmodels: {models}\nroles: {{standard: [m]}}\n{more}")

    write("{m: {backend: fake}}")
    async with running_gateway(load(file), folder, file) as gate:
        yield gate, write


async def models_of(gate: Gate) -> list[str]:
    listed = await gate.ask(request(path="/v1/models", method="GET"), method="GET")
    return [m["id"] for m in listed.json["data"] if m["kind"] == "model"]


@pytest.mark.anyio
async def test_an_edited_file_applies_by_itself_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    async with watched(tmp_path) as (gate, write):
        reloader = gate.gateway.reloader
        write("{m: {backend: fake}, n: {backend: fake}}")
        await until(lambda: reloader.last)
        assert reloader.last is not None
        assert (reloader.last.applied, reloader.last.problems) == (["models.n (added)"], [])
        assert await models_of(gate) == ["m", "n"]
        write("{m: {backend: fake, contxt: 3}}")
        await until(lambda: reloader.last is not None and reloader.last.problems)
        assert "rolecast.yaml:2: models.m" in reloader.last.problems[0]
        assert await models_of(gate) == ["m", "n"]
        (tmp_path / "rolecast.yaml").unlink()
        await asyncio.sleep(1.2)
        assert await models_of(gate) == ["m", "n"]
        write("{m: {backend: fake}}")
        await until(lambda: not reloader.last.problems)
        assert await models_of(gate) == ["m"]


@pytest.mark.anyio
async def test_who_asks_after_the_automatic_reload_is_told_what_that_applied_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as (gate, write):
        reloader = gate.gateway.reloader
        write("{m: {backend: fake}, n: {backend: fake}}")
        await until(lambda: reloader.last)
        assert (await reloader.reload()).applied == ["models.n (added)"]
        assert (await reloader.reload()).applied == []
        write("{m: {backend: fake, contxt: 3}}")
        await until(lambda: reloader.last.problems)  # type: ignore[union-attr]
        write("{m: {backend: fake}, n: {backend: fake}}")  # as it applies already
        assert (await reloader.reload()) == reloader.last
        assert reloader.last is not None
        assert (reloader.last.applied, reloader.last.problems) == ([], [])


@pytest.mark.anyio
async def test_a_file_is_not_read_while_it_is_being_written(tmp_path: Path) -> None:
    async with watched(tmp_path) as (gate, write):
        for count in range(12):  # valid at each moment, and never still
            write(f"{{m: {{backend: fake}}, half{count}: {{backend: fake}}}}")
            wrote = time.monotonic()
            await asyncio.sleep(0.1)
            if time.monotonic() - wrote > 0.4:
                pytest.skip("this machine is too busy to write often enough")
            assert gate.gateway.reloader.last is None
        write("{m: {backend: fake}, whole: {backend: fake}}")
        await until(lambda: gate.gateway.reloader.last)
        assert await models_of(gate) == ["m", "whole"]


@pytest.mark.anyio
async def test_the_page_that_reloads_says_what_became_of_it(tmp_path: Path) -> None:
    json = "Content-Type: application/json\r\n"
    ask = request(path="/admin/reload", head=json + "Content-Length: 0\r\n")
    async with watched(tmp_path) as (gate, write):
        write("{m: {backend: fake}, n: {backend: fake}}", "storage: {models: elsewhere}")
        said = (await gate.ask(ask)).json
        assert (said["applied"], said["problems"]) == (["models.n (added)"], [])
        assert "storage.models" in said["waiting"]
        write("[]")
        refused = await gate.ask(ask)
        assert (refused.status, refused.error["code"]) == (400, "bad_config")
        assert "Nothing was changed" in refused.error["message"]
        status = (await gate.ask(request(path="/admin/status", method="GET"), method="GET")).json
        assert status["reload"]["problems"]
        assert (await gate.ask(request(path="/admin/reload", head="Content-Length: 0\r\n"))).status == 415


@pytest.mark.anyio
async def test_a_reload_warns_with_the_line_of_what_cannot_work_here(tmp_path: Path) -> None:
    async with watched(tmp_path) as (gate, write):
        write("{m: {backend: fake}, n: {backend: fake, source: 'file:/none/x.gguf', url: 'http://h/v1'}}")
        report = await gate.gateway.reloader.reload()
        idle, _, absent = report.warnings
        assert idle.startswith(f"{tmp_path}/rolecast.yaml:")
        assert "models.n.url: does nothing" in idle
        assert "models.n.source: there is no folder /none" in absent


async def refused(gate: Gate) -> str:
    """What is said when the file as it is now cannot be applied."""
    with pytest.raises(ConfigError) as caught:
        await gate.gateway.reloader.reload()
    last = gate.gateway.reloader.last
    assert last is not None
    assert last.problems == list(caught.value.problems)
    return caught.value.message


@pytest.mark.anyio
@pytest.mark.parametrize("source", ["hf:x", "pypi:a b c", "nonsense"])
async def test_a_source_that_is_none_is_refused_before_anything_changes(tmp_path: Path, source: str) -> None:
    async with watched(tmp_path) as (gate, write):
        write(f"{{n: {{source: '{source}', pinned: true}}, m: {{backend: fake, context: 77}}}}")
        assert "models.n.source" in await refused(gate)
        assert gate.gateway.current.config.models["m"].context != 77
        assert await models_of(gate) == ["m"]
        assert (await gate.ask(request(chat()))).status == 200


def broken_edits(folder: Path) -> dict[str, str]:
    """Settings of a model that cannot run here, by what is wrong with them."""
    (folder / "page.gguf").write_text("<html>not here any more</html>")
    (folder / "empty.gguf").write_bytes(b"")
    tiny_gguf.write(folder / "cut.gguf")
    (folder / "cut.gguf").write_bytes((folder / "cut.gguf").read_bytes()[:100])
    return {
        "absent": f"source: 'file:{folder}/absent.gguf'",
        "folder": f"source: 'file:{folder}'",
        # The rest only an engine minds.
        "page": f"source: 'file:{folder}/page.gguf'",
        "empty": f"source: 'file:{folder}/empty.gguf'",
        "cut": f"source: 'file:{folder}/cut.gguf'",
        "hash": f"source: 'file:{folder}/m.gguf', sha256: '{'0' * 64}'",
        "script": f"script: {folder}/absent.yaml",
    }


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["absent", "folder", "hash", "script"])
async def test_an_edit_that_would_break_a_model_that_works_is_refused_and_it_works_on(
    tmp_path: Path, fault: str
) -> None:
    tiny_gguf.write(tmp_path / "m.gguf")
    edit = broken_edits(tmp_path)[fault]
    async with watched(tmp_path) as (gate, write):
        assert (await gate.ask(request(chat()))).status == 200
        child = gate.gateway.fleet.stations.child("m")
        write(f"{{m: {{backend: fake, {edit}}}, n: {{backend: fake}}}}")
        said = await refused(gate)
        assert "models.m." in said
        assert "m works now, and would not with this edit" in said
        assert (await gate.ask(request(chat()))).status == 200
        assert gate.gateway.fleet.stations.child("m") is child
        assert await models_of(gate) == ["m"]  # refused as a whole
        await gate.gateway.fleet.unload("m")
        write(f"{{m: {{backend: fake, {edit}}}, n: {{backend: fake}}}}", "log: {level: debug}")
        await until(lambda: gate.gateway.current.config.log.level == "debug")  # nothing works that it could break


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["page", "empty", "cut"])
async def test_an_edit_to_weights_that_no_engine_can_load_is_refused(tmp_path: Path, fault: str) -> None:
    tiny_gguf.write(tmp_path / "m.gguf")
    edit = broken_edits(tmp_path)[fault]
    async with watched(tmp_path) as (gate, write):
        write(f"{{m: {{backend: llamacpp, context: 64, source: 'file:{tmp_path}/m.gguf'}}}}")
        await until(lambda: gate.gateway.current.config.models["m"].source)
        await gate.gateway.fleet.load("m")
        child = gate.gateway.fleet.stations.child("m")
        write(f"{{m: {{backend: llamacpp, context: 64, {edit}}}}}")
        assert "m works now, and would not with this edit" in await refused(gate)
        assert gate.gateway.fleet.stations.child("m") is child
        assert gate.gateway.fleet.worker("m").state is State.READY


@pytest.mark.anyio
async def test_an_edit_that_leaves_the_worker_alone_is_not_judged_by_what_its_next_start_would_meet(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("replies: []")
    async with watched(tmp_path) as (gate, write):
        write(f"{{m: {{backend: fake, script: {script}}}}}")
        await until(lambda: gate.gateway.current.config.models["m"].script)
        assert (await gate.ask(request(chat()))).status == 200
        script.unlink()
        write(f"{{m: {{backend: fake, script: {script}, aliases: [nick]}}}}")
        await until(lambda: gate.gateway.current.config.models["m"].aliases)
        assert (await gate.ask(request(chat(model="nick")))).status == 200


@pytest.mark.anyio
async def test_weights_of_another_hash_make_a_model_absent_and_disturb_no_other(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "n.gguf")
    async with watched(tmp_path) as (gate, write):
        other = f"n: {{backend: fake, pinned: true, source: 'file:{tmp_path}/n.gguf', sha256: '{'0' * 64}'}}"
        write(f"{{m: {{backend: fake}}, {other}}}")
        await gate.gateway.reloader.reload()
        status = (await gate.ask(request(path="/admin/status", method="GET"), method="GET")).json
        assert {m["id"]: m["state"] for m in status["models"]} == {"m": "cold", "n": "absent"}
        assert (await gate.ask(request(chat(model="n")))).status == 503
        assert (await gate.ask(request(chat()))).status == 200


@pytest.mark.anyio
async def test_a_wrong_hash_is_noticed_although_the_file_was_used_before(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "m.gguf")
    model = msgspec.structs.replace(FAKE, source=f"file:{tmp_path}/m.gguf")
    async with running_gateway(config({"m": model}), tmp_path) as gate:
        assert (await gate.ask(request(chat()))).status == 200
        await gate.gateway.fleet.unload("m")
        await apply(gate, models={"m": msgspec.structs.replace(model, sha256="0" * 64)})
        assert (await gate.ask(request(chat()))).status == 503


@pytest.mark.anyio
async def test_an_edit_between_reading_and_watching_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    file.write_text("server: {port: 0}\nmodels: {m: {backend: fake}}\nroles: {standard: [m]}\n")
    before = load(file)
    file.write_text("server: {port: 0}\nmodels: {m: {backend: fake}, n: {backend: fake}}\nroles: {standard: [m]}\n")
    async with running_gateway(before, tmp_path, file) as gate:
        await until(lambda: gate.gateway.reloader.last)
        assert await models_of(gate) == ["m", "n"]


@pytest.mark.anyio
async def test_a_link_that_is_switched_to_another_file_is_followed(tmp_path: Path) -> None:
    text = "server: {{port: 0}}\nmodels: {{m: {{backend: fake}}{}}}\nroles: {{standard: [m]}}\n"
    one, two, link = tmp_path / "1.yaml", tmp_path / "2.yaml", tmp_path / "rolecast.yaml"
    one.write_text(text.format(""))
    two.write_text(text.format(", n: {backend: fake}"))
    link.symlink_to(one)
    assert settings.choose(link).path == link
    async with running_gateway(load(link), tmp_path, link) as gate:
        fresh = tmp_path / "fresh"
        fresh.symlink_to(two)
        fresh.replace(link)
        await until(lambda: gate.gateway.reloader.last)
        assert await models_of(gate) == ["m", "n"]


@pytest.mark.anyio
async def test_what_is_no_file_of_text_is_refused_and_read_by_nobody(tmp_path: Path) -> None:
    async with watched(tmp_path) as (gate, write):
        file = tmp_path / "rolecast.yaml"
        file.unlink()
        os.mkfifo(file)  # to open it would wait for ever
        async with asyncio.timeout(5):
            assert "not a regular file" in await refused(gate)
        file.unlink()
        file.write_bytes(b"models: {\xff}")
        assert "rolecast.yaml" in await refused(gate)
        write("{m: {backend: fake}, n: {backend: fake}}")
        assert (await gate.gateway.reloader.reload()).applied == ["models.n (added)"]


@pytest.mark.anyio
async def test_the_log_says_more_as_soon_as_it_is_told_to(tmp_path: Path) -> None:
    root = logging.getLogger()
    own = logging.getLogger("rolecast")
    before = root.handlers[:], root.level
    try:
        async with watched(tmp_path) as (gate, write):
            write("{m: {backend: fake}}", "log: {level: warning}")
            await gate.gateway.reloader.reload()
            assert own.level == logging.WARNING
            write("{m: {backend: fake}}", "log: {level: debug}")
            await gate.gateway.reloader.reload()
            assert own.level == logging.DEBUG
    finally:
        root.handlers[:], root.level = before


@pytest.mark.anyio
async def test_a_gateway_without_a_file_says_so(tmp_path: Path) -> None:
    async with running_gateway(config({"m": FAKE}), tmp_path) as gate:
        refused = await gate.ask(
            request(path="/admin/reload", head="Content-Type: application/json\r\nContent-Length: 0\r\n")
        )
        assert refused.status == 400
        assert "no file" in refused.error["message"]
