"""The fleet with real workers, started by a starter of the test: nothing that was begun is ever left behind."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from gateway import config, until

from rolecast.config.edit import edit_to
from rolecast.config.schema import Config, Model
from rolecast.errors import LoadFailed
from rolecast.fleet import Fleet, State
from rolecast.processes import process
from rolecast.processes.running import Running
from rolecast.values import Launch

pytestmark = pytest.mark.anyio


class Slow:
    """Starts real processes, but each only when the test lets it."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.started: list[Running] = []

    async def __call__(self, launch: Launch, *, name: str, log: Path) -> Running:
        self.begun.set()
        await self.go.wait()
        self.started.append(child := await process.spawn(launch, name=name, log=log))
        return child


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def fleet_of(models: dict[str, Model], logs: Path, start: Slow) -> Fleet:
    return Fleet(config(models), lambda model: None, logs, start)


def one() -> dict[str, Model]:
    return {"m": Model(backend="fake")}


async def test_a_worker_that_is_just_being_started_does_not_outlive_the_close(tmp_path: Path) -> None:
    start = Slow()
    fleet = fleet_of(one(), tmp_path, start)
    await fleet.start()
    fleet.preload("m")
    await start.begun.wait()
    closing = asyncio.create_task(fleet.close())
    await asyncio.sleep(0)
    start.go.set()
    await closing
    assert [child.returncode is not None for child in start.started] == [True]


async def test_nothing_is_started_once_the_fleet_closes(tmp_path: Path) -> None:
    start = Slow()
    start.go.set()
    fleet = fleet_of(one(), tmp_path, start)
    await fleet.start()
    fleet.preload("m")
    await fleet.close()
    fleet.preload("m")
    await asyncio.sleep(0)
    assert all(child.returncode is not None for child in start.started)


async def test_a_worker_that_is_unloaded_while_it_is_being_started_is_ended_when_it_is_there(tmp_path: Path) -> None:
    start = Slow()
    fleet = fleet_of(one(), tmp_path, start)
    await fleet.start()
    fleet.preload("m")
    await start.begun.wait()
    unloading = asyncio.create_task(fleet.unload("m"))
    await asyncio.sleep(0)
    start.go.set()
    await unloading
    assert fleet.worker("m").state is State.COLD
    assert start.started[0].returncode is not None
    await fleet.close()


async def test_a_starter_that_cannot_start_is_a_failed_load_that_says_why(tmp_path: Path) -> None:
    async def refuse(launch: Launch, *, name: str, log: Path) -> Running:
        raise LoadFailed("no room on that machine.")

    fleet = Fleet(config(one()), lambda model: None, tmp_path, refuse)
    await fleet.start()
    with pytest.raises(LoadFailed, match="no room on that machine"):
        await fleet.load("m")
    await fleet.close()


async def test_the_same_settings_would_replace_no_copy_of_a_pinned_model_though_its_weights_are_gone(
    tmp_path: Path,
) -> None:
    model = Model(source="file:/gone.gguf", pinned=True, replicas=2)
    fleet = fleet_of({"m": model}, tmp_path, Slow())
    for station in fleet.stations:
        station.worker.state = State.ASLEEP
        station.planned = Launch(("llama-server",))
    assert not fleet.would_replace("m", model)
    assert fleet.would_replace("m", Model(source="file:/other.gguf", pinned=True, replicas=2))
    await fleet.close()


async def test_a_lease_points_to_its_station_and_other_listening_places_are_the_same_plan(tmp_path: Path) -> None:
    start = Slow()
    start.go.set()
    fleet = fleet_of(one(), tmp_path, start)
    await fleet.start()
    await fleet.load("m")
    lease = fleet.try_lease("m")
    assert lease is not None
    assert lease.station is fleet.stations.at["m"]
    assert (lease.station.child, lease.pool) == (start.started[0], lease.station.pool)
    fleet.release(lease)
    await fleet.unload("m")
    await fleet.load("m")
    before: Config = config(one())
    (await fleet.prepare(edit_to(before, {}))).commit()
    assert fleet.worker("m").state is State.READY
    assert not fleet.would_replace("m", one()["m"])
    (await fleet.prepare(edit_to(config({}), {}))).commit()
    await until(lambda: "m" not in fleet.stations.at)
    await fleet.close()
