"""What a model takes in memory, and how far a load is: one view, for the list of models and the status page.

Reads the estimate and what the worker holds now; keeps nothing. An engine reports no progress, but its memory grows
evenly while it loads, so what it holds of what it will hold tells.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

import msgspec

from rolecast.fleet import Fleet, State, wall_time
from rolecast.fleet.copies import Copies, Whole
from rolecast.footprint import Estimate, Footprint

ALMOST = 99
"""Percent at most, until it answers."""


class Memory(msgspec.Struct, frozen=True):
    """What a worker takes, as far as that is known before it runs. Bytes; with GPUs, the sum of all places."""

    loaded_bytes: int
    """When it has loaded."""
    most_bytes: int
    """With long prompts read and its caches full."""
    gpu_bytes: tuple[int, ...] = ()
    """The part of `most_bytes` on each GPU; empty = it uses none with a memory of its own."""


class Share(msgspec.Struct, frozen=True):
    """Bytes of one place that all models share."""

    budget_bytes: int
    """What they may take together now, by the settings and by what other programs leave."""
    limit_bytes: int
    """What they may take when nobody else uses it."""
    held_bytes: int
    """What those that are loaded are counted with: what they take at most."""


class Room(Share, frozen=True):
    """What all models share: the machine's memory, and that of each GPU."""

    gpus: list[Share] = []


class Loading(msgspec.Struct, frozen=True):
    """A load under way."""

    model: str
    seconds: float
    rss_bytes: int
    expected_bytes: int | None
    """What `rss_bytes` will be; None = not known."""
    percent: int | None


def memory(fleet: Fleet, model_id: str) -> dict[str, Any] | None:
    """What a worker of that model takes; None = not known."""
    found = _estimate(fleet, model_id)
    if found is None:
        return None
    said: dict[str, Any] = msgspec.to_builtins(Memory(_whole(found.loaded), _whole(found.most), found.most.gpus))
    return said


def room(fleet: Fleet) -> Room | None:
    """What all models may take, and what of it is taken; None = nobody has looked yet."""
    rooms = fleet.machine.rooms
    if rooms.budget is None:
        return None
    now, ever, held = rooms.budget, rooms.limit or rooms.budget, rooms.held(fleet.machine.workers)
    gpus = zip_longest(now.gpus, ever.gpus, held.gpus, fillvalue=0)
    shares = [Share(int(one), int(most), int(taken)) for one, most, taken in gpus]
    return Room(int(now.ram), int(ever.ram), int(held.ram), shares)


async def learn(fleet: Fleet, model_ids: Iterable[str]) -> None:
    """Read in a thread what these estimates need, so that nobody waits for the disk on the event loop."""
    wanted = list(model_ids)
    await asyncio.to_thread(lambda: [_estimate(fleet, model_id) for model_id in wanted])


async def loading(fleet: Fleet, model_id: str) -> Loading | None:
    """How far its load is; None when it does not load now."""
    worker = fleet.known(model_id)
    if worker is None or worker.state is not State.LOADING:
        return None
    await learn(fleet, [model_id])
    resident = _resident(worker, await fleet.stations.resident())
    began = wall_time(worker.started_at)
    expected = expected_bytes(_estimate(fleet, model_id))
    return Loading(
        model=model_id,
        seconds=round(time.time() - began, 3) if began else 0.0,
        rss_bytes=resident,
        expected_bytes=expected,
        percent=_percent(resident, expected),
    )


def percent(fleet: Fleet, model_id: str, resident: Mapping[str, int]) -> int | None:
    """How far its load is, by what the workers hold; None when it does not load now, or nobody knows."""
    worker = fleet.known(model_id)
    if worker is None or worker.state is not State.LOADING:
        return None
    return _percent(_resident(worker, resident), expected_bytes(_estimate(fleet, model_id)))


def _resident(worker: Whole, resident: Mapping[str, int]) -> int:
    """What the worker holds that loads; of several copies the one that the load is told of."""
    loads = worker.shown() if isinstance(worker, Copies) else worker
    return resident.get(loads.model_id, 0)


def _percent(resident: int, expected: int | None) -> int | None:
    return min(ALMOST, 100 * resident // expected) if expected else None


def expected_bytes(found: Estimate | None) -> int | None:
    """Resident memory of a worker once it has loaded. What goes to a GPU is not seen there, so then it is not known."""
    return None if found is None or any(found.loaded.gpus) else found.loaded.ram


def _estimate(fleet: Fleet, model_id: str) -> Estimate | None:
    station = fleet.stations.at.get(model_id)
    return fleet.sizes.of(model_id, station.model, station.backend) if station else None


def _whole(place: Footprint) -> int:
    return place.ram + sum(place.gpus)
