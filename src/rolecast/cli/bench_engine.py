"""`rolecast bench --engine`: the engine as Rolecast sets it against the engine as it comes, in turns.

Knows what is measured and how it is compared. Absolute figures are of this machine at this moment; only the
ratios mean something, which is why both sides take turns in one run.
"""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rolecast.cli import output
from rolecast.errors import NotFound

if TYPE_CHECKING:
    from rolecast.cli.engine_probe import Engine, Way
    from rolecast.config.schema import Config, Model

CONTEXT, SLOTS, CONVERSATIONS = 2048, 4, 8
TOKENS, ALONE_S, BUSY_S = 64, 20.0, 6.0
PROMPT = "Write a long story about a lighthouse."
NAMES = {"engine": "llama.cpp as it comes", "previous": "Rolecast 0.1.0"}


class Row(msgspec.Struct, frozen=True):
    """One thing that was measured; `ratio` is ours to the other's, 0 when that is nothing."""

    what: str
    unit: str
    rolecast: float
    other: float
    ratio: float


class Report(msgspec.Struct, frozen=True):
    """All rows of a run. Of each figure the best of `rounds` counts."""

    model: str
    against: str
    cores: int
    rounds: int
    rows: list[Row]


def measure(config: "Config", asked: str, against: "Way", rounds: int, step: Callable[[str], None]) -> Report:
    """Runs everything, some minutes; `step` is told what comes. Raises NotFound and LoadFailed."""
    name, model, weights = subject(config, asked)
    step(f"{name} on {SLOTS} slots of {CONTEXT} tokens, both engines in turns; this wants a quiet machine.")
    with _folder() as folder:
        bench = _Bench(msgspec.structs.replace(model, context=CONTEXT, parallel=SLOTS), weights, folder, against)
        step(f"1 of 4: {rounds} starts each")
        rows = [bench.starts(rounds)]
        step("2 of 4: one stream, alone and beside a busy core")
        rows += bench.speeds(rounds)
        step(f"3 of 4: {CONVERSATIONS} conversations that take turns")
        rows += bench.turns()
        step("4 of 4: memory of a random model, written to a temporary file")
        rows.append(bench.memory())
    return Report(name, against, os.cpu_count() or 1, rounds, rows)


def subject(config: "Config", asked: str) -> "tuple[str, Model, Path]":
    """Name, settings and weights of what is measured: a GGUF file, a model, or the first that can be ('auto').

    Raises NotFound that says which models can.
    """
    from rolecast.cli import weights
    from rolecast.config import names
    from rolecast.config.schema import Model

    if asked.endswith(".gguf") and Path(asked).expanduser().is_file():
        return Path(asked).name, Model(), Path(asked).expanduser()
    wanted = "" if asked == "auto" else asked
    claim = names.table(config).get(wanted or config.routing.default)
    order = claim.models if claim is not None else []
    for model_id in (*order, *(() if wanted else config.models)):
        model = config.models[model_id]
        if _can(model) and (path := weights.find(config, model)) is not None:
            return model_id, model, path
    able = [i for i, m in config.models.items() if _can(m) and weights.find(config, m) is not None]
    there = f"choose one of {', '.join(able)}" if able else "run `rolecast pull`, or name a GGUF file"
    raise NotFound(f"{asked!r} is no model that chats on the built-in engine and has its weights here; {there}.")


def _can(model: "Model") -> bool:
    from rolecast import backends

    known = backends.table()[model.backend].benched and not model.binary
    return model.enabled and known and "chat" in model.capabilities


@contextmanager
def _folder() -> Iterator[Path]:
    """Short enough for sockets, private, and gone in the end."""
    with tempfile.TemporaryDirectory(prefix="rolecast-bench-") as name:
        yield Path(name)


