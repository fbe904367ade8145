"""How all parts of the gateway take over an edit together: each of them, or none."""

import asyncio
import itertools
import logging
import random
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from free_ports import free_port
from gateway import Gate, chat, config, request, running_gateway, until

from rolecast.config.edit import Change, Edit, edit_to, prepare
from rolecast.config.schema import Config, Listener, Log, Model, Seconds
from rolecast.errors import ConfigError

pytestmark = pytest.mark.anyio
FAKE = Model(backend="fake", idle_timeout=Seconds(0))
HERE = edit_to(Config(), {})


class Part:
    """Notes what becomes of it."""

    def __init__(self, name: str, notes: list[str], *, refuses: bool = False, breaks: bool = False) -> None:
        self.name, self.notes, self.refuses, self.breaks = name, notes, refuses, breaks

    async def prepare(self, edit: Edit) -> Change:
        await asyncio.sleep(0)
        if self.refuses:
            raise ConfigError([f"{self.name} refuses"])
        return Change(lambda: self._note("commits"), lambda: self._note("discards"))

    def _note(self, what: str) -> None:
        self.notes.append(f"{self.name} {what}")
        if self.breaks:
            raise ValueError("as nobody should")


async def test_all_parts_commit_in_one_turn_when_all_have_prepared() -> None:
    notes: list[str] = []
    change = await prepare([Part("a", notes), Part("b", notes)], HERE)
    assert notes == []
    change.commit()
    assert notes == ["a commits", "b commits"]


@pytest.mark.parametrize("place", range(3))
async def test_a_refusal_discards_what_was_prepared_before_it_and_asks_nobody_after_it(place: int) -> None:
    notes: list[str] = []
    parts = [Part("a", notes), Part("b", notes)]
    parts.insert(place, Part("x", notes, refuses=True))
    with pytest.raises(ConfigError, match="x refuses"):
        await prepare(parts, HERE)
    assert notes == ["b discards", "a discards"][2 - place :]


async def test_a_part_that_breaks_its_word_keeps_no_other_from_its_own(caplog: pytest.LogCaptureFixture) -> None:
    notes: list[str] = []
    parts = [Part("a", notes, breaks=True), Part("b", notes)]
    (await prepare(parts, HERE)).commit()
    (await prepare(parts, HERE)).discard()
    assert notes == ["a commits", "b commits", "b discards", "a discards"]
    assert caplog.text.count("ValueError: as nobody should") == 2


# -- the parts of a gateway ----------------------------------------------------------------------------------------


def listening() -> set[int]:
    everything = psutil.Process().net_connections("tcp")
    return {one.laddr.port for one in everything if one.status == psutil.CONN_LISTEN}


async def get(gate: Gate, path: str, **more: Any) -> Any:
    return (await gate.ask(request(path=path, method="GET", **more), method="GET")).json


async def seen(gate: Gate, key: str = "") -> dict[str, Any]:
    """All that can be seen of a gateway and does not change by itself."""
    head = f"Authorization: Bearer {key}\r\n" if key else ""
    status = await get(gate, "/admin/status", head=head)
    models = [{name: m[name] for name in ("id", "state", "parallel", "pid", "context")} for m in status["models"]]
    return {
        "models": models,
        "listed": [m["id"] for m in (await get(gate, "/v1/models", head=head))["data"]],
        "roles": status["roles"],
        "listeners": status["listeners"],
        "open": listening(),
        "without a key": (await gate.ask(request(chat()))).status,
        "counted": sorted(gate.gateway.telemetry.models),
        "log": logging.getLogger().level,
    }


def another(now: Config, port: int) -> Config:
    """An edit that every part has something to do for."""
    models = {"m": msgspec.structs.replace(FAKE, parallel=2, context=99), "n": FAKE}
    server = msgspec.structs.replace(now.server, keys=["sk-1"], listeners=[Listener(port=port, name="x", model="n")])
    return msgspec.structs.replace(
        now, models=models, roles={"standard": ["n", "m"]}, server=server, log=Log(level="error")
    )


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def _log() -> Any:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.mark.usefixtures("_log")
async def test_an_edit_that_is_refused_at_any_place_leaves_every_part_as_it_was(tmp_path: Path, port: int) -> None:
    async with running_gateway(config({"m": FAKE}), tmp_path) as gate:
        assert (await gate.ask(request(chat()))).status == 200
        gateway, before = gate.gateway, await seen(gate)
        edit = another(gateway.current.config, port)
        for place in range(len(gateway.parts) + 1):
            refusing = Part("one more part", [], refuses=True)
            gateway.parts.insert(place, refusing)
            with pytest.raises(ConfigError, match="one more part refuses"):
                await gateway.reloader.apply(edit)
            gateway.parts.remove(refusing)
            assert await seen(gate) == before
        await gateway.reloader.apply(edit)
        after = await seen(gate, "sk-1")
        assert all(after[name] != before[name] for name in before), after


@pytest.mark.usefixtures("_log")
async def test_the_order_of_the_parts_means_nothing(tmp_path: Path, port: int) -> None:
    found = []
    for seed in range(4):
        async with running_gateway(config({"m": FAKE}), tmp_path) as gate:
            random.Random(seed).shuffle(gate.gateway.parts)
            await gate.gateway.reloader.apply(another(gate.gateway.current.config, port))
            front = gate.port()
            after = await seen(gate, "sk-1")
            after["listeners"] = [one for one in after["listeners"] if one["name"] != "front door"]
            after["open"] = after["open"] - {front}
            found.append(after)
    assert all(one == two for one, two in itertools.pairwise(found))


async def test_who_gives_up_while_an_edit_is_prepared_leaves_nothing_behind(tmp_path: Path, port: int) -> None:
    class Slow(Part):
        async def prepare(self, edit: Edit) -> Change:
            reached.set()
            await asyncio.Event().wait()
            return Change()

    reached = asyncio.Event()
    async with running_gateway(config({"m": FAKE}), tmp_path) as gate:
        assert (await gate.ask(request(chat()))).status == 200
        before, slow = await seen(gate), Slow("slow", [])
        edit = msgspec.structs.replace(another(gate.gateway.current.config, port), log=gate.gateway.current.config.log)
        gate.gateway.parts.append(slow)
        asking = asyncio.create_task(gate.gateway.reloader.apply(edit))
        await reached.wait()
        assert port in listening()  # bound already, and nobody is let in
        asking.cancel()
        await asyncio.wait({asking})
        assert await seen(gate) == before
        gate.gateway.parts.remove(slow)
        await gate.gateway.reloader.apply(edit)
        await until(lambda: port in listening())
