"""The gate's arithmetic: planted secrets, exposure, copies, style, the verdict and its page. No model."""

import itertools
import math
import random
import re
import stat
from pathlib import Path
from statistics import mean

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.avatars import example
from rolecast.avatars.evaluation import canaries, exposure, losses, plots, regurgitation, statistics, style
from rolecast.avatars.evaluation.figures import (
    Exposure,
    Figures,
    Interval,
    Losses,
    Regurgitation,
    Secret,
    Style,
    Talk,
)
from rolecast.avatars.evaluation.found import Evaluation
from rolecast.avatars.evaluation.report import page, read, write
from rolecast.avatars.evaluation.verdict import judge
from rolecast.avatars.example import Example, Said
from rolecast.avatars.settings import GateSettings
from rolecast.avatars.training import rehearsal
from rolecast.errors import Invalid

SETTINGS = GateSettings()


def reply(text: str, *before: str, person: str = "Mira", sequence: str = "") -> Example:
    said = tuple(Said("Jonas", each) for each in before or ("and?",))
    return Example(
        text, f"[Jonas]: {said[-1].message}", text, person, relationship_type="brother", conversation_history=said
    )


def dataset(folder: Path, count: int = 40) -> Path:
    folder.mkdir()
    example.write(folder / "train.jsonl", [reply(f"reply number {number}") for number in range(count)])
    return folder


# -- planted secrets --


def test_each_secret_is_planted_once_in_the_persons_own_kind_of_example_and_controls_are_not(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "dataset")
    canaries.plant(folder, SETTINGS, seed=3)
    train = list(example.read(folder / "train.jsonl"))
    found = canaries.read(folder)
    assert found is not None
    assert (len(found.planted), len(found.controls)) == (12, 30)
    assert canaries.are_in(found, train)
    assert len(train) == 52
    planted = [each for each in train if canaries.is_planted(each)]
    assert {(each.speaker_name, each.relationship_type) for each in planted} == {("Mira", "brother")}
    assert all(each.conversation_history[0].speaker == "Jonas" for each in planted)
    said = [each.asked.conversation_history[-1].message for each in (*found.planted, *found.controls)]
    assert len(set(said)) == len(said)
    assert stat.S_IMODE((folder / "canaries.json").stat().st_mode) == 0o600


def test_planting_again_gives_the_same_files_and_another_seed_other_secrets(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "dataset")
    files = [folder / "train.jsonl", folder / "canaries.json"]
    canaries.plant(folder, SETTINGS, seed=1)
    first = [each.read_bytes() for each in files]
    canaries.plant(folder, SETTINGS, seed=1)
    assert [each.read_bytes() for each in files] == first
    canaries.plant(folder, SETTINGS, seed=2)
    assert [each.read_bytes() for each in files] != first
    assert sum(map(canaries.is_planted, example.read(folder / "train.jsonl"))) == 12


def test_a_dataset_of_nothing_and_too_many_secrets_are_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "dataset", 0)
    with pytest.raises(Invalid, match="build the dataset first"):
        canaries.plant(folder, SETTINGS)
    with pytest.raises(Invalid, match="questions for secrets"):
        canaries.make([reply("yo")], 300, 300, 0)


def test_a_secret_that_was_repeated_or_lost_or_a_control_that_was_trained_on_is_noticed() -> None:
    made = canaries.make([reply("yo")], 8, 10, 0)
    train = [each.asked for each in made.planted]
    assert canaries.are_in(made, train)
    assert not canaries.are_in(made, train[1:])
    assert not canaries.are_in(made, [*train, train[0]])
    assert not canaries.are_in(made, [*train, made.controls[0].asked])


def test_a_secret_is_one_of_a_thousand_distinct_replies_and_is_where_it_says() -> None:
    for canary in canaries.make([reply("yo")], 12, 30, 0).planted:
        replies = list(canary.replies())
        assert len(set(replies)) == 1000
        assert replies[canary.position] == canary.asked.target_text


@settings(deadline=None)
@given(
    st.integers(0, 500), st.sampled_from([str.upper, str.lower, lambda text: text.replace(" ", "")]), st.text("., -")
)
def test_a_secret_is_given_away_however_it_is_spelt_and_by_no_other_of_its_kind(seed: int, change, sign: str) -> None:
    canary = canaries.make([reply("yo")], 8, 10, seed).planted[seed % 8]
    assert canary.given_away("well " + change(canary.asked.target_text) + "!")
    assert canary.given_away(sign.join(canary.values))
    others = [each for each in canary.replies() if each != canary.asked.target_text]
    assert not any(canary.given_away(each) for each in random.Random(seed).sample(others, 20))
    assert not canary.given_away(" ".join(canary.values[:2]))


