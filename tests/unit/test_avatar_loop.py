"""The loop of training over an engine that only counts: steps, checks, checkpoints, ends."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training import checkpoints, plot
from rolecast.avatars.training.batches import Tokens
from rolecast.avatars.training.checkpoints import State
from rolecast.avatars.training.engine import Batch, Precision
from rolecast.avatars.training.loop import Course, Loop
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress


class Counting:
    """An engine whose loss is told to it and whose weight is the sum of all rates."""

    name, device, compiled, parameters, trained = "counting", "cpu", False, 1, 1
    precision: Precision = "fp32"

    def __init__(self, held_out: Callable[[int], float] = lambda step: 1 / (step + 1)) -> None:
        self.rates: list[float] = []
        self.batches: list[tuple[int, ...]] = []
        self.norm = 1.0
        self._held_out = held_out

    def gradient(self, batch: Batch, count: int) -> float:
        self.batches.append(tuple(int(each) for each in batch.tokens[:, 0]))
        return 2.0 * batch.count

    def apply(self, rate: float) -> float:
        self.rates.append(rate)
        return self.norm

    def loss(self, batch: Batch) -> float:
        return self._held_out(len(self.rates)) * batch.count

    def save(self, folder: Path) -> None:
        (folder / "rates").write_text(json.dumps(self.rates))

    def save_state(self, folder: Path) -> Mapping[str, str]:
        return {"batches": json.dumps(self.batches)}

    def restore(self, folder: Path, words: Mapping[str, str]) -> None:
        self.rates = json.loads((folder / "rates").read_text())
        self.batches = [tuple(each) for each in json.loads(words["batches"])]

    def memory(self) -> int:
        return 12_000_000


def _course(into: Path, valid: int = 2, **settings: object) -> Course:
    told = {"batch": 2, "epochs": 2, "save_every": 3, **settings}
    examples = tuple(Tokens((number, 1, 2), ((1, 3),)) for number in range(10))
    return Course(
        train=examples,
        valid=examples[:valid],
        replies=10,
        pad=0,
        into=into,
        settings=TrainingSettings(**told),  # type: ignore[arg-type]
        rate=1e-3,
        finish=lambda folder: (folder / "tokenizer.json").write_text("{}") and None,
        facts={"person": "Mira"},
    )


def _loop(course: Course, engine: Counting, state: State | None = None, **asked: object) -> Loop:
    report = asked.get("report", lambda progress: None)
    stop = asked.get("stop", lambda: False)
    return Loop(course, engine, state or State("f", "fp32"), report, stop)  # type: ignore[arg-type]


def test_each_epoch_learns_all_and_leaves_a_row_and_a_checkpoint(tmp_path: Path) -> None:
    engine, told = Counting(), list[Progress]()
    loop = _loop(_course(tmp_path), engine, report=told.append)
    assert loop.run()
    assert sorted(sum(engine.batches[:5], ())) == sorted(sum(engine.batches[5:], ())) == list(range(10))
    rows = json.loads((tmp_path / "training_history.json").read_bytes())
    assert [each["epoch"] for each in rows] == [1.0, 2.0]
    assert rows[0]["train_loss"] == 2.0
    assert rows[1]["val_loss"] == pytest.approx(1 / 11)
    names = {each.name for each in tmp_path.iterdir() if each.is_dir()}
    assert names == {"best_model", "final_model", "checkpoint_9", "checkpoint_10"}
    assert json.loads((tmp_path / "final_model" / "training_config.json").read_bytes())["person"] == "Mira"
    note = next(each for each in reversed(told) if "left" in each.note).note
    assert " left, loss 2.00, held out 0." in note
    assert all(word in note for word in ("tokens/s", "12.0 MB"))


def test_gradients_of_several_batches_make_a_step_and_an_epoch_may_be_cut(tmp_path: Path) -> None:
    engine = Counting()
    assert _loop(_course(tmp_path, accumulation=2, epochs=1.5), engine).run()
    assert len(engine.rates) == 5  # 3 steps an epoch: of 2, 2 and 1 batches
    assert len(engine.batches) == 9
    assert [each["epoch"] for each in json.loads((tmp_path / "training_history.json").read_bytes())] == [1.0, 1.8]


def test_it_goes_on_exactly_where_it_was_broken_off(tmp_path: Path) -> None:
    whole, broken, again = Counting(), Counting(), Counting()
    assert _loop(_course(tmp_path / "whole"), whole).run()

    class Killed(BaseException):
        pass

    def dies(progress: Progress) -> None:
        if progress.step == "training" and progress.done == 8:
            raise Killed

    course = _course(tmp_path / "broken")
    with pytest.raises(Killed):
        _loop(course, broken, report=dies).run()
    folder, state = next(checkpoints.newest(course.into, "f"))
    assert state.step == 6
    again.restore(folder, state.words)
    assert _loop(course, again, state).run()
    assert (again.rates, again.batches) == (whole.rates, whole.batches)


def test_asked_to_stop_it_leaves_a_checkpoint_and_no_final_model(tmp_path: Path) -> None:
    engine = Counting()
    loop = _loop(_course(tmp_path), engine, stop=lambda: len(engine.rates) == 4)
    assert not loop.run()
    assert {each.name for each in tmp_path.iterdir() if each.is_dir()} == {"best_model", "checkpoint_3", "checkpoint_4"}


def test_it_ends_early_when_the_held_out_loss_no_longer_falls_and_keeps_the_best(tmp_path: Path) -> None:
    engine = Counting(lambda step: abs(step - 3) + 1.0)
    loop = _loop(_course(tmp_path, patience=2, epochs=9), engine)
    assert loop.run()
    assert loop.early
    assert len(engine.rates) == 6
    assert len(json.loads((tmp_path / "best_model" / "rates").read_bytes())) == 3
    assert len(json.loads((tmp_path / "final_model" / "rates").read_bytes())) == 6


def test_one_that_ended_early_learns_no_more_when_it_is_asked_again(tmp_path: Path) -> None:
    course = _course(tmp_path, patience=2, epochs=9)
    assert _loop(course, Counting(lambda step: abs(step - 3) + 1.0)).run()
    again = Counting()
    folder, state = next(checkpoints.newest(tmp_path, "f"))
    again.restore(folder, state.words)
    loop = _loop(course, again, state)
    assert loop.run()
    assert (loop.early, len(again.rates)) == (True, 6)


def test_a_step_that_was_no_number_spoils_no_checkpoint(tmp_path: Path) -> None:
    engine = Counting()

    def once_lost(progress: Progress) -> None:
        engine.norm = math.nan if progress.done == 3 else 1.0

    engine.gradient = lambda batch, count: 2.0 * batch.count if engine.norm == 1.0 else math.nan  # type: ignore[method-assign]
    assert _loop(_course(tmp_path), engine, report=once_lost).run()
    _, state = next(checkpoints.newest(tmp_path, "f"))
    assert [each.step for each in state.history.steps if each.loss is None] == [4]
    assert state.history.recent() == 2.0
    assert plot.lines(state.history)


def test_with_nothing_held_out_the_last_model_is_the_best(tmp_path: Path) -> None:
    assert _loop(_course(tmp_path, valid=0), Counting()).run()
    assert (tmp_path / "best_model" / "rates").read_bytes() == (tmp_path / "final_model" / "rates").read_bytes()


def test_a_loss_that_is_lost_is_said_with_what_to_change(tmp_path: Path) -> None:
    engine = Counting()
    engine.norm = math.nan
    with pytest.raises(Invalid, match=r"no number any more .* lower learning_rate \(it was 0.001\)"):
        _loop(_course(tmp_path), engine).run()
