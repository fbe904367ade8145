"""The requests that are under way, as people and programs may see them, and the end of one that somebody cancels.

Reads what exchanges know anyway and keeps nothing, so it costs only while somebody looks, and no word of a request
is in it. A request that is answered in parts is one here: it waits as long as all of its parts do.
"""

from collections.abc import Iterable
from typing import Literal, Protocol, runtime_checkable

import msgspec

from rolecast.errors import Cancelled
from rolecast.fleet import Fleet, State
from rolecast.turn.exchange import Exchange, clock

Phase = Literal["queued", "loading", "running"]
"""It waits for a slot, it waits for its model to load, a model has it."""


class InFlight(msgspec.Struct, frozen=True):
    """One request under way. Times in ms; `tokens` counts the pieces of its answer so far."""

    id: str
    phase: Phase
    model: str
    worker: str
    """The model that really answers: a stand-in's id, or `model` again."""
    asked: str
    role: str | None
    kind: str
    stream: bool
    attempts: int
    tokens: int
    age_ms: float
    first_ms: float | None
    """From its start to the first piece of its answer; null while there is none."""
    listener: str
    key: str
    """Id of the API key; empty where none is needed."""
    key_name: str = ""
    client: str = ""
    """The address it came from; empty for what the gateway asks for its own work."""
    client_id: str = ""
    """The client's own id of the request."""


@runtime_checkable
class Reached(Protocol):
    """A sink that leads to a connection."""

    @property
    def peer(self) -> str:
        """The address at its other end; empty where it has none."""


def wholes(active: Iterable[Exchange]) -> list[tuple[Exchange, list[Exchange]]]:
    """Every request that has a plan, the oldest first, with its parts that are under way."""
    parts: dict[int, list[Exchange]] = {}
    found: list[Exchange] = []
    for exchange in list(active):
        if exchange.plan is None or exchange.request is None:
            continue
        if exchange.part:
            parts.setdefault(exchange.number, []).append(exchange)
        else:
            found.append(exchange)
    found.sort(key=lambda exchange: exchange.number)
    return [(exchange, parts.get(exchange.number, [])) for exchange in found]


def phase_of(exchange: Exchange, parts: Iterable[Exchange], fleet: Fleet) -> tuple[Phase, str]:
    """What that request waits for, if it does, and the model of which it does."""
    plan = exchange.plan
    assert plan is not None
    asked = [part for part in parts if part.plan is not None] or [exchange]
    if exchange.lease is not None or any(each.lease is not None for each in asked):
        return "running", plan.answerer_id
    if asked == [exchange] and exchange.carrier is not None:  # it is answered by our own work, which asks nobody now
        return "running", plan.answerer_id
    waits = asked[0].plan or plan
    w = fleet.known(waits.answerer_id)
    loads = w is not None and w.state is State.LOADING
    return "loading" if loads else "queued", waits.answerer_id


def seen(active: Iterable[Exchange], fleet: Fleet, key: str | None = None) -> list[InFlight]:
    """The requests under way, the oldest first; with `key` those of that key alone."""
    return [
        _seen(exchange, parts, fleet) for exchange, parts in wholes(active) if key is None or exchange.caller.key == key
    ]


def find(active: Iterable[Exchange], request_id: str, key: str | None = None) -> Exchange | None:
    """The request of that id, if it is under way, and of that key where one is given."""
    for exchange in list(active):
        if not exchange.part and exchange.id == request_id and key in (None, exchange.caller.key):
            return exchange
    return None


def cancel(exchange: Exchange, why: str = "The request was cancelled.") -> None:
    """End it: its engine stops, its slot or place in line is free, and its client is told. No harm if it is over."""
    if exchange.closed:
        return
    if exchange.task is not None:
        exchange.task.cancel()
    exchange.fail(Cancelled(why))


def _seen(exchange: Exchange, parts: list[Exchange], fleet: Fleet) -> InFlight:
    plan, request, caller = exchange.plan, exchange.request, exchange.caller
    assert plan is not None
    assert request is not None
    phase, _ = phase_of(exchange, parts, fleet)
    began, first = exchange.began, exchange.first
    return InFlight(
        id=exchange.id,
        phase=phase,
        model=plan.model_id,
        worker=plan.answerer_id,
        asked=plan.asked,
        role=plan.choice.role,
        kind=request.kind,
        stream=request.stream,
        attempts=max(exchange.attempts, *(part.attempts for part in parts), 0),
        tokens=exchange.carrier.events if exchange.carrier is not None else 0,
        age_ms=round((clock() - began) * 1000, 1),
        first_ms=round((first - began) * 1000, 1) if first else None,
        listener=caller.listener,
        key=caller.key,
        key_name=caller.rights.name if caller.rights is not None else "",
        client=exchange.sink.peer if isinstance(exchange.sink, Reached) else "",
        client_id=caller.client_id,
    )