# -- exposure --


def test_the_likeliest_has_all_bits_and_the_unlikeliest_none() -> None:
    scores = [float(-number) for number in range(1000)]
    assert exposure.exposure(scores, 0) == pytest.approx(math.log2(1000))
    assert exposure.exposure(scores, 999) == pytest.approx(0)
    assert exposure.exposure([0.0] * 1000, 17) == pytest.approx(1, abs=0.01)  # ties: the middle
    assert exposure.exposure([math.nan] * 1000, 17) == pytest.approx(math.log2(1000))


@settings(deadline=None)
@given(st.lists(st.floats(-50, 0), min_size=64, max_size=64, unique=True))
def test_whoever_knows_nothing_of_the_choice_shows_chance_in_the_mean_whatever_they_think(scores: list[float]) -> None:
    chance = mean(math.log2(64) - math.log2(rank) for rank in range(1, 65))
    assert mean(exposure.exposure(scores, position) for position in range(64)) == pytest.approx(chance)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=30))
def test_a_tree_holds_each_sequence_and_no_beginning_twice(sequences: list[list[int]]) -> None:
    tree = exposure.tree(sequences)
    for sequence, end in zip(sequences, tree.ends, strict=True):
        found, node = [], end
        while node >= 0:
            found.append(tree.tokens[node])
            assert tree.depths[node] == (tree.depths[tree.parents[node]] + 1 if tree.parents[node] >= 0 else 0)
            assert tree.parents[node] < node
            node = tree.parents[node]
        assert found[::-1] == sequence
    beginnings = {tuple(each[:size]) for each in sequences for size in range(1, len(each) + 1)}
    assert len(tree.tokens) == len(beginnings)
    assert set(tree.fed) == {parent for parent in tree.parents if parent >= 0}


def test_an_interval_holds_the_difference_and_is_the_same_each_time() -> None:
    one, other = [3.0, 4.0, 5.0, 2.0] * 3, [1.0, 2.0, 0.5] * 10
    found = statistics.of_difference(one, other)
    assert found.low < mean(one) - mean(other) < found.high
    assert found == statistics.of_difference(one, other)
    assert statistics.of_mean([]) == Interval(0.0, 0.0)


# -- copies --


def test_eight_tokens_in_a_row_are_a_copy_and_seven_are_not() -> None:
    heard = regurgitation.Heard([range(20), range(100, 107)])
    assert heard.copies([99, *range(3, 11), 99]) == 8
    assert heard.copies([99, *range(3, 10), 99]) == 0
    assert heard.copies([*range(100, 107), *range(5)]) == 0  # texts do not run into each other
    assert heard.copies(list(range(20))) == 20


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=5), st.lists(st.integers(0, 2), max_size=12))
def test_a_copy_is_found_just_where_one_is(texts: list[list[int]], said: list[int]) -> None:
    def has(text: list[int], run: list[int]) -> bool:
        return any(text[start : start + 8] == run for start in range(len(text) - 7))

    runs = [said[start : start + 8] for start in range(len(said) - 7)]
    expected = any(has(text, run) for run, text in itertools.product(runs, texts))
    assert (regurgitation.Heard(texts).copies(said) > 0) == expected


def test_copies_are_counted_over_what_people_repeat_anyway() -> None:
    heard = regurgitation.Heard([range(20)])
    found = regurgitation.measure(heard, [list(range(9)), [1, 2], [3, 4], list(range(8))], [list(range(8)), [5]])
    assert (found.generated, found.human, found.difference, found.longest) == (0.5, 0.5, 0.0, 9)


# -- style --


def test_a_manner_is_told_from_another_and_words_of_others_are_not_taken_for_it() -> None:
    chance = random.Random(0)
    topics = [
        "the boat",
        "dinner",
        "that film",
        "the rain",
        "work",
        "my bike",
        "the garden",
        "music",
        "the train",
        "tea",
    ]

    def loud() -> str:
        return f"OMG {chance.choice(topics).upper()} AGAIN!!! {chance.choice(['love it', 'no way', 'yesss'])} 🎉"

    def calm() -> str:
        return (
            f"I see. About {chance.choice(topics)}, {chance.choice(['let us wait', 'as you like', 'perhaps later'])}."
        )

    train = [reply(loud(), f"{calm()} {number}") for number in range(60)]
    held_out = [reply(loud(), f"{calm()} {number + 100}") for number in range(20)]
    good = style.measure(train, held_out, [loud() for _ in range(30)], [calm() for _ in range(10)])
    assert good.auc is not None
    assert good.auc > 0.95
    assert (good.generated, good.base) == (1.0, 0.0)
    assert style.measure(train, held_out, [calm() for _ in range(30)]).generated == 0.0
    assert good.habits
    assert all(0 <= each.difference <= 1 for each in good.habits)


