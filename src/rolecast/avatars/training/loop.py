"""The loop: batches to gradients to steps, with checks, checkpoints and a clean stop. Knows no method and no engine."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from rolecast.avatars.files import write_private
from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training import batches, checkpoints, schedule
from rolecast.avatars.training.batches import Tokens
from rolecast.avatars.training.checkpoints import State
from rolecast.avatars.training.engine import Engine
from rolecast.avatars.training.history import Epoch, Step, now, write
from rolecast.errors import Invalid, counted
from rolecast.jobs.job import Progress, Report
from rolecast.values import size_text

CONFIG = "training_config.json"
GIVES_UP = 3
"""Steps in a row without a number for a gradient."""


class Course(msgspec.Struct, frozen=True):
    """What is trained on, and where to."""

    train: tuple[Tokens, ...]
    valid: tuple[Tokens, ...]
    replies: int
    """Of the person, in `train`."""
    pad: int
    into: Path
    settings: TrainingSettings
    rate: float
    """The highest."""
    finish: Callable[[Path], None]
    """Adds to a model's folder what is not the engine's: tokenizer, base.json."""
    facts: Mapping[str, object]
    """For training_config.json."""

    @property
    def rows(self) -> int:
        """Chats of a batch."""
        return batches.rows(self.train, self.settings.batch)

    @property
    def epochs(self) -> float:
        return self.settings.epochs or schedule.EPOCHS[self.settings.method]

    @property
    def steps(self) -> int:
        each = math.ceil(len(self.train) / self.rows)
        return batches.steps(each, self.settings.accumulation, self.epochs)


class Loop:
    """One training. `run` says whether it came to its end; else it was stopped and has a checkpoint."""

    def __init__(self, course: Course, engine: Engine, state: State, report: Report, stop: Callable[[], bool]) -> None:
        self.course = course
        self.state = state
        self.peak = 0
        self._engine = engine
        self._report = report
        self._stop = stop
        self._steps = course.steps
        self._saved = state.step or -1
        self._patience = schedule.Patience(
            course.settings.patience, math.inf if state.best is None else state.best, state.waited
        )
        self.early = self._patience.over
        """Also of a training that had ended so before."""
        self._speed = 0.0
        self._bad = 0
        self._all = sum(len(each.ids) for each in course.train) * course.epochs

    def run(self) -> bool:
        """Train to the end, or until it is asked to stop. Raises Invalid when the loss is lost, NoMemory."""
        state, settings = self.state, self.course.settings
        if state.history.before is None and self.course.valid:
            state.history.before = self._held_out("before the first step")
        self._report(Progress("training", state.step, self._steps, "steps", "the first step takes longest"))
        while state.step < self._steps and not self.early:
            if not state.order:
                lengths = [len(each.ids) for each in self.course.train]
                state.order = batches.order(lengths, self.course.rows, settings.seed, state.epoch)
            if not self._step():
                self._checkpoint()
                return False
            ended = state.batch >= len(state.order)
            last = state.step >= self._steps
            due = bool(settings.save_every) and state.step % settings.save_every == 0
            if ended or last or due:
                self._check(row=ended or last, done=state.epoch + state.batch / len(state.order))
            if ended:
                state.epoch, state.batch, state.order = state.epoch + 1, 0, []
            if ended or last or due:
                self._checkpoint()
        self._model(checkpoints.FINAL)
        if not (self.course.into / checkpoints.BEST).exists():  # nothing was held out
            self._model(checkpoints.BEST)
        write(self.course.into, state.history)
        return True

    def _step(self) -> bool:
        """One step; False when it is to stop, with nothing changed."""
        state, settings, began = self.state, self.course.settings, time.perf_counter()
        chosen = state.order[state.batch : state.batch + settings.accumulation]
        made = [batches.together([self.course.train[each] for each in rows], self.course.pad) for rows in chosen]
        count = max(1, sum(each.count for each in made))
        total = 0.0
        for each in made:
            if self._stop():
                return False
            total += self._engine.gradient(each, count)
        rate = schedule.rate(state.step, self._steps, self.course.rate, settings.warmup_steps, settings.schedule)
        self._judge(self._engine.apply(rate), total / count)
        tokens = sum(len(self.course.train[each].ids) for rows in chosen for each in rows)
        took = time.perf_counter() - began
        state.batch += len(chosen)
        state.step += 1
        state.tokens += tokens
        state.seconds += took
        state.history.steps.append(Step(state.step, round(total / count, 6) if math.isfinite(total) else None, rate))
        # The first step is slow: memory is taken, layers are compiled.
        self._speed = tokens / took if not self._speed or state.step < 3 else 0.9 * self._speed + 0.1 * tokens / took
        self.peak = max(self.peak, self._engine.memory())
        self._report(Progress("training", state.step, self._steps, "steps", self._note()))
        return True

    def _judge(self, norm: float, loss: float) -> None:
        self._bad = 0 if math.isfinite(norm) and math.isfinite(loss) else self._bad + 1
        if self._bad >= GIVES_UP:
            raise Invalid(
                f"The loss is no number any more after {counted(self.state.step, 'step')}; train with a lower "
                f"learning_rate (it was {self.course.rate:g}), or with precision fp32.",
                param="learning_rate",
            )

    def _note(self) -> str:
        left = self._all * (1 - self.state.step / self._steps) / self._speed
        # What the first steps take tells nothing of the others.
        said = [*([f"{_time(left)} left"] if self.state.step > 2 else []), f"loss {self.state.history.recent():.2f}"]
        if self.state.history.best is not None:
            said.append(f"held out {self.state.history.best:.2f}")
        said += [f"{self._speed:.0f} tokens/s", size_text(self.peak)]
        return ", ".join(said)

    def _within(self, note: str) -> None:
        """Tell what is done between two steps."""
        self._report(Progress("training", self.state.step, self._steps, "steps", note))

    def _held_out(self, when: str) -> float:
        """The loss of what is held out, in nats per token."""
        valid, size = self.course.valid, self.course.rows
        inorder = sorted(range(len(valid)), key=lambda each: len(valid[each].ids))
        total, count = 0.0, 0
        for first in range(0, len(inorder), size):
            batch = batches.together([valid[each] for each in inorder[first : first + size]], self.course.pad)
            total += self._engine.loss(batch)
            count += batch.count
            self._within(f"checking what is held out {when}: {min(first + size, len(valid))} of {len(valid)}")
        return total / max(1, count)

    def _check(self, *, row: bool, done: float) -> None:
        state = self.state
        loss = self._held_out(f"after step {state.step}") if self.course.valid else None
        last = state.history.steps[-1]
        state.history.steps[-1] = msgspec.structs.replace(last, held_out=loss)
        if loss is not None:
            if self._patience.better(loss):
                state.best = loss
                self._model(checkpoints.BEST)
            state.waited = self._patience.waited
            self.early = self._patience.over
        if row or self.early:
            since = state.history.epochs[-1].step if state.history.epochs else 0
            mean = state.history.since(since)
            state.history.epochs.append(Epoch(round(done, 4), mean, loss, last.rate, now(), state.step))
            write(self.course.into, state.history)

    def _model(self, name: str) -> None:
        def fill(folder: Path) -> None:
            self._engine.save(folder)
            self._finish(folder)

        checkpoints.write(self.course.into / name, fill)

    def _checkpoint(self) -> None:
        if self._saved == self.state.step:
            return

        def fill(folder: Path) -> None:
            self._engine.save(folder)
            self.state.words = dict(self._engine.save_state(folder))
            self._finish(folder)

        self._within(f"saving checkpoint_{self.state.step}")
        checkpoints.keep(self.course.into, self.state, fill, self.course.settings.keep)
        self._saved = self.state.step

    def _finish(self, folder: Path) -> None:
        self.course.finish(folder)
        facts = {
            "settings": self.course.settings,
            "step": self.state.step,
            "steps": self._steps,
            "engine": self._engine.name,
            "precision": self._engine.precision,
            **self.course.facts,
        }
        write_private(folder / CONFIG, msgspec.json.format(msgspec.json.encode(facts), indent=1))


def longest(examples: Sequence[Tokens]) -> int:
    """Tokens of the longest, padded as it will be."""
    most = max((len(each.ids) for each in examples), default=1)
    return -(-most // batches.MULTIPLE) * batches.MULTIPLE


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
