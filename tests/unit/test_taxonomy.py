"""The taxonomies of TMD and the classifier behind its pages: names, codes, mappings, and how often it is right.

What is asked here (`tlc_questions.json`) was written apart from the examples that are learned, and is in none of them.
"""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.categories import CATEGORIES
from rolecast.routing import taxonomy
from rolecast.routing.frame import frame
from rolecast.routing.learned import Learned
from rolecast.routing.taxonomy import OTHER, Bits, Code, Scheme, lane, pack, scheme, text_form, unpack, vector
from rolecast.routing.tlc import Classifier, Said, code_of

QUESTIONS = json.loads(Path(__file__).with_name("tlc_questions.json").read_text("utf-8"))
SEED, V1, V2, L0 = map(scheme, taxonomy.NAMES)
CODED = (V1, V2)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(Learned.load())


def bits(of: Scheme) -> Bits:
    assert of.bits is not None
    return of.bits


# -- names -------------------------------------------------------------------------------------------------------


def test_every_list_has_as_many_names_as_its_taxonomy() -> None:
    sizes = [
        (len(each.domains), len(each.tasks), len(each.methods), len(each.modifiers)) for each in (SEED, V1, V2, L0)
    ]
    assert sizes == [(21, 5, 4, 0), (16, 32, 0, 64), (64, 16, 0, 32), (16, 0, 0, 0)]
    for each in (SEED, V1, V2, L0):
        for names in (each.domains, each.tasks, each.methods, each.modifiers):
            assert len(set(names)) == len(names), each.name
    assert SEED.version == "1.0"
    assert [V1.domains[4], V1.tasks[14], V1.modifiers[63]] == ["Medicine", "Code Generation", "Compression-optimized"]
    assert [V2.domains[63], V2.tasks[15], V2.modifiers[31]] == ["Policy & Governance", "Tool Use", "Specialized"]


def test_an_unknown_taxonomy_is_not_looked_for_on_the_disk() -> None:
    for name in ("", "v3", "../presets/pas", "tasks"):
        with pytest.raises(KeyError):
            scheme(name)


def test_every_domain_and_topic_has_a_home_that_exists() -> None:
    topics = set(taxonomy.examples("domains"))
    assert set(SEED.topics) == set(SEED.domains)
    assert {topic for about in SEED.topics.values() for topic in about} - {"*"} == topics
    for each in (V1, V2, L0):
        assert set(each.of_topic) <= topics
        homes = {each.home(topic) for topic in topics}
        assert homes - {OTHER} == set(each.domains), "each is reached, and nothing else"
        assert {topic for topic in topics if each.home(topic) == OTHER} <= {"Sports", "Other"}


def test_every_category_has_tasks_and_every_task_and_domain_a_modifier_that_exists() -> None:
    assert set(V1.of_task) == set(CATEGORIES)
    assert {task for tasks in V1.of_task.values() for task in tasks} <= set(V1.tasks)
    assert set(taxonomy.examples("v1_tasks")) == set(V1.tasks)
    assert all((task in V2.tasks) != (V2.of_task.get(task) in V2.tasks) for task in V1.tasks)
    for each in CODED:
        assert set(each.modifier_of_task) <= set(each.tasks)
        assert set(each.modifier_of_domain) <= set(each.domains)
        named = {*each.modifier_of_task.values(), *each.modifier_of_domain.values(), each.modifier_else}
        assert named <= set(each.modifiers)


def test_no_question_of_the_test_is_among_the_examples() -> None:
    for name in ("tasks", "methods"):
        learned = {text for texts in taxonomy.examples(name).values() for text in texts}
        asked = [text for texts in QUESTIONS[name].values() for text in texts]
        assert not learned & set(asked)
        assert len(set(asked)) == len(asked)


# -- codes -------------------------------------------------------------------------------------------------------


def test_v1_packs_as_documented() -> None:
    known = {(0, 0, 1): 0x0002, (4, 25, 24): 4 << 12 | 25 << 7 | 24 << 1, (15, 31, 63): 0xFFFE}
    for numbers, packed in known.items():
        assert pack(Code(*numbers), bits(V1)) == packed
        assert unpack(packed, bits(V1)) == Code(*numbers)
    assert unpack(pack(Code(2, 14, 28), bits(V1)), bits(V1)) == Code(2, 14, 28)
    assert lane(0xFFFE) == 0x7FFF
    assert pack(Code(63, 15, 31), bits(V2)) == 0xFFFE
    assert pack(Code(32, 1, 31), bits(V2)) == 32 << 10 | 1 << 6 | 31 << 1


