"""The servers that run elsewhere: whether they answer, and which models they have. Asks them; decides nothing.

Only servers of one's own are asked without a request: those on this machine and in the house, never a cloud. What is
asked is the path of their health, which lists their models, and says nothing of anybody. Who leaves a server alone
because its requests fail is the breaker.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

import msgspec

from rolecast.backends import offered, reach
from rolecast.backends.offered import Offered
from rolecast.errors import RolecastError
from rolecast.fleet.station import Station, Stations
from rolecast.fleet.worker import State
from rolecast.net.pool import Pool
from rolecast.net.probe import fetch

log = logging.getLogger("rolecast.fleet")

FIRST_S = 0.2
"""The first look comes so long after the start, which it must not slow down."""
PULSE_S = 30.0
AWAY_S = 5.0
"""One that does not answer is asked this often: somebody may be starting it."""
PATIENCE_S = 5.0
SHOWN = 8
"""So many names of models are told."""
_LIST_BYTES = 4 * 1024**2


class Seen(msgspec.Struct, frozen=True):
    """What came of asking a server."""

    fault: str = ""
    """Why it cannot be used; '' = it answers."""
    mend: str = ""
    """What to do then, with `{}` for the model's place in the configuration."""
    models: tuple[Offered, ...] = ()
    """What it has; empty also where it does not say."""


class Elsewhere:
    """What is known of them, by the model that they answer for."""

    def __init__(self, stations: Stations) -> None:
        self._stations = stations
        self.seen: dict[str, Seen] = {}
        self.on_named: Callable[[], None] = lambda: None
        """Told when a server calls a model otherwise than before; app.py sets it."""
        self._due: dict[str, float] = {}

    def name_of(self, model_id: str) -> str:
        """What the server of this model calls it, where the configuration does not say; '' = as we do."""
        station, seen = self._stations.at.get(model_id), self.seen.get(model_id)
        if seen is None or station is None or station.model.remote_model:
            return ""
        return offered.meant(model_id, seen.models)

    def problems(self) -> Iterator[str]:
        """What is wrong with them now, each in a sentence with what to do."""
        for model_id, seen in sorted(self.seen.items()):
            station = self._stations.at.get(model_id)
            if station is None or station.pool is None:
                continue
            at = station.pool.endpoint.address
            if seen.fault:
                yield f"{model_id}: its server at {at} {seen.fault}; {seen.mend.format(f'models.{model_id}')}"
            elif seen.models and not self._has(station, seen):
                there = ", ".join(one.name for one in seen.models[:SHOWN])
                more = f" and {len(seen.models) - SHOWN} more" if len(seen.models) > SHOWN else ""
                wanted = station.model.remote_model or model_id
                told = f"set models.{model_id}.remote_model to one of {there}{more}"
                yield f"{model_id}: the server at {at} has no model '{wanted}'; {told}"

    def _has(self, station: Station, seen: Seen) -> bool:
        wanted = station.model.remote_model
        if not wanted:
            return bool(offered.meant(station.model_id, seen.models))
        return any(one.name in (wanted, f"{wanted}:latest") for one in seen.models)

    async def watch(self) -> None:
        """Ask them, for ever."""
        await asyncio.sleep(FIRST_S)
        while True:
            await self.look()
            await asyncio.sleep(1.0)

    async def look(self) -> None:
        """Ask those whose time has come, all at once."""
        now = asyncio.get_running_loop().time()
        ours = {station.model_id: station for station in self._stations if _is_asked(station)}
        for model_id in self.seen.keys() - ours.keys():
            del self.seen[model_id]
            self._due.pop(model_id, None)
        due = [station for model_id, station in ours.items() if self._due.get(model_id, 0.0) <= now]
        if due:
            await asyncio.gather(*map(self._ask, due))

    async def _ask(self, station: Station) -> None:
        pool = station.pool
        if pool is None:
            return
        seen = await asked(pool)
        if station.pool is not pool:  # other settings apply by now
            return
        now = asyncio.get_running_loop().time()
        self._due[station.model_id] = now + (AWAY_S if seen.fault else PULSE_S)
        before, named = self.seen.get(station.model_id), self.name_of(station.model_id)
        self.seen[station.model_id] = seen
        _tell(station.model_id, pool.endpoint.address, before, seen)
        if self.name_of(station.model_id) != named:
            self.on_named()


async def asked(pool: Pool) -> Seen:
    """What a server says when it is asked for its health."""
    try:
        answer = await fetch(pool, "GET", pool.endpoint.health_path, timeout_s=PATIENCE_S, limit=_LIST_BYTES)
    except RolecastError:
        return Seen("does not answer", "start it, or correct {}.url")
    if answer.status in (401, 403):
        return Seen(f"refuses the key ({answer.status})", "correct {}.key")
    if answer.status >= 500:
        return Seen(f"answers with status {answer.status}", "look at its log")
    return Seen(models=offered.listed(answer.body) if answer.status == 200 else ())


def _is_asked(station: Station) -> bool:
    return station.worker.state is State.REMOTE and station.pool is not None and not reach.is_cloud(station.model)


def _tell(model_id: str, at: str, before: Seen | None, now: Seen) -> None:
    if now.fault and (before is None or not before.fault):
        log.warning("%s: its server at %s %s", model_id, at, now.fault)
    elif before is not None and before.fault and not now.fault:
        log.info("%s: its server at %s answers again", model_id, at)
