"""What a policy is: it hears what happened to requests and models, and says what is to be done."""

from dataclasses import dataclass
from typing import Protocol

import msgspec

NEVER = float("inf")


@dataclass(slots=True, eq=False)
class Request:
    """One request on its way: what it asks for, and what became of it. Only the simulator writes to it."""

    number: int
    model: str
    service_s: float
    arrived_s: float
    key: str = ""
    priority: int = 0
    started_s: float = NEVER
    ended_s: float = NEVER
    refused: bool = False

    @property
    def wait_s(self) -> float:
        """From its arrival to the start of its answer; infinity when it got none."""
        return self.started_s - self.arrived_s


class Load(msgspec.Struct, frozen=True):
    model: str


class Unload(msgspec.Struct, frozen=True):
    model: str


class Start(msgspec.Struct, frozen=True):
    request: Request


class Refuse(msgspec.Struct, frozen=True):
    request: Request


Action = Load | Unload | Start | Refuse


class Policy(Protocol):
    """Decides who is answered next and which models are held. Its decisions are carried out at once, in order."""

    def arrive(self, request: Request, now: float) -> list[Action]:
        """Somebody asks."""

    def loaded(self, model: str, now: float) -> list[Action]:
        """A load is done."""

    def unloaded(self, model: str, now: float) -> list[Action]:
        """A model has gone, and its memory is free."""

    def finished(self, request: Request, now: float) -> list[Action]:
        """An answer is complete, and its slot is free."""

    def tick(self, now: float) -> list[Action]:
        """The time has come that `next_time` told."""

    def next_time(self) -> float:
        """When it wants to be asked again though nothing happens; infinity = never."""