@given(st.sampled_from(CODED), st.data())
def test_every_code_comes_back(of: Scheme, data: st.DataObject) -> None:
    numbers = [data.draw(st.integers(0, len(names) - 1)) for names in (of.domains, of.tasks, of.modifiers)]
    packed = pack(Code(*numbers), bits(of))
    assert packed % 2 == 0
    assert unpack(packed, bits(of)) == Code(*numbers)


def test_what_does_not_fit_is_refused() -> None:
    for numbers in ((16, 0, 0), (0, 32, 0), (0, 0, 64), (-1, 0, 0)):
        with pytest.raises(ValueError, match="not below"):
            pack(Code(*numbers), bits(V1))
    for packed in (-1, 1 << 16):
        with pytest.raises(ValueError, match="16 bits"):
            unpack(packed, bits(V1))


def test_the_text_form_of_nothing_is_three_zeros() -> None:
    assert text_form(Code(4, 25, 24)) == "4.25.24"
    assert text_form({"domain": 4, "task": 25, "modifier": 24}) == "4.25.24"
    assert text_form(None) == text_form({}) == text_form({"domain": 4}) == "0.0.0"


def test_the_vector_is_the_fixed_projection_of_the_fifteen_bits() -> None:
    matrix = np.random.default_rng(1337).normal(size=(16, 15)).astype(np.float32)
    code = Code(4, 25, 24)
    written = f"{code.domain:04b}{code.task:05b}{code.modifier:06b}"
    expected = matrix @ np.array([int(bit) for bit in written], np.float32)
    made = vector(pack(code, bits(V1)))
    assert (made.dtype, made.shape) == (np.float32, (16,))
    assert np.allclose(made, expected / np.linalg.norm(expected), atol=1e-6)
    assert abs(float(np.linalg.norm(made)) - 1) < 1e-5
    assert not vector(0).any(), "nothing has no direction"