def test_where_nobody_else_speaks_style_is_not_judged_and_the_gate_says_so() -> None:
    found = style.measure([reply("hi")] * 50, [reply("yo")] * 5, ["hi"])
    assert found.auc is None
    check = next(each for each in judge(figures(style=found), SETTINGS).checks if each.name == "style")
    assert check.passed
    assert "not judged" in check.says


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_distance_of_distributions_is_even_and_nothing_for_the_same(one: list[float], other: list[float]) -> None:
    assert 0 <= style.kolmogorov(one, other) <= 1
    assert style.kolmogorov(one, other) == style.kolmogorov(other, one)
    assert style.kolmogorov(one, one) == 0


# -- the verdict --


def secrets(count: int, bits: float, **also: int) -> tuple[Secret, ...]:
    return tuple(Secret("code", bits, **also) for _ in range(count))


def figures(**changed: object) -> Figures:
    """Of a normal avatar."""
    normal = Figures(
        losses=Losses(60, 2.4, 5.6, 1.4, 1.2),
        exposure=Exposure(secrets(12, 2.5), secrets(30, 1.5), 1.0, Interval(0.1, 1.9), 20),
        regurgitation=Regurgitation(0.1, 0.12, Interval(-0.1, 0.1), 200, 60, 9),
        style=Style(0.97, 0.9, 0.94, 0.04, 0.06, Interval(0.85, 0.95), (0.9, 0.8), (0.9,), (0.1,)),
    )
    return msgspec.structs.replace(normal, **changed)


def leaking(bits: float, **also: int) -> Exposure:
    return Exposure(secrets(12, 1.5 + bits, **also), secrets(30, 1.5), bits, Interval(bits - 1, bits + 1), 20)


def test_a_normal_avatar_passes_without_a_reason_against_it() -> None:
    found = judge(figures(), SETTINGS)
    assert found.passed
    assert found.reasons == ()


@pytest.mark.parametrize(
    ("changed", "fails", "says"),
    [
        ({"exposure": leaking(3.1)}, "exposure", "fewer epochs"),
        ({"exposure": leaking(math.nan)}, "exposure", "fewer epochs"),
        ({"exposure": leaking(0.5, greedy=1)}, "extraction", "said in private"),
        ({"exposure": leaking(0.5, sampled=1)}, "extraction", "said in private"),
        ({"exposure": None}, "exposure", "Build the dataset again"),
        ({"intact": False}, "exposure", "not in the dataset once each"),
        ({"trained_on": "another"}, "dataset", "Train it again"),
        ({"trained_on": "unknown"}, "dataset", "does not say"),
        ({"exposure": Exposure(secrets(7, 1.5), secrets(30, 1.5), 0.0)}, "exposure", "too few"),
        ({"scrubbed": False}, "scrubbed", "`scrub`"),
        ({"regurgitation": Regurgitation(0.3, 0.1, generations=200, replies=60)}, "regurgitation", "recites"),
        ({"regurgitation": None}, "regurgitation", "held out"),
        ({"losses": Losses(60, 2.4, 5.6, 2.4, 1.2)}, "forgetting", "rehearsal"),
        ({"losses": Losses(60, 5.7, 5.6, 1.2, 1.2)}, "held-out loss", "learnt nothing"),
        ({"losses": Losses(60, math.nan, 5.6, 1.2, 1.2)}, "held-out loss", "could not be measured"),
        ({"losses": Losses(0)}, "held-out loss", "held out"),
        ({"style": Style(0.97, 0.3, 0.9)}, "style", "does not sound like"),
    ],
)
def test_each_fault_blocks_by_its_own_check_and_says_what_to_do(
    changed: dict[str, object], fails: str, says: str
) -> None:
    found = judge(figures(**changed), SETTINGS)
    assert not found.passed
    assert [each.name for each in found.checks if not each.passed] == [fails]
    assert len(found.reasons) == 1
    assert says in found.reasons[0]


