"""What of training needs no tensors: batches, rates, patience, splits, memory, checkpoints' folders, plots."""

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.avatars import example
from rolecast.avatars.example import Example, Lineage
from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training import batches, checkpoints, data, memory, plot, rehearsal, schedule
from rolecast.avatars.training.batches import Tokens
from rolecast.avatars.training.checkpoints import State
from rolecast.avatars.training.history import Epoch, History, Step, write
from rolecast.errors import Invalid

LENGTHS = st.lists(st.integers(2, 300), min_size=1, max_size=200)


@given(LENGTHS, st.integers(1, 32), st.integers(0, 5), st.integers(0, 3))
def test_every_example_is_in_an_epoch_once_and_the_order_is_the_seeds(
    lengths: list[int], batch: int, seed: int, epoch: int
) -> None:
    found = batches.order(lengths, batch, seed, epoch)
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    assert all(1 <= len(each) <= batch for each in found)
    assert found == batches.order(lengths, batch, seed, epoch)
    random.seed(seed)  # what else is random changes nothing
    assert found == batches.order(lengths, batch, seed, epoch)


def test_examples_of_a_batch_are_of_like_length_and_epochs_differ() -> None:
    lengths = [random.Random(each).randint(5, 200) for each in range(1000)]
    first, second = batches.order(lengths, 16, 0, 0), batches.order(lengths, 16, 0, 1)
    padded = sum(len(rows) * max(lengths[each] for each in rows) for rows in first)
    assert padded < 1.15 * sum(lengths)
    assert {tuple(sorted(each)) for each in first} != {tuple(sorted(each)) for each in second}


def test_only_replies_are_learnt_and_never_padding_or_what_nothing_comes_before() -> None:
    made = batches.together([Tokens((5, 6, 7, 8), ((2, 4),)), Tokens((9, 10), ((0, 2),))], pad=0)
    assert made.tokens.shape == (2, batches.MULTIPLE)
    assert made.learnt[0].tolist() == [False, False, True, True] + [False] * 4
    assert made.learnt[1].tolist() == [False, True] + [False] * 6
    assert made.count == Tokens((5, 6, 7, 8), ((2, 4),)).learnt + Tokens((9, 10), ((0, 2),)).learnt == 3


@pytest.mark.parametrize(
    ("count", "accumulation", "epochs", "steps"), [(10, 1, 3, 30), (10, 4, 3, 9), (10, 1, 0.25, 3), (1, 8, 0.1, 1)]
)
def test_epochs_are_whole_steps(count: int, accumulation: int, epochs: float, steps: int) -> None:
    assert batches.steps(count, accumulation, epochs) == steps


@given(st.integers(1, 500), st.integers(0, 100), st.sampled_from(["cosine", "linear", "constant"]))
def test_the_rate_rises_then_falls_and_is_never_nothing(steps: int, warmup: int, kind: str) -> None:
    rates = [schedule.rate(each, steps, 1e-3, warmup, kind) for each in range(steps)]  # type: ignore[arg-type]
    assert all(0 < each <= 1e-3 for each in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(1e-3)


def test_patience_ends_after_so_many_checks_without_a_better_one() -> None:
    patience = schedule.Patience(2)
    assert [patience.better(each) for each in (3.0, 2.0, 2.5, 2.0)] == [True, True, False, False]
    assert patience.over
    assert not schedule.Patience(0, best=1.0, waited=50).over
    assert not schedule.Patience(1).better(math.nan)


def _examples(count: int) -> list[Example]:
    return [
        Example(f"t{each // 3}_{each % 3}", "[A]: hi", f"reply {each}", "Mira", metadata=Lineage(f"t{each // 3}"))
        for each in range(count)
    ]


def test_a_single_file_is_split_by_conversation_and_always_alike(tmp_path: Path) -> None:
    file = tmp_path / "mira.jsonl"
    example.write(file, _examples(300))
    split = data.load(file, seed=1)
    threads = [{each.metadata.sequence_id for each in part} for part in (split.train, split.valid)]
    assert not threads[0] & threads[1]
    assert 3 <= len(threads[1]) <= 20
    assert split.digest == data.load(file, seed=1).digest != data.load(file, seed=2).digest


def test_nothing_to_learn_from_is_said_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="make a dataset first"):
        data.load(tmp_path / "none", 0)
    (tmp_path / "train.jsonl").write_bytes(b"")
    with pytest.raises(Invalid, match="no example to learn from"):
        data.load(tmp_path, 0)
    (tmp_path / "train.jsonl").write_bytes(b'{"example_id": "a", "target_text": 7}\n')
    with pytest.raises(Invalid, match="Example 1"):
        data.load(tmp_path, 0)


def _shape() -> memory.Shape:
    return memory.Shape(width=512, hidden=2048, heads=8, layers=6, vocabulary=50_000, parameters=50_800_000)


