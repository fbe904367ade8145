"""The registry of a gateway: the one owner of its services. Keeps time, tells events, writes down, sends heartbeats.

All rules are `services.py`'s; this file gives them a clock and carries out what they say. Everything runs on the event
loop's thread, so nothing is locked.
"""

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from msgspec.structs import replace

from rolecast.books.store import Store
from rolecast.config import paths
from rolecast.config.current import Current
from rolecast.config.edit import Change, Edit
from rolecast.config.loopback import is_loopback
from rolecast.errors import Busy, Conflict
from rolecast.registry.adopted import Adopted
from rolecast.registry.lent import Lent
from rolecast.registry.own import Ours, Sources
from rolecast.registry.rows import KEPT_ALERTS, Rows
from rolecast.registry.service import Alert, Beat, Moment, News, Role, Service
from rolecast.registry.services import MOST, Services
from rolecast.telemetry.events import Events

log = logging.getLogger("rolecast.registry")

BEAT_S = 30.0
"""Our own services are heard so often."""
LEAST_S = 0.1
PATIENCE_S = 5.0
"""So long who asks waits for ours at the start."""
EVENTS = {
    "registered": "service_registered",
    "updated": "service_updated",
    "deregistered": "service_deregistered",
    "removed": "service_deregistered",
    "miss": "heartbeat_miss",
    "down": "service_down",
    "restored": "service_restored",
}
"""What is told of each kind of news; of a mere heartbeat nothing is."""
FULL = f"{MOST:,} services are registered here, and no more are taken until some leave."


def _now() -> Moment:
    return Moment(time.monotonic(), time.time())