class _Bench:
    """Both sides of a comparison; every measurement gives its row."""

    def __init__(self, model: "Model", weights: Path, folder: Path, against: "Way") -> None:
        self._model, self._weights, self._folder = model, weights, folder
        self._ways: tuple[Way, Way] = ("rolecast", against)
        self._numbers = itertools.count()

    def _engine(self, way: "Way", model: "Model | None" = None, weights: Path | None = None) -> "Engine":
        from rolecast.cli.engine_probe import Engine, launch

        number = next(self._numbers)
        start = launch(way, model or self._model, weights or self._weights, self._folder / f"{number}.sock")
        return Engine(start, self._folder / f"{number}.log")

    def starts(self, rounds: int) -> Row:
        """From the start of the process to the first token."""
        found: dict[str, list[float]] = {way: [] for way in self._ways}
        for number in range(rounds):
            for way in self._turn(number):
                with self._engine(way) as engine:
                    found[way].append(engine.first_token_s())
        return self._row("start to first token", "s", *(min(found[way]) for way in self._ways))

    def speeds(self, rounds: int) -> Iterator[Row]:
        """One stream, alone and beside a busy core."""
        from rolecast.cli.engine_probe import busy_core

        alone: dict[str, list[float]] = {way: [] for way in self._ways}
        beside: dict[str, list[float]] = {way: [] for way in self._ways}
        with self._engine(self._ways[0]) as ours, self._engine(self._ways[1]) as other:
            engines = dict(zip(self._ways, (ours, other), strict=True))
            for number in range(rounds):
                for way in self._turn(number):
                    alone[way].append(engines[way].tokens_s(PROMPT, TOKENS, ALONE_S))
                for way in self._turn(number):
                    with busy_core(10 * BUSY_S):
                        beside[way].append(engines[way].tokens_s(PROMPT, TOKENS, BUSY_S))
        best = [max(alone[way]) for way in self._ways]
        busy = [max(beside[way]) for way in self._ways]
        yield self._row("one stream alone", "tokens/s", *best)
        yield self._row("one stream beside a busy core", "tokens/s", *busy)
        yield self._row("of its speed alone", "%", *(100 * b / a for a, b in zip(best, busy, strict=True)))

    def turns(self) -> Iterator[Row]:
        """Conversations with a common system prompt that take turns, twice as many as there are slots."""
        shares, resident = [], []
        for way in self._ways:
            with self._engine(way) as engine:
                shares.append(100 * engine.reread_share(CONVERSATIONS))
                resident.append(engine.resident_bytes() / 1e6)
        yield self._row(f"prompt read again, second turn of {CONVERSATIONS}", "%", *shares)
        yield self._row("resident memory", "MB", *resident)

    def memory(self) -> Row:
        """Resident memory of weights that the engine likes to have in another order."""
        from rolecast.cli import random_weights
        from rolecast.config.schema import Model

        weights = random_weights.write(self._folder / "random.gguf")
        resident = []
        for way in self._ways:
            with self._engine(way, Model(context=CONTEXT), weights) as engine:
                resident.append(engine.resident_bytes() / 1e6)
        size = random_weights.parameters() / 1e9
        return self._row(f"resident memory of {size:.1f} B random Q4_0", "MB", *resident)

    def _turn(self, number: int) -> "tuple[Way, ...]":
        return self._ways if number % 2 == 0 else self._ways[::-1]

    def _row(self, what: str, unit: str, ours: float, other: float) -> Row:
        return Row(what, unit, round(ours, 3), round(other, 3), round(ours / other, 3) if other else 0.0)


def show(report: Report) -> None:
    """The rows as a table for people."""
    other = NAMES[report.against]
    rows = output.table("", "", "Rolecast", other, "ratio", right=("Rolecast", other, "ratio"))
    for row in report.rows:
        digits = 2 if row.unit == "s" else 1
        ratio = f"{row.ratio:.2f}" if row.ratio else "-"
        rows.add_row(row.what, row.unit, f"{row.rolecast:,.{digits}f}", f"{row.other:,.{digits}f}", ratio)
    output.console().print(rows)
