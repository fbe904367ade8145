"""How much memory models may take together, and who makes room for whom: the section `memory` of `rolecast.yaml`."""

import re
from typing import Literal

from rolecast.config.units import Bytes, Seconds, Section


class Memory(Section, frozen=True):
    """How much memory models may take, and who makes room for whom."""

    budget: str | int = "auto"
    """What all models together may take of the machine's memory: a size such as `12GB`, a share such as `80%`, or
    `auto`: all but 1 GiB or a tenth, whichever is more, and of a small machine all but a quarter. In a container its
    limit is all there is. What other programs hold is taken off in any case."""
    gpu_budget: str | int = "auto"
    """The same of each GPU that has memory of its own; `auto` = all but 256 MiB or a twentieth, whichever is more."""
    zygote: Literal["auto", "on", "off"] = "auto"
    """Whether a process that has the built-in engine imported is kept ready, of which workers are copies, so that they
    start sooner. It takes about 25 MB, and is there only while a model needs it. `auto` = on Linux, where the engine
    sees no GPU; `on` = also with one, which is for you to try; `off` = each worker starts by itself."""
    preload: bool = True
    """Whether pinned models are loaded at the start; `false` = with their first request, and they stay then."""
    patience: Seconds = Seconds(5)
    """A request for a model that there is no room for lets those that are loaded go on with what comes for them for so
    long, or for as long as loading takes. Then one of them takes no new requests, finishes what it runs, and makes
    room."""
    turn: Seconds = Seconds(30)
    """A model that was loaded for requests has so long to begin all of them before it may have to make room."""
    overdue: Seconds = Seconds(30)
    """A model that somebody has waited for so long is loaded before all others. And when none of a lower priority has
    begun for so long, one of it goes first. So priorities delay nobody for ever."""
    together: list[list[str]] = []
    """Sets of models that are used together, such as `[[router, coder]]`: while one of a set is in use, the others make
    room only if nobody else can."""
    conversations: str | int = "auto"
    """Disk for what a model has read of conversations when it is unloaded, so that one that comes back is not read
    again: `auto` (2 GiB, at most a twentieth of what is free), a size such as `8GiB`, or 0 for none. It lies in the
    data folder, for its owner alone, a week at most; whoever reads it reads the conversations. 0 erases it."""


def share_of(budget: str | int) -> float | None:
    """The share that a budget such as `80%` means; None for a size or `auto`. Raises ValueError outside 0 to 100 %."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", budget) if isinstance(budget, str) else None
    if found is None:
        return None
    if not 0 < float(found[1]) <= 100:
        raise ValueError("Expected a share above 0 % and up to 100 %")
    return float(found[1]) / 100


def is_budget(budget: str | int) -> bool:
    """Whether it is `auto`, a size or a share."""
    try:
        return budget == "auto" or share_of(budget) is not None or Bytes.parse(budget) > 0
    except ValueError:
        return False
