"""The one table of labels: every label of every system is there, and leads to somebody or is told."""

import pytest

from rolecast.config import labels, names, words
from rolecast.config.categories import Categories
from rolecast.config.routing import Labels, Routing
from rolecast.config.schema import Config, Model
from rolecast.decision import Choice, Facts, Hints
from rolecast.routing import build
from rolecast.routing.learned import Learned


def cast(default: str = "standard", **roles: list[str]) -> Config:
    """Each role has the model of its name."""
    models = {model: Model() for role in roles.values() for model in role}
    return Config(models=models, roles=dict(roles), routing=Routing(default=default))


SLM = cast(**{role: [f"m-{role}"] for role in labels.ROLES})
BESTBOX = cast("heavy", heavy=["m-heavy"], light=["m-light"])
ALL = cast("standard", **{role: [f"m-{role}"] for role in (*labels.ROLES, *labels.TIERS)})


def choose(name: str, config: Config, **facts: object) -> Choice:
    return build(names.table(config), config).choose(Facts(name, "chat", **facts))  # type: ignore[arg-type]


def test_every_set_has_as_many_labels_as_the_systems_agreed_on() -> None:
    sizes = {name: len(each) for name, each in labels.SETS.items()}
    assert sizes == {
        "category": 15,
        "role": 4,
        "tier": 2,
        "domain": 21,
        "capability": 13,
        "task": 5,
        "method": 4,
        "destination": 6,
    }
    assert all(len(set(each)) == len(each) for each in labels.SETS.values())


NAMEABLE = (*labels.ROLES, *labels.TIERS, *labels.CATEGORIES, *labels.TWINS, *labels.CAPABILITIES)


@pytest.mark.parametrize("config", [SLM, BESTBOX, ALL], ids=["slm", "bestbox", "all"])
@pytest.mark.parametrize("word", [word for word in NAMEABLE if word != labels.EXTERNAL])
def test_every_label_of_work_can_be_asked_for_as_a_model(word: str, config: Config) -> None:
    assert choose(word, config).model == f"m-{words.find(config, names.table(config), word).name}"  # type: ignore[union-attr]
    assert choose(f"{word}:latest", config) == choose(word, config)


@pytest.mark.parametrize(
    ("word", "slm", "bestbox"),
    [
        ("code_review_debugging", "coding", "heavy"),
        ("code_completion", "coding", "heavy"),
        ("mathematical_reasoning", "reasoning", "heavy"),
        ("legal_document_analysis", "reasoning", "heavy"),
        ("conversational_chat", "standard", "light"),
        ("translation", "standard", "light"),
        ("classification", "standard", "light"),
        ("planning", "reasoning", "heavy"),
    ],
)
def test_a_label_stands_for_the_same_work_in_every_configuration(word: str, slm: str, bestbox: str) -> None:
    assert (choose(word, SLM).role, choose(word, BESTBOX).role) == (slm, bestbox)


def test_pictures_are_made_by_whoever_says_so_and_by_nobody_else() -> None:
    assert Categories.of(ALL).find(labels.EXTERNAL) is None
    assert words.find(ALL, names.table(ALL), labels.EXTERNAL) is None
    painter = cast(standard=["m"], image_generation=["painter"])
    assert choose("image_generation", painter).model == "painter"


@pytest.mark.parametrize(
    "spelled", [*labels.CATEGORIES, *labels.TWINS, " Code Review/Debugging ", "Long Context Tasks"]
)
def test_a_category_is_known_however_it_is_spelled(spelled: str) -> None:
    assert labels.category(spelled) in labels.CATEGORIES
    assert labels.category(labels.category(spelled)) == labels.category(spelled)


@pytest.mark.parametrize("word", ["", "code", "codecompletion", "erp", "auto", "translation please"])
def test_what_is_no_category_is_none(word: str) -> None:
    assert labels.category(word) == ""


def test_a_category_is_the_role_of_its_name_then_a_model_that_lists_it_then_what_it_stands_for() -> None:
    models = {"m": Model(), "coder": Model(), "lister": Model(capabilities=["chat", "translation"])}
    config = Config(models=models, roles={"standard": ["m"], "coding": ["coder"], "code_review_debugging": ["m"]})
    found = {each.name: each.models[0] for each in Categories.of(config)}
    assert (found["code_review"], found["code_generation"], found["translation"]) == ("m", "coder", "lister")
    assert found["summarization"] == "m"
    for category, model in found.items():  # the page tells who really answers
        assert choose(category, config).model == model


def test_what_the_learned_model_says_is_in_the_table() -> None:
    heads = Learned.load().heads
    for name, known in labels.JUDGED.items():
        assert set(heads[name].labels) == set(known)
    assert set(heads) <= labels.RESERVED


@pytest.mark.parametrize("domain", labels.DESTINATIONS)
@pytest.mark.parametrize("spelled", ["{}", "{}_agent", "{}-agent", "  {} "])
def test_every_destination_can_be_forced(domain: str, spelled: str) -> None:
    own = {"destination": Labels(examples={each: ["x"] for each in labels.DESTINATIONS}, use={domain: "coding"})}
    config = Config(models=ALL.models, roles=ALL.roles, routing=Routing(labels=own))
    hints = Hints(metadata={"force_domain": spelled.format(domain).upper()})
    for each, role in ((config, "coding"), (ALL, "standard" if domain == "general" else "heavy")):
        choice = choose("", each, text="hello", hints=hints)
        assert (choice.role, choice.source) == (role, "rule")
        assert choice.reason == f"domain {domain} is forced, so {role}"
