"""What agents use of the machine at the same time: each reserves what it needs, and no more is granted than there is.

Nothing is measured and nothing is enforced: who reserves keeps to it. `decide` is the rule. What is allocated is the
sum of the reservations that run, never counted beside them, so it cannot drift. Amounts are whole thousandths, so that
sums are exact. Several gateways on one database share the quotas.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Literal
from uuid import uuid4

import msgspec

from rolecast.books.store import Query, Row, Step, Store, structs
from rolecast.errors import NotFound

Resource = Literal["cpu", "mem_mb", "gpu", "gpu_mem_mb"]
State = Literal["active", "released", "expired", "killed"]
PER_UNIT = 1000
DEFAULTS: Mapping[str, int] = {
    "cpu": 10 * PER_UNIT,
    "mem_mb": 32768 * PER_UNIT,
    "gpu": 1 * PER_UNIT,
    "gpu_mem_mb": 8192 * PER_UNIT,
}
"""What there is, until somebody says otherwise."""
MOST_ACTIVE, MOST_OVER = 10_000, 1000


def thousandths(amount: float) -> int:
    """An amount as it is kept."""
    return round(amount * PER_UNIT)


def number(amount: int) -> int | float:
    """An amount as it is shown: whole where it is."""
    return amount // PER_UNIT if amount % PER_UNIT == 0 else amount / PER_UNIT


class Reservation(msgspec.Struct, frozen=True):
    """What a job has for itself, in thousandths."""

    id: str
    job: str
    agent: str
    cpu: int
    mem_mb: int
    gpu: int
    gpu_mem_mb: int
    ports: str
    """JSON, a list of numbers."""
    state: State
    at: float
    """Since when, in seconds since 1970."""
    until: float
    """When it ends by itself."""
    ended_at: float | None = None


class Denied(msgspec.Struct, frozen=True):
    """There is not enough of something."""

    reason: str
    resource: str = ""
    total: int = 0
    allocated: int = 0


def decide(
    wanted: Mapping[str, int],
    ports: Sequence[int],
    capacity: Mapping[str, int],
    allocated: Mapping[str, int],
    taken: Mapping[int, str],
) -> Denied | None:
    """Why this much cannot be granted; None = it can. `taken` are ports that are reserved, with the job of each."""
    for resource, amount in wanted.items():
        total, used = capacity[resource], allocated.get(resource, 0)
        if amount > total - used:
            said = f"requested {number(amount)}, available {number(max(0, total - used))}"
            return Denied(f"Insufficient {resource}: {said}", resource, total, used)
    for port in ports:
        if port in taken:
            return Denied(f"Port {port} is reserved by job {taken[port]}", "ports")
    return None


_ALL = "id, job, agent, cpu, mem_mb, gpu, gpu_mem_mb, ports, state, at, until, ended_at"
PUT = Query(
    f"INSERT INTO reservations ({_ALL}) VALUES (:id, :job, :agent, :cpu, :mem_mb, :gpu, :gpu_mem_mb, :ports, "  # noqa: S608  # our names
    ":state, :at, :until, :ended_at)"
)
EXPIRE = Query(
    "UPDATE reservations SET state = 'expired', ended_at = until WHERE state = 'active' AND until <= :now RETURNING id"
)
ALLOCATED = Query(
    "SELECT CAST(coalesce(sum(cpu), 0) AS INTEGER), CAST(coalesce(sum(mem_mb), 0) AS INTEGER), "
    "CAST(coalesce(sum(gpu), 0) AS INTEGER), CAST(coalesce(sum(gpu_mem_mb), 0) AS INTEGER), count(*) "
    "FROM reservations WHERE state = 'active' AND until > :now"
)
TAKEN = Query("SELECT ports, job FROM reservations WHERE state = 'active' AND ports <> '[]'")
QUOTAS = Query("SELECT resource, capacity FROM quotas")
SET_QUOTA = Query(
    "INSERT INTO quotas (resource, capacity) VALUES (:resource, :capacity) "
    "ON CONFLICT (resource) DO UPDATE SET capacity = excluded.capacity"
)
END_ONE = Query(
    "UPDATE reservations SET state = 'released', ended_at = :now "  # noqa: S608  # our names
    f"WHERE state = 'active' AND id = :id RETURNING {_ALL}"
)
OF_JOB = Query("SELECT id FROM reservations WHERE state = 'active' AND job = :job ORDER BY at, id LIMIT 1")
KILL = Query(
    "UPDATE reservations SET state = 'killed', ended_at = :now WHERE state = 'active' AND job = :job RETURNING id"
)
LIST = Query(f"SELECT {_ALL} FROM reservations ORDER BY at DESC, id LIMIT :most")  # noqa: S608  # our names
LIST_OF = Query(
    f"SELECT {_ALL} FROM reservations WHERE state = :state ORDER BY at DESC, id LIMIT :most"  # noqa: S608  # our names
)
OVER_COUNT = Query("SELECT count(*) FROM reservations WHERE state <> 'active'")
FORGET = Query(
    "DELETE FROM reservations WHERE state <> 'active' AND id NOT IN "
    "(SELECT id FROM reservations WHERE state <> 'active' ORDER BY at DESC LIMIT :most)"
)


class Quota(msgspec.Struct, frozen=True):
    """Of one resource, in thousandths."""

    total: int
    allocated: int


class Resources:
    """The reservations, kept. Every method raises StoreError while the database cannot be used."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def reserve(
        self, job: str, agent: str, wanted: Mapping[str, int], ports: Sequence[int], now: float, seconds: float
    ) -> Reservation | Denied:
        """All of it for so long, or nothing. Decided and written as one, whoever else asks at the same time."""
        amounts = {name: wanted.get(name, 0) for name in DEFAULTS}
        listed = msgspec.json.encode(sorted(set(ports))).decode()
        made = Reservation(
            id=str(uuid4()), job=job, agent=agent, ports=listed, state="active", at=now, until=now + seconds, **amounts
        )

        def work() -> Generator[Step, list[Row], Denied | None]:
            yield Step(EXPIRE, {"now": now})
            capacity = _capacity((yield Step(QUOTAS, {})))
            allocated, count = _allocated((yield Step(ALLOCATED, {"now": now})))
            if count >= MOST_ACTIVE:
                return Denied(f"Too many reservations: {MOST_ACTIVE:,} are active")
            taken: dict[int, str] = {}
            if ports:
                for kept, holder in (yield Step(TAKEN, {})):
                    taken |= dict.fromkeys(msgspec.json.decode(kept, type=list[int]), holder)
            denied = decide(wanted, ports, capacity, allocated, taken)
            if denied is None:
                yield Step(PUT, msgspec.structs.asdict(made))
            ((over,),) = yield Step(OVER_COUNT, {})
            if over > MOST_OVER:
                yield Step(FORGET, {"most": MOST_OVER})
            return denied

        return await self._store.transact(work) or made

    async def release(self, reservation: str, job: str, now: float) -> Reservation:
        """Give back the one of that id, or else the oldest of that job. Raises NotFound."""

        def work() -> Generator[Step, list[Row], list[Row]]:
            yield Step(EXPIRE, {"now": now})
            wanted = reservation
            if not wanted:
                found = yield Step(OF_JOB, {"job": job})
                wanted = found[0][0] if found else ""
            return (yield Step(END_ONE, {"id": wanted, "now": now}))

        found = structs(Reservation, await self._store.transact(work))
        if not found:
            what = f"of job {job[:200]!r}" if not reservation else repr(reservation[:200])
            text = f"There is no active reservation {what}; GET /reservations?status=active lists them."
            raise NotFound(text, code="reservation_not_found")
        return found[0]

    async def kill(self, job: str, now: float) -> int:
        """Give back all of that job; how many there were. Raises NotFound."""

        def work() -> Generator[Step, list[Row], int]:
            yield Step(EXPIRE, {"now": now})
            return len((yield Step(KILL, {"job": job, "now": now})))

        killed = await self._store.transact(work)
        if not killed:
            text = f"There is no active reservation of job {job[:200]!r}."
            raise NotFound(text, param="job_id", code="reservation_not_found")
        return killed

    async def quotas(self, now: float) -> tuple[Mapping[str, Quota], int]:
        """What there is and what is allocated of each resource, and how many reservations are active."""
        capacity = _capacity(await self._store.read(QUOTAS))
        allocated, count = _allocated(await self._store.read(ALLOCATED, now=now))
        return {name: Quota(capacity[name], allocated[name]) for name in DEFAULTS}, count

    async def resize(self, resource: Resource, capacity: int) -> int:
        """There is so much of it from now on; how much there was. What is reserved already stays so."""

        def work() -> Generator[Step, list[Row], int]:
            before = _capacity((yield Step(QUOTAS, {})))[resource]
            yield Step(SET_QUOTA, {"resource": resource, "capacity": capacity})
            return before

        return await self._store.transact(work)

    async def all(self, state: State | None, now: float, most: int) -> list[Reservation]:
        """The newest first."""

        def work() -> Generator[Step, list[Row], list[Row]]:
            yield Step(EXPIRE, {"now": now})
            if state is None:
                return (yield Step(LIST, {"most": most}))
            return (yield Step(LIST_OF, {"state": state, "most": most}))

        return structs(Reservation, await self._store.transact(work))


def _capacity(rows: Sequence[Row]) -> dict[str, int]:
    return {**DEFAULTS, **{resource: capacity for resource, capacity in rows if resource in DEFAULTS}}


def _allocated(rows: Sequence[Row]) -> tuple[dict[str, int], int]:
    ((*sums, count),) = rows
    return {name: int(amount) for name, amount in zip(DEFAULTS, sums, strict=True)}, int(count)
