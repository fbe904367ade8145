"""The open ports: what the configuration opens, and what an edit of it opens, moves and closes under clients."""

import asyncio
import os
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from free_ports import free_port
from gateway import (
    Client,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    config,
    delta,
    pair,
    request,
    running_gateway,
    until,
)

from rolecast.config import check, load
from rolecast.config.schema import Listener, Log, Model, Seconds
from rolecast.errors import ConfigError, ShuttingDown

FAKE = Model(backend="fake")
pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: a gateway runs on uvloop where there is one, and they close sockets differently."""
    return "asyncio", {"use_uvloop": request.param}


def is_open(port: int, host: str = "127.0.0.1") -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


def listening() -> set[tuple[str, int]]:
    """What this process listens on."""
    everything = psutil.Process().net_connections("tcp")
    return {(one.laddr.ip, one.laddr.port) for one in everything if one.status == psutil.CONN_LISTEN}


async def edit(gate: Gate, **server: Any) -> None:
    """Let these settings of the server apply."""
    now = gate.gateway.current.config
    await gate.gateway.reloader.apply(
        msgspec.structs.replace(now, server=msgspec.structs.replace(now.server, **server))
    )


async def health(client: Client) -> Any:
    """What /health says on a connection that is open."""
    await client.send(request(path="/health", method="GET"))
    return await client.answer("GET")


@asynccontextmanager
async def to(port: int, host: str = "127.0.0.1") -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection(host, port))
    try:
        yield client
    finally:
        await client.close()


async def on(port: int, host: str = "127.0.0.1") -> Any:
    """The model that a port answers for; '' = all of them."""
    async with to(port, host) as client:
        return (await health(client)).json.get("model", "")


@asynccontextmanager
async def open_ports(folder: Path, **server: Any) -> AsyncIterator[Gate]:
    """A gateway with the models a and b and these settings of its server."""
    cast = config({"a": FAKE, "b": FAKE})
    cast = msgspec.structs.replace(cast, server=msgspec.structs.replace(cast.server, **server))
    assert not check.check(cast)
    async with running_gateway(cast, folder) as gate:
        yield gate


# -- at the start ------------------------------------------------------------------------------------------------


async def test_every_listener_gets_its_port_and_its_name(tmp_path: Path) -> None:
    listeners = [
        Listener(port=0, model="a"),
        Listener(port=0, name="extra", surface="pas"),
        Listener(port=0, host="::1"),
    ]
    async with open_ports(tmp_path, listeners=listeners) as gate:
        door, single, extra, six = gate.gateway.doors.addresses
    assert [a.name for a in (door, single, extra)] == ["front door", "a:0", "extra"]
    assert (single.model, extra.surface) == ("a", "pas")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", door.url)
    assert six.url.startswith("http://[::1]:")
    async with open_ports(tmp_path, host="0.0.0.0", keys=["sk-1"]) as gate:
        (public,) = gate.gateway.doors.addresses
    assert public.url.startswith("http://127.0.0.1:")


async def start(folder: Path, **server: Any) -> None:
    async with open_ports(folder, **server):
        pass


async def test_a_port_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            await start(tmp_path, port=port)
        held = f"{psutil.Process().name()} (pid {os.getpid()})"
        advice = "stop it, or choose another port in the configuration"
        assert caught.value.problems == (f"server.port: port {port} is taken by {held}; {advice}",)
    with pytest.raises(ConfigError, match=r"server\.host: cannot listen on 192\.0\.2\.1:0: .*; choose another address"):
        await start(tmp_path, host="192.0.2.1", keys=["sk-1"])
    with pytest.raises(ConfigError, match=r"server\.host: cannot listen on no\.such\.invalid: "):
        await start(tmp_path, host="no.such.invalid", keys=["sk-1"])


async def test_a_failed_start_closes_the_ports_it_had_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        front = free_port()
        before = listening()
        with pytest.raises(ConfigError, match=r"server\.listeners\.0\.port: port"):
            await start(tmp_path, port=front, listeners=[Listener(port=holder.getsockname()[1], name="extra")])
        assert listening() == before


# -- edits ---------------------------------------------------------------------------------------------------------


async def test_a_listener_opens_and_closes_in_an_edit_and_the_others_notice_nothing(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    first, second = Listener(port=one, model="a", name="first"), Listener(port=two, model="b", name="second")
    async with open_ports(tmp_path, listeners=[first]) as gate, gate.client() as front, to(one) as stays:
        assert ((await health(front)).status, (await health(stays)).json["model"]) == (200, "a")
        await edit(gate, listeners=[first, second])
        assert await on(two) == "b"
        assert [a.name for a in gate.gateway.doors.addresses] == ["front door", "first", "second"]
        status = await gate.ask(request(path="/admin/status", method="GET"), method="GET")
        assert [entry["name"] for entry in status.json["listeners"]] == ["front door", "first", "second"]
        async with to(two) as idle:
            assert (await health(idle)).status == 200
            await edit(gate, listeners=[first])
            assert not is_open(two)
            assert await idle.is_closed()
        assert ((await health(front)).status, (await health(stays)).json["model"]) == (200, "a")


async def test_another_model_or_surface_answers_on_the_same_socket_and_on_connections_that_are_open(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with open_ports(tmp_path, listeners=[Listener(port=port, model="a", name="one")]) as gate, to(port) as client:
        assert (await health(client)).json["model"] == "a"
        sockets = {door.sock for door in gate.gateway.doors}
        await edit(gate, listeners=[Listener(port=port, model="b", name="one")])
        assert (await health(client)).json["model"] == "b"
        await client.send(request(chat(model="whatever")))
        assert (await client.answer()).header("x-rolecast-model") == "b"
        await edit(gate, listeners=[Listener(port=port, model="b", name="one", surface="llama-server")])
        assert (await health(client)).body == b'{"status":"ok"}'
        await edit(gate, listeners=[Listener(port=port, name="one")])
        assert (await health(client)).json["loaded_models"] == 1
        assert {door.sock for door in gate.gateway.doors} == sockets


async def test_listeners_may_swap_their_ports_and_take_over_those_of_others(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    named = {"a": Listener(port=one, model="a", name="x"), "b": Listener(port=two, model="b", name="y")}
    async with open_ports(tmp_path, listeners=list(named.values())) as gate, to(one) as client:
        assert (await health(client)).json["model"] == "a"
        swapped = [msgspec.structs.replace(named["a"], port=two), msgspec.structs.replace(named["b"], port=one)]
        await edit(gate, listeners=swapped)
        assert (await on(one), await on(two)) == ("b", "a")
        assert (await health(client)).json["model"] == "b"
        await edit(gate, listeners=[Listener(port=one, model="a", name="heir")])
        assert (await on(one), is_open(two)) == ("a", False)
        front = gate.port()
        await edit(gate, port=one, listeners=[Listener(port=front, model="a", name="heir")])
        assert (await on(one), await on(front)) == ("", "a")


async def test_any_free_port_stays_the_same_one_as_long_as_its_listener_is_there(tmp_path: Path) -> None:
    listeners = [Listener(port=0, name="x", model="a"), Listener(port=0, model="a")]
    async with open_ports(tmp_path, listeners=listeners) as gate:
        front, x, nameless = (door.port for door in gate.gateway.doors)
        await edit(gate, listeners=[Listener(port=0, name="x", model="b"), Listener(port=0, model="b")])
        assert [door.port for door in gate.gateway.doors] == [front, x, nameless]
        assert (await on(x), await on(nameless)) == ("b", "b")
        await edit(gate, port=front, listeners=[Listener(port=x, name="x", model="b")])  # now they are written down
        assert [door.port for door in gate.gateway.doors] == [front, x]
        await edit(gate, port=front, listeners=[Listener(port=0, name="other", model="b")])
        assert gate.port("other") != x
        assert not is_open(x)


async def test_a_port_that_cannot_be_had_refuses_the_whole_edit_and_says_who_holds_it(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    kept = Listener(port=one, model="a", name="kept")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        async with open_ports(tmp_path, listeners=[kept]) as gate, to(one) as client:
            before = listening()
            wrong = [Listener(port=two, model="b", name="new"), Listener(port=taken, model="b", name="wrong")]
            with pytest.raises(ConfigError) as caught:
                await edit(gate, keys=["sk-1"], listeners=wrong)
            held = f"{psutil.Process().name()} (pid {os.getpid()})"
            advice = "stop it, or choose another port in the configuration"
            assert caught.value.problems == (f"server.listeners.1.port: port {taken} is taken by {held}; {advice}",)
            assert (await health(client)).json["model"] == "a"
            await client.send(request(chat()))
            assert (await client.answer()).status == 200  # no key is asked for
            assert listening() == before
            front = gate.port()
            with pytest.raises(
                ConfigError, match=f"port {front} is taken by the listener 'front door' of this gateway"
            ):
                await edit(gate, listeners=[kept, Listener(port=front, model="b", name="new")])
            assert listening() == before


@pytest.mark.parametrize(("before", "after"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "::")])
async def test_a_port_opens_to_other_machines_and_closes_again_under_its_number(
    tmp_path: Path, before: str, after: str
) -> None:
    port = free_port()
    async with open_ports(tmp_path, host=before, port=port, keys=["sk-1"]) as gate, to(port) as client:
        assert (await health(client)).status == 200
        await edit(gate, host=after)
        assert {address for address, number in listening() if number == port} == {after}
        assert await client.is_closed()
        async with to(port) as again:
            assert (await health(again)).status == 200
        with pytest.raises(ConfigError, match="is taken by"):  # two gateways on one port would each get half of it
            await start(tmp_path / "two", host=after, port=port, keys=["sk-1"])


async def test_an_address_that_is_spelled_differently_is_the_same_one(tmp_path: Path) -> None:
    async with open_ports(tmp_path) as gate, gate.client() as client:
        assert (await health(client)).status == 200
        await edit(gate, host="localhost")
        assert (await health(client)).status == 200
        assert gate.gateway.doors.addresses[0].url == f"http://localhost:{gate.port()}"


async def test_who_came_in_before_the_keys_were_taken_away_still_needs_one(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    async with open_ports(tmp_path, host="0.0.0.0", port=port, keys=["sk-1"]) as gate, to(port) as outside:
        await outside.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        await until(lambda: gate.connections["front door"] and gate.protocol().phase)
        await edit(gate, host="127.0.0.1", port=other, keys=[])
        await outside.send(b"Content-Length: 2\r\n\r\n{}")
        said = await outside.rest()
        assert not said or b" 401 " in said
        assert await on(other) == ""


# -- requests that run ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def streaming(worker: ScriptedWorker, port: int) -> AsyncIterator[tuple[Client, Held]]:
    """A stream through that port, of which the worker holds back the end."""
    held = Held(delta("be"))
    worker.script.append(held)
    async with to(port) as client:
        await client.send(request(chat(stream=True)))
        await held.began.wait()
        yield client, held


async def test_the_front_door_moves_and_its_requests_end_where_they_began(tmp_path: Path) -> None:
    port = free_port()
    async with pair() as (gate, worker):
        before = gate.port()
        now = gate.gateway.current.config.server
        async with streaming(worker, before) as (client, held):
            await edit(gate, port=port, drain_timeout=Seconds(60))
            assert now.port == 0
            assert not is_open(before)
            assert await on(port) == ""
            assert gate.gateway.doors.addresses[0].url == f"http://127.0.0.1:{port}"
            held.let_go.set()
            answer = await client.answer()
            assert answer.body.endswith(b"data: [DONE]\n\n")
            assert await client.is_closed()
            await until(lambda: not gate.gateway.doors._leaving, "nothing is left of the old port")


async def test_a_request_that_outlasts_the_drain_timeout_on_a_closed_port_is_told(tmp_path: Path) -> None:
    port = free_port()
    async with pair() as (gate, worker):
        async with streaming(worker, gate.port()) as (client, _):
            await edit(gate, port=port, drain_timeout=Seconds(0.05))
            answer = await client.answer()
            assert b'"code":"shutting_down"' in answer.body
            assert await client.is_closed()
            await until(lambda: worker.peers[-1].gone.is_set(), "its worker is told to stop")
        assert await on(port) == ""


async def test_a_port_that_is_still_left_may_be_opened_again(tmp_path: Path) -> None:
    port = free_port()
    extra = Listener(port=port, model="m", name="extra")
    async with pair(listeners=[extra]) as (gate, worker):
        async with streaming(worker, port) as (client, held):
            await edit(gate, listeners=[], drain_timeout=Seconds(60))
            await edit(gate, listeners=[extra])
            assert await on(port) == "m"
            held.let_go.set()
            assert (await client.answer()).body.endswith(b"data: [DONE]\n\n")
        await until(lambda: not gate.gateway.doors._leaving)
        assert await on(port) == "m"


async def test_a_gateway_that_stops_also_ends_what_runs_on_ports_that_an_edit_closed(tmp_path: Path) -> None:
    port = free_port()
    async with asyncio.timeout(20):
        async with pair(listeners=[Listener(port=port, model="m")]) as (gate, worker):
            before = listening()
            held = Held(delta("be"))
            worker.script.append(held)
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            await client.send(request(chat(stream=True)))
            await held.began.wait()
            await edit(gate, listeners=[], drain_timeout=Seconds(3600))
        assert b'"code":"shutting_down"' in await client.rest()
        await client.close()
    assert not {(host, number) for host, number in listening() & before if number == port}


async def test_an_edit_of_a_gateway_that_stops_is_refused_and_opens_nothing(tmp_path: Path) -> None:
    port = free_port()
    async with open_ports(tmp_path) as gate:
        before = listening()
        gate.gateway.reloader.close()
        with pytest.raises(ShuttingDown):
            await edit(gate, listeners=[Listener(port=port, model="a")])
        assert listening() == before


async def test_edits_that_come_at_the_same_time_apply_one_after_the_other(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(8)]
    async with open_ports(tmp_path) as gate:
        await asyncio.gather(*(edit(gate, listeners=[Listener(port=port, model="a")]) for port in ports))
        (_, last) = gate.gateway.doors
        assert await on(last.port) == "a"
        assert {number for _, number in listening()} & set(ports) == {last.port}


async def test_the_answer_to_the_very_reload_that_closes_its_port_arrives(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "rolecast.yaml"
    text = "server: {{port: {}, drain_timeout: 0}}\nmodels: {{m: {{backend: fake}}}}\nroles: {{standard: [m]}}\n"
    file.write_text(text.format(0))
    async with running_gateway(load(file), tmp_path, file) as gate:
        file.write_text(text.format(port))
        head = "Content-Type: application/json\r\nContent-Length: 0\r\n"
        answer = await gate.ask(request(path="/admin/reload", head=head))
        assert (answer.status, answer.json["applied"]) == (200, ["server.port"])
        assert await on(port) == ""


# -- what else follows ---------------------------------------------------------------------------------------------


async def test_the_access_log_goes_on_and_off_also_for_connections_that_are_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def is_noted(client: Client) -> bool:
        caplog.clear()
        assert (await health(client)).status == 200
        return any(r.name == "uvicorn.access" for r in caplog.records)

    caplog.set_level("INFO")
    async with open_ports(tmp_path) as gate, gate.client() as client:
        now = gate.gateway.current.config
        assert not await is_noted(client)
        await gate.gateway.reloader.apply(msgspec.structs.replace(now, log=Log(level="debug", access=True)))
        async with gate.client() as fresh:
            assert (await is_noted(client), await is_noted(fresh)) == (True, True)
            await gate.gateway.reloader.apply(now)
            assert (await is_noted(client), await is_noted(fresh)) == (False, False)


async def test_an_edited_file_moves_the_front_door_and_a_taken_port_is_named_with_its_line(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "rolecast.yaml"

    def write(port: int, more: str = "") -> None:
        rest = "models: {m: {backend: fake}}\nroles: {standard: [m]}\n"
        file.write_text(f"server:\n  port: {port}\n{more}{rest}")

    write(0)
    async with running_gateway(load(file), tmp_path, file) as gate:
        write(port)
        report = await gate.gateway.reloader.reload()
        assert report.applied == ["server.port"]
        assert await on(port) == ""
        with socket.create_server(("127.0.0.1", 0)) as holder:
            taken = holder.getsockname()[1]
            write(port, f"  listeners:\n    - {{port: {taken}, model: m}}\n")
            with pytest.raises(ConfigError) as caught:
                await gate.gateway.reloader.reload()
        assert caught.value.problems[0].startswith(f"{file}:4: server.listeners.0.port: port {taken} is taken by ")
        write(port, "  host: 0.0.0.0\n")
        with pytest.raises(ConfigError, match="lets other machines in, and no key is set"):
            await gate.gateway.reloader.reload()
        assert await on(port) == ""


async def test_a_connection_that_its_client_reset_is_closed_without_a_word() -> None:
    async with pair() as (gate, _):
        with socket.create_connection(("127.0.0.1", gate.port())) as client:
            client.sendall(b"GET /health HTTP/1.1\r\n")
            await until(lambda: gate.connections["front door"])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gate.protocol().close_gently()  # before the loop has noticed
        await until(lambda: not gate.connections["front door"])


async def test_an_answer_is_not_held_back_until_the_one_before_was_acknowledged() -> None:
    """Nagle's delays are off on both event loops: with them each answer on a kept connection waits for 40 ms."""
    async with pair() as (gate, _), gate.client():
        protocol = await until(lambda: gate.connections["front door"] and gate.protocol())
        sock = protocol.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