def test_advice_names_numbers_that_are_smaller() -> None:
    settings = TrainingSettings(method="scratch")
    said = memory.advice(_shape(), settings, "scratch", "fp32", 512, free=10**9)
    assert "batch 4 with accumulation 4 (the same result" in said
    assert "checkpointing" in said
    assert "sequence 256" in said
    assert "1.0 GB are free" in said
    sizes = [
        memory.needed(_shape(), each, "scratch", "fp32", each.sequence)
        for each in (settings, TrainingSettings(batch=4), TrainingSettings(batch=4, checkpointing=True))
    ]
    assert sizes == sorted(sizes, reverse=True)
    # A batch that is computed in parts is no smaller for having fewer rows.
    said = memory.advice(_shape(), settings, "scratch", "fp32", 512, free=0, at_once=512)
    assert "batch 4" not in said
    assert "checkpointing" in said
    apart = memory.needed(_shape(), settings, "scratch", "bf16", 512, at_once=2048)
    assert 1.4e9 < apart < 2.2e9  # 1.6 GB were measured
    least = TrainingSettings(method="scratch", batch=1, checkpointing=True, sequence=64)
    assert "layers 3" in memory.advice(_shape(), least, "scratch", "fp32", 64, free=0)


def test_a_folder_is_whole_or_not_there_and_the_former_one_stays_until_then(tmp_path: Path) -> None:
    folder = tmp_path / "best_model"
    checkpoints.write(folder, lambda part: [None, (part / "a").write_text("1")][0])

    def breaks(part: Path) -> None:
        (part / "a").write_text("2")
        raise OSError("disk full")

    with pytest.raises(Invalid, match=r"could not be written \(disk full\)\. Make room on the disk"):
        checkpoints.write(folder, breaks)
    assert [each.name for each in tmp_path.iterdir()] == ["best_model"]
    assert (folder / "a").read_text() == "1"
    assert (folder / "a").stat().st_mode & 0o777 == 0o600
    checkpoints.mend(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["best_model"]
    folder.rename(tmp_path / ".best_model.old")  # it ended between the two renames
    checkpoints.mend(tmp_path)
    assert (folder / "a").read_text() == "1"


def test_the_newest_checkpoint_of_the_same_training_is_taken_and_few_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoints.keep(tmp_path, State("mine", "fp32", step=step), lambda part: None, most=2)
    checkpoints.keep(tmp_path, State("other", "fp32", step=20), lambda part: None, most=9)
    assert [state.step for _, state in checkpoints.newest(tmp_path, "mine")] == [15, 10]
    (tmp_path / "checkpoint_15" / "state.json").write_bytes(b"{")
    assert [state.step for _, state in checkpoints.newest(tmp_path, "mine")] == [10]
    checkpoints.clear(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_history_is_in_avatar_slms_words(tmp_path: Path) -> None:
    history = History([Epoch(1.0, 2.5, None, 1e-3, "2026-01-01T00:00:00+00:00", 4)], [Step(4, 2.5, 1e-3)])
    write(tmp_path, history)
    rows = json.loads((tmp_path / "training_history.json").read_bytes())
    assert set(rows[0]) >= {"epoch", "train_loss", "val_loss", "learning_rate", "timestamp"}


def test_the_loss_is_shown_in_a_terminal_and_as_a_picture(tmp_path: Path) -> None:
    rows = [Step(each, 5 / each, 1e-3, 5 / each if each % 20 == 0 else None) for each in range(1, 41)]
    shown = plot.lines(History([], rows), width=20, height=4)
    assert shown[0].startswith("  3.750 █")
    assert shown[-1].startswith("held out: 0.250 0.125")
    assert all(len(each) < 60 for each in shown)
    assert plot.lines(History()) == []
    for name, begins in (("loss.png", b"\x89PNG"), ("loss.svg", b"<?xml")):
        plot.draw(History([], rows), tmp_path / name, r"Mira $\frac$ {} <b>")
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_rehearsal_asks_many_plain_questions_of_every_kind_once() -> None:
    asked = rehearsal.questions()
    assert len(asked) >= 200
    assert len({each.casefold() for each in asked}) == len(asked)
    few = " ".join(asked[:35])
    assert all(each in few for each in ("How do I", "Why", "Name", "?"))


def test_answers_that_were_kept_are_used_again_and_a_base_that_cannot_be_asked_is_said(tmp_path: Path) -> None:
    hf = tmp_path / "hf"

    def ask(count: int) -> tuple[list[rehearsal.Answer], str]:
        return rehearsal.rehearsed(hf, cast(Any, None), count, 1, lambda progress: None, lambda: False)

    found, why = ask(5)
    assert found == []
    assert why.startswith("the base could not be asked")
    kept = [{"question": each, "answer": "yes"} for each in rehearsal.questions()[:5]]
    (tmp_path / "rehearsal.jsonl").write_text("\n".join(json.dumps(each) for each in kept))
    found, why = ask(4)
    assert [each.answer for each in found] == ["yes"] * 4
    assert why == ""
    assert ask(0) == ([], "")
