"""The figures that judge a router, on cases that can be worked out by hand and on the published outcomes."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROUTER = Path(__file__).parents[2] / "training" / "router"
sys.path.insert(0, str(ROUTER))

from corpus import public  # noqa: E402
from measure import apgr, auroc, calibration_error, cpt, curve, interval  # noqa: E402


def test_one_prompt_that_only_the_strong_model_can_do_found_first_or_last() -> None:
    weak, strong = [1, 1, 1, 0], [1, 1, 1, 1]
    assert apgr([0, 0, 0, 9], weak, strong) == pytest.approx(1 - 0.25 / 2)
    assert apgr([9, 9, 9, 0], weak, strong) == pytest.approx(0.25 / 2)
    assert cpt([0, 0, 0, 9], weak, strong, 0.5) == 0.25
    assert cpt([9, 9, 9, 0], weak, strong, 0.5) == 1.0


def test_equal_scores_are_worth_what_chance_is_worth_in_any_order() -> None:
    weak, strong = [0, 0, 1, 1], [1, 1, 1, 1]
    assert apgr([1, 1, 1, 1], weak, strong) == pytest.approx(0.5)
    assert apgr([1, 1, 1, 1], weak[::-1], strong) == pytest.approx(0.5)


def test_the_curve_begins_all_weak_and_ends_all_strong() -> None:
    share, right = curve([0.3, 0.1, 0.2], [0, 1, 0], [1, 0, 1])
    assert share.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert right.tolist() == pytest.approx([1 / 3, 2 / 3, 1, 2 / 3])


def test_auroc_counts_a_tie_as_half() -> None:
    assert auroc([1, 2, 3, 4], [0, 0, 1, 1]) == 1
    assert auroc([1, 1], [0, 1]) == 0.5


def test_calibration_error_of_one_who_is_always_sure_and_half_right() -> None:
    assert calibration_error([1, 1, 1, 1], [1, 0, 1, 0]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "by_length", "oracle"),
    [("mmlu", 0.586, 1.285), ("gsm8k", 0.601, 1.125)],
)
def test_the_known_baselines_come_out_again_on_the_published_outcomes(
    name: str, by_length: float, oracle: float
) -> None:
    rows = public(name)
    weak = np.array([r["weak_right"] for r in rows], float)
    strong = np.array([r["strong_right"] for r in rows], float)
    assert apgr(np.random.default_rng(0).random(len(rows)), weak, strong) == pytest.approx(0.5, abs=0.05)
    # The baselines are of the whole sets, the data here is about 70 % of them.
    assert apgr([len(r["prompt"]) for r in rows], weak, strong) == pytest.approx(by_length, abs=0.02)
    assert apgr(strong - weak, weak, strong) == pytest.approx(oracle, abs=0.05)


def test_the_mean_of_a_subject_gives_the_known_baseline() -> None:
    rows = public("mmlu")
    weak = np.array([r["weak_right"] for r in rows], float)
    strong = np.array([r["strong_right"] for r in rows], float)
    _, subject = np.unique([r["subject"] for r in rows], return_inverse=True)
    gap = strong - weak
    others = (np.bincount(subject, gap)[subject] - gap) / (np.bincount(subject)[subject] - 1)
    assert apgr(others, weak, strong) == pytest.approx(0.659, abs=0.02)
    low, high = interval(apgr, others, weak, strong, rounds=50)
    assert low < 0.659 < high
