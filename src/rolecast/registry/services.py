"""All services and the rules they live by, on any clock: who is there, who missed heartbeats, who is gone.

A dictionary with rules. An event and the time go in, the news of it comes out; no I/O, no clock, no lock. Of the
intervals that have passed since a heartbeat, the first brings one warning, with the second a service is down, and from
the third on it is removed as soon as its time to live is over, too.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from rolecast.registry.service import AGENT, Action, Alert, AlertKind, Beat, Moment, News, Service

DOWN_AFTER, REMOVED_AFTER = 2, 3
"""Heartbeats missed in a row."""
MOST = 10_000
"""So many services of others are kept."""
SPARE = 64
"""Entries of the heap that may be there for nothing."""
GRAIN_S = 1e-6
"""Sums of times are that exact."""
STALL_S = 10.0
"""When nobody has asked what time it is for so much longer than usual, we were not there to hear heartbeats."""


class Services:
    """The services of one gateway. `pace_s` is how often `advance` is called at least."""

    def __init__(self, pace_s: float) -> None:
        self.pace_s = pace_s
        self._by_id: dict[str, Service] = {}
        self._heard: dict[str, float] = {}
        """Ticks of the last heartbeat, which is what lateness is judged by."""
        self._due: list[tuple[float, str]] = []
        """A heap. A service has one entry that is not too late, and perhaps some that are too early."""
        self._queued: dict[str, float] = {}
        """The earliest entry of each service."""
        self._sorted: list[Service] | None = None
        self._ticked: float | None = None

    # -- who is there -----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Service]:
        """By name, then role, then id."""
        if self._sorted is None:
            self._sorted = sorted(self._by_id.values(), key=lambda s: (s.name, s.role, s.id))
        return iter(self._sorted)

    def find(self, service_id: str) -> Service | None:
        """The service of that id; an agent is also found without what stands in front of its id."""
        return self._by_id.get(service_id) or self._by_id.get(AGENT + service_id)

    def matching(
        self,
        caps: Collection[str] = (),
        *,
        kind: str | None = None,
        role: str | None = None,
        name: str | None = None,
        status: str | None = None,
    ) -> list[Service]:
        """Those that have all these capabilities and these words, sorted; None = any.

        A role is also one that agents call so (their label `agent_role`).
        """
        wanted = frozenset(caps)
        found = []
        for s in self:
            if kind is not None and s.kind != kind:
                continue
            if name is not None and s.name != name:
                continue
            if status is not None and s.status != status:
                continue
            if role is not None and s.role != role and s.labels.get("agent_role") != role:
                continue
            if wanted.issubset(s.caps):
                found.append(s)
        return found

    # -- what happens -----------------------------------------------------------------------------------------

    def restore(self, services: Iterable[Service], now: Moment) -> None:
        """Those of before a restart: their missed heartbeats count from now, since nobody was there to hear them."""
        for service in services:
            self._put(service)
            self._hear(service.id, now)

    def register(self, service: Service, now: Moment) -> list[News]:
        """It is there, or there again by what it says now: a registration is a heartbeat, too."""
        before = self._by_id.get(service.id)
        since = before.registered_at if before else now.at
        service = replace(service, registered_at=since, beat_at=now.at)
        restored = self._restored(before, service, now) if before else []
        self._put(service)
        self._hear(service.id, now)
        return [*restored, News("updated" if before else "registered", service)]

    def beat(self, service_id: str, said: Beat, now: Moment) -> list[News] | None:
        """A heartbeat; None = there is no such service."""
        before = self.find(service_id)
        if before is None:
            return None
        told: dict[str, Any] = {
            name: value
            for name in ("p95_ms", "queue_depth", "load", "message")
            if (value := getattr(said, name)) is not None
        }
        service = replace(before, status=said.status, missed=0, beat_at=now.at, **told)
        restored = self._restored(before, service, now)
        self._put(service, same_place=True)
        self._hear(service.id, now)
        if restored or service.condition == before.condition:
            return restored or [News("beat", service)]
        return [News("updated", service)]

    def promote(self, name: str, from_role: str, to_role: Any) -> list[News]:
        """All instances of that name and role have another role from now on."""
        found = [s for s in self._by_id.values() if (s.name, s.role) == (name, from_role)]
        promoted = [replace(s, role=to_role) for s in found]
        for service in promoted:
            self._put(service)
        return [News("updated", service) for service in promoted]

    def remove(self, service_id: str) -> list[News] | None:
        """It says good-bye; None = there is no such service."""
        service = self.find(service_id)
        if service is None:
            return None
        self._drop(service.id)
        return [News("deregistered", service)]

    def advance(self, now: Moment) -> list[News]:
        """Count the heartbeats that were missed until now."""
        if self._ticked is not None and (gap_s := now.ticks - self._ticked) > self.pace_s + STALL_S:
            self._forgive(gap_s, now)
        self._ticked = now.ticks
        news: list[News] = []
        while self._due and self._due[0][0] <= now.ticks:
            due, service_id = heapq.heappop(self._due)
            if self._queued.get(service_id) != due:
                continue  # another entry of it counts
            del self._queued[service_id]
            news += self._missed(self._by_id[service_id], now)
        return news

    @property
    def next_due(self) -> float | None:
        """Nothing happens by itself before these ticks."""
        return self._due[0][0] if self._due else None

    # -- the rules --------------------------------------------------------------------------------------------

    def _missed(self, service: Service, now: Moment) -> list[News]:
        elapsed_s = now.ticks - self._heard[service.id]
        missed = self._count(service, now)
        news: list[News] = []
        if missed > service.missed:
            after = replace(service, missed=missed, status="down" if missed >= DOWN_AFTER else service.status)
            if service.missed < 1:
                news.append(News("miss", after, _alert("heartbeat_miss", after, now, "warning", 1)))
            if service.missed < DOWN_AFTER <= missed:
                news.append(News("down", after, _alert("service_down", after, now, "marked_down")))
            service = after
        if missed >= REMOVED_AFTER and elapsed_s + GRAIN_S >= service.ttl_s:
            self._drop(service.id)
            return [*news, News("removed", service, _alert("service_deregistered", service, now, "deregistered"))]
        self._put(service, same_place=True)
        self._queue(service.id)
        return news

    def _restored(self, before: Service, after: Service, now: Moment) -> list[News]:
        if not before.missed:
            return []
        missed = max(before.missed, self._count(before, now))
        return [News("restored", after, _alert("heartbeat_restored", after, now, "warning", missed))]

    def _count(self, service: Service, now: Moment) -> int:
        """The intervals that have passed since it was heard."""
        return int((now.ticks - self._heard[service.id] + GRAIN_S) // service.interval_s)

    # -- what is kept of them ---------------------------------------------------------------------------------

    def _put(self, service: Service, *, same_place: bool = False) -> None:
        """`same_place`: it is sorted as before."""
        before = self._by_id.get(service.id)
        self._by_id[service.id] = service
        if before is not service:
            self._sorted = None if not same_place or self._sorted is None else self._exchanged(before, service)

    def _exchanged(self, before: Service | None, after: Service) -> list[Service] | None:
        """Heartbeats are many, and none of them moves anybody: only the struct of one place is another."""
        assert self._sorted is not None
        low, high, key = 0, len(self._sorted), (after.name, after.role, after.id)
        while low < high:
            middle = (low + high) // 2
            each = self._sorted[middle]
            if (each.name, each.role, each.id) < key:
                low = middle + 1
            else:
                high = middle
        if low < len(self._sorted) and self._sorted[low] is before:
            self._sorted[low] = after
            return self._sorted
        return None

    def _drop(self, service_id: str) -> None:
        for kept in (self._by_id, self._heard, self._queued):
            kept.pop(service_id, None)
        self._sorted = None

    def _hear(self, service_id: str, now: Moment) -> None:
        self._heard[service_id] = now.ticks
        self._queue(service_id)

    def _queue(self, service_id: str) -> None:
        """See that it is looked at when its next heartbeat is late. One that is looked at too early is queued again."""
        due = self._next(self._by_id[service_id])
        queued = self._queued.get(service_id)
        if queued is None or due < queued:
            self._queued[service_id] = due
            heapq.heappush(self._due, (due, service_id))
            if len(self._due) > 2 * len(self._queued) + SPARE:  # many came and went, or come again and again
                self._due = [(due, service_id) for service_id, due in self._queued.items()]
                heapq.heapify(self._due)

    def _next(self, service: Service) -> float:
        heard = self._heard[service.id]
        if service.missed < DOWN_AFTER:
            return heard + (service.missed + 1) * service.interval_s
        return heard + max(REMOVED_AFTER * service.interval_s, service.ttl_s)

    def _forgive(self, gap_s: float, now: Moment) -> None:
        """The machine slept, or we were held up: what nobody could hear was not missed."""
        self._heard = {service_id: min(now.ticks, ticks + gap_s) for service_id, ticks in self._heard.items()}


def _alert(kind: AlertKind, service: Service, now: Moment, action: Action, missed: int | None = None) -> Alert:
    return Alert(
        kind,
        service.id,
        service.name,
        service.missed if missed is None else missed,
        service.beat_at,
        action,
        now.at,
        service.labels.get("parent") or None,
    )


def counted(services: Iterable[Service]) -> Mapping[str, int]:
    """How many are `healthy`, `degraded` and `down`."""
    found = {"healthy": 0, "degraded": 0, "down": 0}
    for service in services:
        found[service.condition] += 1
    return found
