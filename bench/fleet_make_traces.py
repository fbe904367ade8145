#!/usr/bin/env python3
"""Make the traces of fleet.py again: the same ones each time, because every chance has a seed.

Loads take a second per GiB and one more, as from a fast disk; sizes are those of models of 3 to 32 billion parameters
at four bits, with their caches. Answers take seconds. Nobody's own traffic is in them.
"""

import random
from collections.abc import Callable, Iterator

from fleet_workload import FOLDER, GIB, About, Arrival, Client, ModelSpec, Trace, Turn, write


def model(name: str, size_gib: float, slots: int = 2, *, pinned: bool = False) -> ModelSpec:
    """A model that loads as fast as a disk reads it."""
    return ModelSpec(name, int(size_gib * GIB), 1.0 + size_gib, 0.5, slots, pinned)


def chance(name: str) -> random.Random:
    """A source of chance that belongs to this trace alone."""
    return random.Random(f"rolecast {name}")


def seconds(dice: random.Random, mean_s: float) -> float:
    """How long an answer takes: mostly about so long, sometimes three times as long."""
    return round(min(4 * mean_s, max(0.2, dice.lognormvariate(0, 0.5) * mean_s)), 2)


def poisson(dice: random.Random, every_s: float, until_s: float, since_s: float = 0.0) -> Iterator[float]:
    """Moments that know nothing of each other, one in `every_s` on average."""
    at = since_s + dice.expovariate(1 / every_s)
    while at < until_s:
        yield round(at, 2)
        at += dice.expovariate(1 / every_s)


def team() -> Trace:
    """A B A A C A B C: twelve agents, each asks for one of three models after the other; two of them fit."""
    dice = chance("team")
    models = (model("planner", 9), model("coder", 14), model("critic", 8))
    clients = []
    for agent in range(12):
        wants = dice.choices(["planner", "coder", "critic"], [5, 3, 2], k=30)
        turns = tuple(Turn(name, seconds(dice, 4), round(dice.uniform(0, 2), 2)) for name in wants)
        clients.append(Client(round(dice.uniform(0, 3), 2), turns, f"agent-{agent}"))
    return Trace(
        About("team", "twelve agents in turns over three models of which two fit", 24 * GIB), models, (), tuple(clients)
    )


def burst() -> Trace:
    """A hundred and twenty requests within two seconds, in no order, over five models of which two or three fit."""
    dice = chance("burst")
    models = (model("a", 8), model("b", 8), model("c", 6), model("d", 12), model("e", 4))
    arrivals = tuple(
        Arrival(at, dice.choice(models).model, seconds(dice, 3), f"user-{dice.randrange(10)}")
        for at in sorted(round(dice.uniform(0, 2), 2) for _ in range(120))
    )
    return Trace(About("burst", "120 requests in two seconds over five models", 20 * GIB), models, arrivals)


def long_tail() -> Trace:
    """Twelve models, the n-th asked for a n-th as often as the first; a third of them fit."""
    dice = chance("long_tail")
    sizes = [8, 5, 14, 4, 8, 5, 9, 4, 18, 5, 8, 3]
    models = tuple(model(f"model-{n:02}", size) for n, size in enumerate(sizes, 1))
    weights = [1 / n for n in range(1, 13)]
    arrivals = tuple(
        Arrival(at, dice.choices(models, weights)[0].model, seconds(dice, 4), f"user-{dice.randrange(6)}")
        for at in poisson(dice, 6.0, 3600)
    )
    return Trace(
        About("long_tail", "twelve models by Zipf's law for an hour, a third fits", 32 * GIB), models, arrivals
    )


def priorities() -> Trace:
    """People chat with one model, services ask two others, and a night's work of low priority is there all the time."""
    dice = chance("priorities")
    models = (model("chat", 9), model("tools", 8), model("batch", 14))
    arrivals = [
        *(Arrival(at, "chat", seconds(dice, 3), "people", 1) for at in poisson(dice, 12, 1800)),
        *(Arrival(at, dice.choice(["chat", "tools"]), seconds(dice, 3), "services") for at in poisson(dice, 15, 1800)),
        *(Arrival(at, "batch", seconds(dice, 8), "night", -1) for at in poisson(dice, 12, 1500)),
    ]
    arrivals.sort(key=lambda a: a.at_s)
    return Trace(About("priorities", "chats before services before a batch", 24 * GIB), models, tuple(arrivals))


def heavy_key() -> Trace:
    """One key asks for thirty answers at a time, four others for one now and then, of the same two models."""
    dice = chance("heavy_key")
    models = (model("a", 9), model("b", 14))
    heavy = [
        Client(0.0, tuple(Turn(dice.choice("ab"), seconds(dice, 4)) for _ in range(12)), "heavy") for _ in range(30)
    ]
    light = [
        Client(
            round(dice.uniform(5, 30), 2),
            tuple(Turn(dice.choice("ab"), seconds(dice, 3), round(dice.uniform(10, 30), 2)) for _ in range(10)),
            f"light-{n}",
        )
        for n in range(4)
    ]
    return Trace(
        About("heavy_key", "thirty at once of one key among four light ones", 16 * GIB), models, (), (*heavy, *light)
    )


def giant() -> Trace:
    """One model that fits beside no other, asked for now and then among three small ones that are busy."""
    dice = chance("giant")
    models = (model("giant", 22), model("a", 6), model("b", 6), model("c", 6))
    arrivals = [
        *(Arrival(at, dice.choice("abc"), seconds(dice, 3), "users") for at in poisson(dice, 3.0, 1500)),
        *(Arrival(at, "giant", seconds(dice, 15), "expert") for at in poisson(dice, 120, 1400)),
    ]
    arrivals.sort(key=lambda a: a.at_s)
    return Trace(
        About("giant", "a model that fills the machine among three that share it", 24 * GIB), models, tuple(arrivals)
    )


def starving() -> Trace:
    """Six clients keep one model busy without a gap for ten minutes; few want another that has no room beside it."""
    dice = chance("starving")
    models = (model("popular", 14, 4), model("rare", 14))
    clients = [
        Client(round(n * 0.7, 2), tuple(Turn("popular", seconds(dice, 4)) for _ in range(100)), f"busy-{n}")
        for n in range(6)
    ]
    arrivals = tuple(Arrival(at, "rare", seconds(dice, 3), "patient") for at in poisson(dice, 60, 480, 10))
    return Trace(
        About("starving", "one model is never idle, another is wanted", 20 * GIB), models, arrivals, tuple(clients)
    )


def pinned() -> Trace:
    """A small model that must stay for all, and three that share what it leaves."""
    dice = chance("pinned")
    models = (model("router", 3, 4, pinned=True), model("a", 9), model("b", 9), model("c", 14))
    clients = []
    for n in range(6):
        turns: list[Turn] = []
        for _ in range(25):
            turns += [
                Turn("router", seconds(dice, 0.4)),
                Turn(dice.choice("aabbc"), seconds(dice, 4), round(dice.uniform(1, 6), 2)),
            ]
        clients.append(Client(round(n * 1.5, 2), tuple(turns), f"user-{n}"))
    return Trace(
        About("pinned", "a pinned model is asked before each of three others", 24 * GIB), models, (), tuple(clients)
    )


ALL: tuple[Callable[[], Trace], ...] = (team, burst, long_tail, priorities, heavy_key, giant, starving, pinned)


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for make in ALL:
        trace = make()
        if fault := trace.fault():
            raise SystemExit(f"{trace.name}: {fault}")
        path = write(trace, FOLDER)
        print(f"{path.name}: {trace.asked} requests, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
