"""Random edits under load: whatever is configured at a moment, nobody waits for ever or gets another's answer."""

import asyncio
import json
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from free_ports import free_port
from gateway import (
    DONE,
    SSE_HEAD,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    message,
    on_uvloop,
    remote,
    request,
    running_gateway,
    short_folder,
    until,
)

from rolecast.config.check import check
from rolecast.config.schema import Config, Listener, Model, Seconds
from rolecast.errors import ConfigError

# The loop that a gateway runs on; asyncio's own leaks who comes in at the moment when a port closes.
anyio_backend = on_uvloop
CLIENTS, REQUESTS, PAUSE_S = 8, 40, 0.01
EXPECTED = {"model_not_found", "model_disabled", "model_removed"}
"""Reasons to be refused: the model was taken away."""


def echo(rolls: random.Random) -> Any:
    """A worker that repeats what it was asked, sometimes slowly, and now and then dies instead."""

    async def script(peer: Peer, asked: Received) -> None:
        mark = asked.json["messages"][0]["content"]
        await asyncio.sleep(rolls.random() * 0.02)
        if rolls.random() < 0.02:
            peer.transport.abort()
        elif asked.json.get("stream"):
            await peer.send(SSE_HEAD + chunk(delta(mark)))
            await asyncio.sleep(rolls.random() * 0.02)
            await peer.send(chunk(DONE) + b"0\r\n\r\n")
        else:
            await peer.send(message(json.dumps({"choices": [{"message": {"content": mark}}]}).encode()))

    return script


def any_config(now: Config, urls: list[str], ports: list[int], rolls: random.Random) -> Config:
    """Some of the models a, b and c, here, there or disabled, with some role, and ports of some of them."""

    def model() -> Model:
        where, enabled = rolls.choice([*urls, "here"]), rolls.random() < 0.8
        if where == "here":
            idle = Seconds(rolls.choice([0.05, 5.0]))
            pinned, parallel = rolls.random() < 0.3, rolls.choice([1, 2])
            return Model(backend="fake", parallel=parallel, idle_timeout=idle, pinned=pinned, enabled=enabled)
        return remote(where, parallel=rolls.choice([1, 4]), enabled=enabled)

    chosen = {name: model() for name in "abc" if rolls.random() < 0.7}
    usable = [name for name, m in chosen.items() if m.enabled]
    listeners = [Listener(port=port, model=rolls.choice(usable)) for port in ports if usable and rolls.random() < 0.5]
    server = msgspec.structs.replace(now.server, listeners=listeners)
    return msgspec.structs.replace(now, models=chosen, roles={"standard": usable} if usable else {}, server=server)


async def ask_on(gate: Gate, name: str, rolls: random.Random, seen: Counter[str]) -> None:
    for number in range(REQUESTS):
        mark, stream = f"mark-{name}-{number}-", rolls.random() < 0.5
        async with gate.client() as client:
            await client.send(request(chat(mark, model=rolls.choice(["a", "b", "c", "standard"]), stream=stream)))
            if rolls.random() < 0.1:
                await asyncio.sleep(rolls.random() * 0.02)
                client.abort()
                seen["left"] += 1
                continue
            answer = await client.answer()
        if answer.status == 200 and b'"code"' not in answer.body:
            assert mark.encode() in answer.body
            assert not stream or answer.body.endswith(DONE)
            seen["answered"] += 1
        else:
            seen[answer.error["code"] if answer.status != 200 else "broken off"] += 1


def open_of(ports: list[int]) -> set[int]:
    """Those of the ports on which this process listens."""
    everything = psutil.Process().net_connections("tcp")
    return {one.laddr.port for one in everything if one.status == psutil.CONN_LISTEN} & set(ports)


async def knock(port: int, asking: "asyncio.Future[Any]", met: Counter[str]) -> None:
    """Ask a port that comes and goes for its health, again and again."""
    while not asking.done():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            met["refused"] += 1
            await asyncio.sleep(PAUSE_S)
            continue
        try:
            writer.write(request(path="/health", method="GET", head="Connection: close\r\n"))
            said = await reader.read()
            met["answered" if said.startswith(b"HTTP/1.1 ") and b'"model"' in said else said.decode() or "cut off"] += 1
        except ConnectionResetError:
            met["cut off"] += 1
        finally:
            writer.close()


@pytest.mark.anyio
@pytest.mark.parametrize("seed", [1, 2])
async def test_edits_under_load_lose_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    rolls, seen, met = random.Random(seed), Counter[str](), Counter[str]()
    ports = [free_port() for _ in range(3)]
    children = set(psutil.Process().children(recursive=True))
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/1") as one, ScriptedWorker().listening(f"{folder}/2") as two:
            one.usual = two.usual = echo(rolls)
            one.keep = two.keep = False
            async with running_gateway(config({"a": remote(one.url)}), tmp_path) as gate:
                names = [f"client{n}" for n in range(CLIENTS)]
                asking = asyncio.gather(*(ask_on(gate, name, rolls, seen) for name in names))
                knocking = asyncio.gather(*(knock(port, asking, met) for port in ports))
                while not asking.done():
                    wanted = any_config(gate.gateway.current.config, [one.url, two.url], ports, rolls)
                    if not check(wanted):
                        await gate.gateway.reloader.apply(wanted)
                        assert {x.port for x in wanted.server.listeners} == open_of(ports)
                    if rolls.random() < 0.1:
                        bad = {**wanted.models, "bad": remote("ftp://nowhere")}
                        with pytest.raises(ConfigError):
                            await gate.gateway.reloader.apply(msgspec.structs.replace(wanted, models=bad))
                    await asyncio.sleep(rolls.random() * 2 * PAUSE_S)
                await asking
                await knocking
                workers = gate.gateway.fleet.machine.workers
                await until(lambda: not gate.gateway.dispatch.active and all(not w.active for w in workers.values()))
    assert set(met) <= {"answered", "refused", "cut off"}, met
    assert met["answered"], met
    assert seen["answered"] > CLIENTS * REQUESTS / 10, seen
    assert set(seen) <= EXPECTED | {"answered", "left", "worker_lost", "unreachable", "broken off"}, seen
    assert seen["worker_lost"] + seen["unreachable"] + seen["broken off"] < 10, seen
    assert unhandled == []
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert set(psutil.Process().children(recursive=True)) <= children
