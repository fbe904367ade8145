"""What the machine wants done: the fleet carries it out, in order."""

from typing import Any

import msgspec

from rolecast.errors import RolecastError


class Spawn(msgspec.Struct, frozen=True):
    model: str
    generation: int


class Kill(msgspec.Struct, frozen=True):
    model: str
    generation: int
    at_once: bool = False
    """It is not asked first: it hears nobody."""


class Lull(msgspec.Struct, frozen=True):
    """It has been idle for so long that it shall sleep, if it does not have to serve meanwhile."""

    model: str
    generation: int


class Wake(msgspec.Struct, frozen=True):
    model: str
    generation: int


class Grant(msgspec.Struct, frozen=True):
    model: str
    ticket: Any
    slots: int = 1
    """How many were given with it: none for a plain load, all of them for a request that runs alone."""


class Refuse(msgspec.Struct, frozen=True):
    ticket: Any
    error: RolecastError


class Forget(msgspec.Struct, frozen=True):
    """The model left the configuration and nothing of it runs any more."""

    model: str


Effect = Spawn | Kill | Lull | Wake | Grant | Refuse | Forget