class Registry:
    """Who registered, ours among them."""

    def __init__(self, store: Store, events: Events, adopted: Adopted, sources: Sources) -> None:
        self._events = events
        self._adopted = adopted
        self.clock = _now
        """What time it is; tests have their own."""
        self._current: Current = sources.current
        self._addresses = sources.addresses
        self._rows = Rows(store, f"{socket.gethostname()}:{paths.home()}")
        self._services = Services(self._pace_s)
        self._alerts: deque[Alert] = deque(maxlen=KEPT_ALERTS)
        self._ours = Ours(sources)
        self._lent = Lent(adopted, self._current, sources.fleet.cork)
        self._others = 0
        """So many services are not ours."""
        self._changed = asyncio.Event()
        """Set when the configuration is another one."""
        self._look = asyncio.Event()
        """Set when other services may answer than before."""
        self._settled = asyncio.Event()
        """Set when ours are registered."""
        self._closing = False
        self.last_check = 0.0
        """When heartbeats were last counted, in seconds since 1970."""

    # -- life -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Remember the services of before."""
        services, alerts = await self._rows.read()
        self._services.restore((service for service in services if not service.is_ours), self.clock())
        self._alerts.extend(alerts)
        self._others = len(self._services)

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse: what we are is looked at once all have taken it over."""
        return Change(self._changed.set)

    async def keep(self) -> None:
        """Register ours, and keep all as the rules say, for as long as the gateway runs."""
        await asyncio.gather(self._keep_time(), self._keep_lent())

    async def _keep_time(self) -> None:
        wanted: Mapping[str, Service] = {}
        beaten = float("-inf")
        self._changed.set()
        while True:
            try:
                self._tick()
                if self._changed.is_set():
                    self._changed.clear()
                    wanted = await self._ours.services(self._adopted.models)
                    self._register_ours(wanted)
                    beaten = float("-inf")
                    self._look.set()
                if (now := time.monotonic()) - beaten >= BEAT_S - LEAST_S:
                    beaten = now
                    await self._ours.measure()
                    self._beat_ours(wanted)
            except Exception:
                log.exception("the registry could not be looked after")
            self._services.pace_s = self._pace_s
            self._settled.set()
            await _either(self._changed, self._pace_s)

    async def _keep_lent(self) -> None:
        while True:
            self._look.clear()
            try:
                await self._lent.settle(self._services, self._ports())
            except Exception:
                log.exception("services of others could not be made models of ours")
            await asyncio.sleep(LEAST_S)  # whatever registers in masses, a reload of ours takes its time
            await _either(self._look, BEAT_S)

    async def settled(self) -> None:
        """Wait until ours are registered, which is soon after the start."""
        if not self._settled.is_set():
            await _either(self._settled, PATIENCE_S)

    async def close(self) -> None:
        """Ours say good-bye; what others registered is written down."""
        self._closing = True
        for service in [service for service in self._services if service.is_ours]:
            self._take(self._services.remove(service.id) or [])
        await self._rows.close()

    @property
    def _pace_s(self) -> float:
        return max(LEAST_S, min(BEAT_S, float(self._current.config.registry.check_interval)))

    def _tick(self) -> None:
        now = self.clock()
        self._take(self._services.advance(now))
        self.last_check = now.at
        self._rows.write()

    def _ports(self) -> set[int]:
        return {port for address in self._addresses() if (port := urlsplit(address.url).port) is not None}

    # -- what others ask --------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services)

    def __len__(self) -> int:
        return len(self._services)

    def look(self) -> Services:
        """All services, as they are at this moment."""
        self._take(self._services.advance(self.clock()))
        return self._services

    def alerts(self, most: int) -> list[Alert]:
        """The newest, newest first."""
        self.look()
        return [alert for alert, _ in zip(reversed(self._alerts), range(most), strict=False)]

    async def register(self, service: Service) -> tuple[Service, bool]:
        """The service as it is registered now, and whether it is new; it survives a restart.

        Raises Busy when there are too many, and Conflict for another one by the id of one of ours.
        """
        services = self.look()
        before = services.find(service.id) or services.find(service.agent_id)
        if before is not None and before.is_ours:
            if _place(before.url) != _place(service.url):
                raise Conflict(
                    f"{before.id} is a service of this gateway itself, at {before.url}; take another id.",
                    param="service_id",
                    code="own_service",
                )
            return before, False  # it says what is known
        if before is None and self._others >= MOST:
            raise Busy(
                FULL, code="registry_full", retry_after=float(self._current.config.registry.check_interval) or 1.0
            )
        if before is not None:
            service = replace(service, id=before.id)
        self._take(services.register(service, self.clock()))
        await self._rows.written()
        return services.find(service.id) or service, before is None

    def beat(self, service_id: str, said: Beat) -> Service | None:
        """Hear a heartbeat; None = there is no such service. Of ours, only what we say ourselves counts."""
        services = self.look()
        found = services.find(service_id)
        if found is None or found.is_ours:
            return found
        self._take(services.beat(service_id, said, self.clock()) or [])
        return services.find(service_id)

    async def promote(self, name: str, from_role: Role, to_role: Role) -> int:
        """How many instances have the other role now."""
        news = self.look().promote(name, from_role, to_role)
        self._take(news)
        await self._rows.written()
        return len(news)

    async def deregister(self, service_id: str) -> bool:
        """Whether there was such a service. Raises Conflict for one of ours."""
        services = self.look()
        found = services.find(service_id)
        if found is None:
            return False
        if found.is_ours:
            raise Conflict(
                f"{found.id} is a service of this gateway itself; take it out of its configuration.",
                param="service_id",
                code="own_service",
            )
        self._take(services.remove(service_id) or [])
        await self._rows.written()
        return True

    # -- ours -------------------------------------------------------------------------------------------------

    def _register_ours(self, wanted: Mapping[str, Service]) -> None:
        """Register what is new, and let go what is not there any more."""
        if self._closing:
            return
        services, quiet = self.look(), not self._settled.is_set()
        for service in [s for s in services if s.is_ours is (s.id not in wanted)]:
            self._take(services.remove(service.id) or [])  # also one of somebody else by an id that is ours
        for service_id, service in wanted.items():
            before = services.find(service_id)
            if before is None or service != _described(before, service):
                role = before.role if before is not None else service.role
                self._take(services.register(replace(service, role=role), self.clock()), quiet=quiet)

    def _beat_ours(self, wanted: Iterable[str]) -> None:
        services, quiet = self.look(), not self._settled.is_set()
        for service_id in () if self._closing else wanted:
            self._take(services.beat(service_id, self._ours.beat(service_id), self.clock()) or [], quiet=quiet)

    # -- news -------------------------------------------------------------------------------------------------

    def _take(self, news: Iterable[News], *, quiet: bool = False) -> None:
        """Tell it and keep it. `quiet`: nobody is told, because it is no news: that we are here ourselves."""
        looks = False
        for each in news:
            service = each.service
            if each.alert is not None:
                self._alerts.append(each.alert)
                self._rows.alert(each.alert)
            if not service.is_ours:
                if each.kind in ("deregistered", "removed"):
                    self._rows.forget(service.id)
                    self._others -= 1
                else:
                    self._rows.note(service)
                    self._others += each.kind == "registered"
                looks = looks or each.kind != "beat"
            if not quiet and (event := EVENTS.get(each.kind)) is not None:
                self._events.tell(event, _told(each))
        if looks:
            self._rows.write()
            if self._current.config.registry.backends:
                self._look.set()


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, so long at most."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _place(url: str) -> str:
    """The address, with one spelling for this machine."""
    scheme, _, rest = url.rstrip("/").lower().partition("://")
    host, colon, port = rest.rpartition(":")
    return f"{scheme}://localhost:{port}" if colon and is_loopback(host) else f"{scheme}://{rest}"


def _described(known: Service, service: Service) -> Service:
    """What is known, with all that is no description of the service put as in the other."""
    later = ("role", "registered_at", "beat_at", "status", "p95_ms", "queue_depth", "load", "message", "missed")
    return replace(known, **{name: getattr(service, name) for name in later})


def _told(news: News) -> dict[str, object]:
    service = news.service
    told: dict[str, object] = {
        "service_id": service.id,
        "name": service.name,
        "type": service.kind,
        "role": service.role,
        "status": service.status,
        "missed_beats": service.missed,
    }
    return told | ({"action": news.alert.action} if news.alert is not None else {})
