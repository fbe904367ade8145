"""What is replayed: a machine, its models, and who asks for them when. Values, and how they stand in a file.

A file has one JSON object a line: first the trace, then its models, then what is asked. Times are seconds, sizes bytes.
Knows no policy and no clock.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

GIB = 1024**3
FOLDER = Path(__file__).with_name("fleet_traces")


class About(msgspec.Struct, frozen=True, tag="trace", tag_field="kind"):
    """The first line of a file: what it is and how much memory its machine has for models."""

    name: str
    about: str
    budget_bytes: int


class ModelSpec(msgspec.Struct, frozen=True, tag="model", tag_field="kind"):
    """A model: what it holds from the start of its load to the end of its unload, and how long these two take."""

    model: str
    size_bytes: int
    load_s: float
    unload_s: float
    slots: int = 1
    """How many requests it answers at once."""
    pinned: bool = False


class Arrival(msgspec.Struct, frozen=True, tag="request", tag_field="kind", omit_defaults=True):
    """One request that comes at its time, whatever became of others."""

    at_s: float
    model: str
    service_s: float
    key: str = ""
    priority: int = 0


class Turn(msgspec.Struct, frozen=True, array_like=True):
    """One of the requests that a client makes one after another; it thinks for `then_s` after the answer."""

    model: str
    service_s: float
    then_s: float = 0.0


class Client(msgspec.Struct, frozen=True, tag="client", tag_field="kind", omit_defaults=True):
    """Somebody who asks again after each answer, such as an agent of a team."""

    at_s: float
    turns: tuple[Turn, ...]
    key: str = ""
    priority: int = 0


Line = About | ModelSpec | Arrival | Client


class Trace(msgspec.Struct, frozen=True):
    """All of a file."""

    about: About
    models: tuple[ModelSpec, ...]
    arrivals: tuple[Arrival, ...] = ()
    clients: tuple[Client, ...] = ()

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def budget_bytes(self) -> int:
        return self.about.budget_bytes

    @property
    def asked(self) -> int:
        """How many requests there are in all."""
        return len(self.arrivals) + sum(len(client.turns) for client in self.clients)

    def slowest_s(self, model: str) -> float:
        """The longest answer of this model."""
        turns = [turn.service_s for client in self.clients for turn in client.turns if turn.model == model]
        return max([*turns, *(each.service_s for each in self.arrivals if each.model == model)], default=0.0)

    def keys(self, model: str) -> int:
        """How many keys ask for this model."""
        return len({each.key for each in self._askers(model)})

    def classes(self, model: str) -> list[int]:
        """The priorities of those who ask for this model, from low to high."""
        return sorted({each.priority for each in self._askers(model)})

    def _askers(self, model: str) -> list[Arrival | Client]:
        clients = [client for client in self.clients if any(turn.model == model for turn in client.turns)]
        return [*clients, *(each for each in self.arrivals if each.model == model)]

    def fault(self) -> str:
        """Why it cannot be replayed on any machine; empty when it can."""
        known = {spec.model: spec for spec in self.models}
        if len(known) < len(self.models):
            return "two models have one name"
        wanted = {each.model for each in self.arrivals} | {t.model for c in self.clients for t in c.turns}
        if unknown := sorted(wanted - set(known)):
            return f"{unknown[0]} is asked for and is no model of it"
        pinned = sum(spec.size_bytes for spec in self.models if spec.pinned)
        for spec in self.models:
            beside = pinned - spec.size_bytes * spec.pinned
            if spec.size_bytes + beside > self.budget_bytes:
                return f"{spec.model} does not fit beside what is pinned"
        times = [t for s in self.models for t in (s.load_s, s.unload_s)]
        times += [t for a in self.arrivals for t in (a.at_s, a.service_s)]
        times += [t for c in self.clients for turn in c.turns for t in (c.at_s, turn.service_s, turn.then_s)]
        if any(not 0 <= t < float("inf") for t in times):
            return "a time is negative or has no end"
        if any(spec.slots < 1 for spec in self.models):
            return "a model has no slot"
        if any(not client.turns for client in self.clients):
            return "a client asks for nothing"
        return ""


_LINES: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def read(path: Path) -> Trace:
    """The trace of a file. Raises ValueError with the line that is wrong."""
    lines: list[Line] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            lines.append(_LINES.decode(line))
        except msgspec.MsgspecError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    if not lines or not isinstance(lines[0], About):
        raise ValueError(
            f'{path}: the first line must be the trace: {{"kind": "trace", "name", "about", "budget_bytes"}}'
        )
    trace = Trace(
        lines[0],
        tuple(line for line in lines if isinstance(line, ModelSpec)),
        tuple(line for line in lines if isinstance(line, Arrival)),
        tuple(line for line in lines if isinstance(line, Client)),
    )
    if fault := trace.fault():
        raise ValueError(f"{path}: {fault}")
    return trace


def write(trace: Trace, folder: Path) -> Path:
    """Write it as NAME.jsonl and tell where it is."""
    lines: Iterable[Line] = (trace.about, *trace.models, *trace.arrivals, *trace.clients)
    path = folder / f"{trace.name}.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path