# -- how often it is right ---------------------------------------------------------------------------------------


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error over ten bins."""
    found, hits = np.array(confidences), np.array(right)
    bins = np.clip((found * 10).astype(int), 0, 9)
    parts = [(bins == b) for b in range(10) if (bins == b).any()]
    return float(sum(abs(found[part].mean() - hits[part].mean()) * part.sum() for part in parts) / len(found))


@pytest.mark.parametrize(("what", "least"), [("tasks", 0.9), ("methods", 0.9)])
def test_tasks_and_methods_of_new_questions_are_told_and_the_confidence_is_meant(
    classifier: Classifier, what: str, least: float
) -> None:
    ask = classifier.task if what == "tasks" else classifier.method
    said = [(ask(text), label) for label, texts in QUESTIONS[what].items() for text in texts]
    right = [each.label == label for each, label in said]
    assert np.mean(right) >= least
    assert calibration_error([each.confidence for each, _ in said], right) <= 0.1


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("What is information retrieval?", "ANSWER"),
        ("how do I verify an email address in PHP", "ANSWER"),
        ("What is a summary judgment?", "ANSWER"),
        ("How do I compare two dates in Go?", "ANSWER"),
        ("Is it true that cats always land on their feet?", "VERIFY"),
        ("What is the difference between weather and climate?", "COMPARE"),
        ("tl;dr", "SUMMARIZE"),
        ("Find papers about summarization", "RETRIEVE"),
    ],
)
def test_a_word_about_a_task_is_not_the_task(classifier: Classifier, text: str, task: str) -> None:
    assert classifier.task(text).label == task


def test_facts_get_codes_and_spread_over_the_domains(classifier: Classifier) -> None:
    said = [(classifier.domain(text, V1), label) for label, texts in QUESTIONS["facts"].items() for text in texts]
    used = Counter(each.label for each, _ in said if each.label != OTHER)
    assert sum(used.values()) / len(said) >= 0.7
    assert len(used) >= 12
    assert max(used.values()) / len(said) < 0.25
    assert np.mean([each.label == label for each, label in said if each.label != OTHER]) >= 0.85


def test_all_schemes_say_the_same_of_a_text(classifier: Classifier) -> None:
    text = "What is the role of glucose in diabetes?"
    assert [classifier.domain(text, each).label for each in (SEED, V1, L0)] == ["MEDICINE", "Medicine", "medicine"]
    for each in (SEED, V1, V2, L0):
        odds = classifier.domain(text, each).odds
        assert abs(sum(odds.values()) - 1) < 1e-6
        assert list(odds.values()) == sorted(odds.values(), reverse=True)
    first = list(classifier.domain(text, SEED).odds)[:3]
    assert first[0] == "MEDICINE"
    assert "BIOLOGY" in list(classifier.domain(text, SEED).odds)[:5]


def test_a_text_without_words_is_everything_alike(classifier: Classifier) -> None:
    for each, text in itertools.product((SEED, V1, V2, L0), ("", " ", "?!", "\0\n")):
        said = classifier.domain(text, each)
        assert (said.label, said.sure) == (OTHER, False)
        assert len({round(p, 9) for p in said.odds.values()}) == 1
    assert not classifier.task("...").sure
    assert classifier.method("...").confidence == 0.25


def test_an_unsure_domain_is_other_and_its_confidence_is_others(classifier: Classifier) -> None:
    for text in ("asdkjh qwe zzz", "the of and", "blorp fnord"):
        said = classifier.domain(text, SEED)
        assert (said.label, said.sure) == (OTHER, said.odds[OTHER] >= 0.6)
        assert said.confidence == said.odds[OTHER]


def test_documents_help_an_open_question_and_leave_a_clear_one(classifier: Classifier) -> None:
    document = "Insulin and other drugs lower the blood sugar of patients with diabetes."
    odds = [each for each in [classifier.odds(document, SEED)] if each is not None]
    vague = "What does it do, and how much is taken?"
    assert classifier.domain(vague, SEED, odds).odds["MEDICINE"] > classifier.domain(vague, SEED).odds["MEDICINE"] + 0.1
    clear = "Who won the world cup in 1998?"
    assert classifier.domain(clear, SEED, odds).label == classifier.domain(clear, SEED).label == "SPORTS"
    assert classifier.domain("", SEED, odds).label == "MEDICINE", "only the document speaks"


def test_sports_have_no_home_in_v1_and_no_code() -> None:
    nowhere = Said(OTHER, 0.9, False, {OTHER: 0.9})
    some = Said("Fact Retrieval", 1.0, True, {"Fact Retrieval": 1.0})
    assert V1.home("Sports") == OTHER
    assert code_of(V1, nowhere, some, Said("Causal", 1.0, True, {})) is None
    medicine = Said("Medicine", 1.0, True, {"Medicine": 1.0})
    assert code_of(V1, medicine, some, Said("Causal", 1.0, True, {})) == Code(4, 0, 23)


def test_a_modifier_is_as_probable_as_what_it_goes_with(classifier: Classifier) -> None:
    domain = Said("Medicine", 0.75, True, {"Medicine": 0.75, "Science": 0.25})
    task = Said("Fact Retrieval", 0.6, True, {"Fact Retrieval": 0.6, "Causal Inference": 0.4})
    said = classifier.modifier(domain, task, V1)
    assert said.label == "Biochemical"
    assert {name: round(p, 6) for name, p in said.odds.items() if p} == {
        "Biochemical": 0.45,
        "Causal": 0.4,
        "Descriptive": 0.15,
    }


# -- frames ------------------------------------------------------------------------------------------------------


def test_a_frame_keeps_what_is_asked_and_not_what_it_is_about() -> None:
    assert frame("What is the difference between a crow and a raven?") == (
        "what is the difference between a x and a x ?"
    )
    assert frame("Find the file report_final.docx") == "find the file acode"
    assert frame('the phrase "to be or not to be"') == "the phrase aquote"
    assert frame("How is Marie Curie connected to Niels Bohr?") == "how is aname connected to aname ?"
    assert frame("Is it true that it\u2019s 42?") == "is it true that it's anumber ?"
    assert frame("") == frame(" \0 ...") == ""


@given(st.text(max_size=2000))
def test_any_text_has_a_frame(text: str) -> None:
    assert len(frame(text)) <= 4 * 600