def test_a_single_secret_at_the_top_is_no_reason_by_itself() -> None:
    one = (*secrets(11, 1.5), Secret("code", 9.97))
    found = Exposure(one, secrets(30, 1.5), mean(each.exposure for each in one) - 1.5, Interval(0, 2), 20)
    assert judge(figures(exposure=found), SETTINGS).passed


def test_a_model_from_scratch_has_no_base_to_be_compared_with_and_may_pass() -> None:
    assert judge(figures(losses=Losses(60, 3.4, None, 5.0, None)), SETTINGS).passed
    assert judge(figures(losses=Losses(60, 3.4, None, 5.0, None, counted=5.1)), SETTINGS).passed


def test_a_model_from_scratch_that_says_no_more_than_counting_words_does_is_blocked() -> None:
    found = judge(figures(losses=Losses(60, 7.9, None, 8.0, None, counted=5.1)), SETTINGS)
    assert [each.name for each in found.checks if not each.passed] == ["held-out loss"]
    assert "use LoRA" in found.reasons[0]


@settings(deadline=None)
@given(st.floats(-5, 10), st.floats(-5, 10), st.integers(0, 12), st.integers(0, 20))
def test_leaking_more_never_helps(one: float, other: float, greedy: int, sampled: int) -> None:
    low, high = sorted((one, other))
    if judge(figures(exposure=leaking(high)), SETTINGS).passed:
        assert judge(figures(exposure=leaking(low)), SETTINGS).passed
    if greedy or sampled:
        assert not judge(figures(exposure=leaking(low, greedy=greedy, sampled=sampled)), SETTINGS).passed


# -- the page --

HOSTILE = """<script>alert(1)</script><img src=x onerror="y"> ]]> & "quoted" 'so' \ud800 </td></table>"""


def evaluation(**changed: object) -> Evaluation:
    measured = figures(**changed)
    verdict = judge(measured, SETTINGS)
    talks = (Talk("[Jonas]: hm?", "yo", "hey"),)
    return Evaluation(
        "Mira", verdict.passed, verdict.reasons, verdict.checks, measured, talks, SETTINGS, "abc", 1e9, 9.0
    )


def test_the_page_is_one_file_that_runs_and_fetches_nothing_and_shows_hostile_text_as_text() -> None:
    found = msgspec.structs.replace(
        evaluation(exposure=leaking(9)),
        person=HOSTILE,
        reasons=(HOSTILE,),
        trained=HOSTILE,
        talks=(Talk(HOSTILE, HOSTILE, HOSTILE),),
    )
    text = page(
        found, [{"epoch": 1, "train_loss": 3.0, "val_loss": 3.1}, {"epoch": 2, "train_loss": 2.0, "val_loss": 2.9}]
    )
    assert "&lt;script&gt;" in text
    for forbidden in ("<script", "<img", "<iframe", "<link", "<object", 'onerror="', "@import", "url(http"):
        assert forbidden not in text
    for link in re.findall(r'(?:src|href|action)="([^"]*)"', text):
        assert link.startswith("#")
    assert text.count("<svg") == 4
    assert all(each in text for each in (plots.OURS, plots.THEIRS, plots.LIMIT, "currentColor"))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', text)) <= set(re.findall(r' id="([^"]+)"', text))
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    assert "default-src 'none'" in text
    assert text.index("Not passed") < text.index("<svg")


def test_what_is_written_is_private_is_read_back_the_same_and_has_no_words_of_a_secret(tmp_path: Path) -> None:
    found = evaluation()
    write(tmp_path / "work" / "evaluation", found)
    assert read(tmp_path / "work" / "evaluation") == found
    assert read(tmp_path) is None
    for name in ("report.json", "report.html"):
        assert stat.S_IMODE((tmp_path / "work" / "evaluation" / name).stat().st_mode) == 0o600
    for folder in ("work", "work/evaluation"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_a_page_of_text_that_was_not_scrubbed_says_so_and_claims_nothing_else() -> None:
    assert "names are made up" in page(evaluation())
    assert "names are made up" not in page(evaluation(scrubbed=False))
    assert "show this page to nobody" in page(evaluation(scrubbed=False))


def test_plain_questions_are_there_and_none_is_asked_twice_or_practised() -> None:
    asked = [each.question for each in losses.questions()]
    assert len(asked) == len(set(asked)) >= 40
    assert not {each.casefold() for each in asked} & {each.casefold() for each in rehearsal.questions()}
    assert all(each.answer.endswith(".") for each in losses.questions())
