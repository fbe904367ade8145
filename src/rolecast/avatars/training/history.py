"""How a training went: a row for each epoch, in Avatar SLM's words, and a row for each step."""

import datetime
from pathlib import Path

import msgspec

from rolecast.avatars.files import write_private

FILE = "training_history.json"
STEPS = "training_steps.json"


class Epoch(msgspec.Struct, frozen=True):
    """A row of training_history.json. Losses in nats per learnt token."""

    epoch: float
    """How many are done; not whole at the end of a last one that is cut."""
    train_loss: float | None
    """Of the steps since the last row."""
    val_loss: float | None
    learning_rate: float
    timestamp: str
    step: int = 0


class Step(msgspec.Struct, frozen=True):
    """A step, or a check of the held-out loss after it."""

    step: int
    loss: float | None
    rate: float
    held_out: float | None = None


class History(msgspec.Struct):
    """All rows."""

    epochs: list[Epoch] = []
    steps: list[Step] = []
    before: float | None = None
    """The held-out loss before the first step."""

    def recent(self, count: int = 10) -> float:
        """The mean loss of the last steps."""
        some = [each.loss for each in self.steps[-count:] if each.loss is not None]
        return sum(some) / len(some) if some else 0.0

    def since(self, step: int) -> float:
        """The mean loss of the steps after that one."""
        some = [each.loss for each in self.steps if each.step > step and each.loss is not None]
        return sum(some) / len(some) if some else 0.0

    @property
    def best(self) -> float | None:
        """The best held-out loss."""
        found = [each.held_out for each in self.steps if each.held_out is not None]
        return min(found) if found else None


def now() -> str:
    """The time as ISO 8601, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write(into: Path, history: History) -> None:
    """Both files."""
    write_private(into / FILE, msgspec.json.format(msgspec.json.encode(history.epochs), indent=1))
    write_private(into / STEPS, msgspec.json.encode(history.steps))
