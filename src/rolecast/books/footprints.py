"""What workers were seen to take, as it is kept: the peaks of their lives, and floors below which none is admitted.

A key is text that names all that the memory of a worker depends on; what that is, is not known here. The numbers that
are made of peaks and floors are pure functions.
"""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import partial
from itertools import zip_longest

import msgspec

from rolecast.books.store import Query, Row, Step, Store
from rolecast.footprint import Footprint

KEPT = 20
"""Lives of one key that are remembered, the newest."""
MANY = 10
"""From so many lives on a single one that took far more than the others is left out of account."""
QUANTILE = 0.9
HEADROOM = 1.05
"""Above the quantile: the one life in ten beyond it is seldom far beyond it."""
RAISES = (1.25, 1.5, 2.0)
"""By what a floor is raised at the first, the second and all later deaths: few steps to a number that is enough."""
LEAST_RAISE_BYTES = 64 << 20
FLOOR_S = 7 * 86_400.0
"""A floor is forgotten so long after the last death, because it may have been somebody else who took the memory."""
FORGOTTEN_S = 180 * 86_400.0
"""What nobody has run for so long is forgotten."""

PEAKS = Query("SELECT key, began, ram, gpus FROM footprints WHERE began >= :since ORDER BY key, began")
FLOORS = Query("SELECT key, at, ram, gpus, deaths FROM footprint_floors WHERE at >= :since")
PUT = Query(
    "INSERT INTO footprints (key, began, ram, gpus) VALUES (:key, :began, :ram, :gpus) "
    "ON CONFLICT (key, began) DO UPDATE SET ram = excluded.ram, gpus = excluded.gpus"
)
OLDER = Query("DELETE FROM footprints WHERE key = :key AND began < :oldest")
RAISE = Query(
    "INSERT INTO footprint_floors (key, at, ram, gpus, deaths) VALUES (:key, :at, :ram, :gpus, :deaths) "
    "ON CONFLICT (key) DO UPDATE SET at = excluded.at, ram = excluded.ram, gpus = excluded.gpus, "
    "deaths = excluded.deaths"
)
OLD = Query("DELETE FROM footprints WHERE began < :before")
OLD_FLOORS = Query("DELETE FROM footprint_floors WHERE at < :before")


class Peak(msgspec.Struct, frozen=True):
    """The most that one worker held in its life, which began then, in seconds since 1970."""

    began: float
    took: Footprint


class Floor(msgspec.Struct, frozen=True):
    """Nobody with this key is admitted with less, since one died for want of memory."""

    at: float
    """The last death, in seconds since 1970."""
    least: Footprint
    deaths: int = 1


class Known(msgspec.Struct, frozen=True):
    """All that is remembered of one key, the oldest life first."""

    peaks: tuple[Peak, ...] = ()
    floor: Floor | None = None


def upper(peaks: Sequence[Footprint]) -> Footprint:
    """What a life takes at most as far as these tell, place by place; nothing of none.

    Of few the highest: too much costs a reload, too little a worker's life, and few numbers have no quantile. Of many
    the 90th percentile (nearest rank) with head-room, so that one leak does not count for ever; but never more than
    was seen.
    """
    places = zip_longest(*(peak.gpus for peak in peaks), fillvalue=0)
    return Footprint(_upper([peak.ram for peak in peaks]), tuple(_upper(place) for place in places))


def _upper(sizes: Sequence[int]) -> int:
    if len(sizes) < MANY:
        return max(sizes, default=0)
    return min(max(sizes), math.ceil(HEADROOM * sorted(sizes)[math.ceil(QUANTILE * len(sizes)) - 1]))


def raised(floor: Floor | None, had: Footprint, lacked: Footprint, at: float) -> Floor:
    """The floor after one more death of a worker that had so much. `lacked` is nonzero where memory was short."""
    deaths = floor.deaths if floor else 0
    before = floor.least if floor else Footprint()
    factor = RAISES[min(deaths, len(RAISES) - 1)]

    def step(size: int, least: int, short: int) -> int:
        base = max(size, least)
        return max(math.ceil(base * factor), base + LEAST_RAISE_BYTES) if short else least

    gpus = zip_longest(had.gpus, before.gpus, lacked.gpus, fillvalue=0)
    least = Footprint(step(had.ram, before.ram, lacked.ram), tuple(step(*each) for each in gpus))
    return Floor(at, least, deaths + 1)


def standing(known: Known, now: float) -> Footprint:
    """The floor that holds now; nothing where there is none.

    It is forgotten with time, and when all lives that are remembered began after the death: they went well.
    """
    floor = known.floor
    if floor is None or now - floor.at > FLOOR_S:
        return Footprint()
    outlived = len(known.peaks) >= KEPT and known.peaks[0].began > floor.at
    return Footprint() if outlived else floor.least


async def recall(store: Store, now: float) -> dict[str, Known]:
    """All that is remembered, by key. Raises StoreError."""
    peaks: dict[str, list[Peak]] = {}
    for key, began, ram, gpus in await store.read(PEAKS, since=now - FORGOTTEN_S):
        peaks.setdefault(key, []).append(Peak(began, _read(ram, gpus)))
    rows = await store.read(FLOORS, since=now - FLOOR_S)
    floors = {key: Floor(at, _read(ram, gpus), deaths) for key, at, ram, gpus, deaths in rows}
    keys = {*peaks, *floors}
    return {key: Known(tuple(peaks.get(key, ())[-KEPT:]), floors.get(key)) for key in keys}


async def write(store: Store, lives: Iterable[tuple[str, Peak]], changed: Mapping[str, Known]) -> None:
    """Keep these lives, and of each of their keys what is known beside them. Raises StoreError."""
    await store.transact(partial(_write, tuple(lives), dict(changed)))


async def forget(store: Store, now: float) -> None:
    """Delete what is too old to be remembered. Raises StoreError."""
    await store.transact(partial(_forget, now))


def _write(lives: Sequence[tuple[str, Peak]], changed: Mapping[str, Known]) -> Generator[Step, list[Row], None]:
    for key, peak in lives:
        yield Step(PUT, {"key": key, "began": peak.began, **_written(peak.took)})
    for key, known in changed.items():
        if len(known.peaks) >= KEPT:
            yield Step(OLDER, {"key": key, "oldest": known.peaks[0].began})
        if known.floor is not None:
            floor = known.floor
            yield Step(RAISE, {"key": key, "at": floor.at, "deaths": floor.deaths, **_written(floor.least)})


def _forget(now: float) -> Generator[Step, list[Row], None]:
    yield Step(OLD, {"before": now - FORGOTTEN_S})
    yield Step(OLD_FLOORS, {"before": now - FLOOR_S})


def _written(taken: Footprint) -> dict[str, int | str]:
    return {"ram": taken.ram, "gpus": msgspec.json.encode(taken.gpus).decode()}


def _read(ram: int, gpus: str) -> Footprint:
    try:
        return Footprint(ram, msgspec.json.decode(gpus, type=tuple[int, ...]))
    except msgspec.DecodeError:  # somebody has written into our tables
        return Footprint(ram)
