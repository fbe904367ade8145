"""The form of a question: what of it tells how hard it is, always, of anything; answers to choose from are seen."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rolecast.routing.features import clip
from rolecast.routing.form import FORM, form, parted
from rolecast.routing.learned import Learned

ROUTER = Path(__file__).parents[2] / "training" / "router"
EXAM = b"What is the capital of France?\nA. Paris\nB. Rome\nC. Oslo\nD. Bern\nAnswer:"
ODD = [b"", b" ", b"\0", b"\xff\xfe", b"\n" * 2048, b"9" * 2048, b"A. " * 500, b"\nA. \nB. ", b"1,2,3,,,,.5." * 99]


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_any_bytes_have_a_finite_form(raw: bytes) -> None:
    numbers = form(raw).numbers
    assert numbers.shape == (FORM,)
    assert np.isfinite(numbers).all()


def test_answers_to_choose_from_are_told_from_the_question() -> None:
    assert parted(EXAM) == (b"What is the capital of France?", [b"Paris", b"Rome", b"Oslo", b"Bern"])
    assert form(EXAM).choices


@pytest.mark.parametrize(
    "text",
    [
        "I have a plan.\nA. Smith wrote it.",
        "What is the capital of France?",
        "Grade A. Not B. Perhaps C. in one line",
        "1. Paris\n2. Rome\n3. Oslo",
    ],
)
def test_a_text_without_two_lettered_lines_has_no_answers_to_choose_from(text: str) -> None:
    assert not form(text.encode()).choices
    assert parted(text.encode()) == (text.encode(), [])


def test_only_the_answers_of_a_question_change_what_is_told_of_answers() -> None:
    other = EXAM.replace(b"Paris", b"1789").replace(b"Rome", b"1815")
    changed = form(EXAM).numbers != form(other).numbers
    assert changed.any()
    assert not changed[:14].any()


def test_numbers_in_a_question_are_counted_and_weighed() -> None:
    few = form(b"Tom has 2 apples.").numbers
    many = form(b"Tom has 2 apples, 1,250 pears, 3.5 kg of flour and 40% of a cake for $17.").numbers
    assert (many[14:21] >= few[14:21]).all()
    assert (many[14:21] > few[14:21]).sum() >= 5


def test_a_very_long_digit_run_is_no_error() -> None:
    assert np.isfinite(form(b"compute " + b"7" * 900 + b" times 2").numbers).all()


def test_exams_and_other_prompts_have_columns_of_their_own() -> None:
    model = Learned.load()
    sight = model.look(EXAM.decode())
    start = model.heads["difficulty"].start
    assert sight.form.choices
    assert sight.probability("difficulty") == pytest.approx(1 / (1 + np.exp(-float(sight.scores[start]))))
    other = model.look("What is the capital of France?")
    assert other.probability("difficulty") == pytest.approx(1 / (1 + np.exp(-float(other.scores[start + 1]))))


def test_a_hard_exam_question_is_harder_than_an_easy_one() -> None:
    model = Learned.load()
    easy = "Which planet do people live on?\nA. Mars\nB. Earth\nC. Venus\nD. Jupiter\nAnswer:"
    hard = "Find the order of the factor group Z_11 x Z_15/(<1, 1>)\nA. 1\nB. 2\nC. 5\nD. 11\nAnswer:"
    assert model.look(easy).probability("weak_right") > model.look(hard).probability("weak_right") + 0.2


def test_training_and_serving_place_a_text_alike() -> None:
    pytest.importorskip("scipy")
    from rolecast.routing.hardness import near, vector
    from rolecast.routing.learned import MODEL

    model = Learned.load()
    with np.load(MODEL) as file:
        parts = {name: file[name].astype(np.float32) for name in file.files if name.startswith("hard_")}
    texts = [EXAM.decode(), "x\nA. y\nB. z"]
    sights = [model.look(t) for t in texts]
    rest = np.stack(
        [np.concatenate((s.seen.shape, form(clip(t)[0]).numbers)) for s, t in zip(sights, texts, strict=True)]
    )
    place = vector(np.stack([s.meaning for s in sights]), rest, parts["hard_mean"], parts["hard_scale"])
    points = parts["hard_points"]
    products = place @ points.T
    nearness = near(products, (place**2).sum(1)[:, None], (points**2).sum(1), float(parts["hard_width"]))
    assert (nearness <= 1.001).all()
    assert (nearness >= 0).all()
    wanted = place @ parts["hard_linear"] + nearness @ parts["hard_pull"]
    for sight, row in zip(sights, wanted, strict=True):
        got = model._hardness.scores(sight.meaning, sight.seen.shape, sight.form.numbers, True)
        np.testing.assert_allclose(got, row, rtol=1e-3, atol=1e-3)


def test_a_figure_says_whether_it_reaches_its_bar() -> None:
    sys.path.insert(0, str(ROUTER))
    from figures import Figure, as_json, share

    assert Figure("g", "reached", 0.7, bar=0.7).passes
    assert not Figure("g", "missed", 0.69, bar=0.7).passes
    assert Figure("g", "fast", 0.4, bar=0.5, at_most=True).passes
    assert Figure("g", "told", 0.4).passes is None
    assert "FAIL" in Figure("g", "missed", 0.69, bar=0.7).line()
    assert '"passes": false' in as_json([Figure("g", "missed", 0.69, bar=0.7)])
    low, high = share(0.8, 400)
    assert 0.74 < low < 0.78 < 0.82 < high < 0.86
