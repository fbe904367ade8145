"""The learned strategy: from what the model is sure of to a name of the configuration, and when it abstains."""

import json
from pathlib import Path
from typing import Any

import pytest

from rolecast.config import labels, names
from rolecast.config.routing import Labels as Wanted
from rolecast.config.routing import Routing
from rolecast.config.schema import Config, Model
from rolecast.decision import Choice, Facts
from rolecast.routing import build
from rolecast.routing.fewshot import Labels
from rolecast.routing.learned import Learned, Opinion

ROUTER = Path(__file__).parents[2] / "training" / "router"


class Sight:
    """What a model would see, as a test says it."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.model = self
        self.heads = {"category", "role", "tier", "domain", "scope", "difficulty"}
        self._said = said

    def look(self, text: str) -> "Sight":
        return self

    def opinion(self, head: str) -> Opinion:
        label, confidence, *others = self._said.get(head, ("", 0.0))
        return Opinion(head, label, confidence, confidence >= 0.6, {label: confidence, **(others[0] if others else {})})

    def probability(self, head: str) -> float:
        return 0.5


def cast(*roles: str, models: dict[str, Model] | None = None, **routing: Any) -> Config:
    made = {f"m-{role}": Model() for role in roles} | (models or {})
    return Config(
        models=made, roles={role: [f"m-{role}"] for role in roles}, routing=Routing(default=roles[0], **routing)
    )


def judge(config: Config, facts: dict[str, Any] | None = None, **said: Any) -> Choice:
    mind: Any = Sight(said)
    return build(names.table(config), config, mind=lambda: mind).choose(Facts("", "chat", text="x", **(facts or {})))


SLM = cast("standard", "router", "reasoning", "coding")
BESTBOX = cast("heavy", "light")
BOTH = cast("standard", *labels.TIERS, "reasoning", "coding", "router")
LONELY = cast("main")


@pytest.mark.parametrize(
    ("category", "slm", "bestbox"),
    [
        ("code_generation", "coding", "heavy"),
        ("code_completion", "coding", "heavy"),
        ("code_review", "coding", "heavy"),
        ("mathematical_reasoning", "reasoning", "heavy"),
        ("scientific_research", "reasoning", "heavy"),
        ("legal_analysis", "reasoning", "heavy"),
        ("long_context", "reasoning", "heavy"),
        ("general_reasoning", "reasoning", "heavy"),
        ("conversational_chat", "standard", "light"),
        ("translation", "standard", "light"),
        ("question_answering", "standard", "heavy"),
        ("summarization", "standard", "heavy"),
        ("creative_writing", "standard", "heavy"),
        ("instruction_following", "standard", "heavy"),
    ],
)
def test_a_category_leads_to_its_role_or_tier_else_to_the_default(category: str, slm: str, bestbox: str) -> None:
    for config, role in ((SLM, slm), (BESTBOX, bestbox), (LONELY, "main")):
        choice = judge(config, category=(category, 0.9))
        assert (choice.role, choice.source, choice.task, choice.confidence) == (role, "learned", category, 0.9)
        assert choice.reason.startswith(f"looks like {category}")
        assert choice.reason.endswith(f", so {role}")


@pytest.mark.parametrize("category", ["question_answering", "summarization", "instruction_following"])
def test_what_is_ordinary_goes_by_its_size(category: str) -> None:
    light = judge(BESTBOX, category=(category, 0.9), tier=("light", 0.8))
    assert (light.role, light.tier, light.reason) == ("light", "light", f"looks like {category} and light, so light")
    assert judge(BESTBOX, category=(category, 0.9), tier=("heavy", 0.8)).role == "heavy"
    assert judge(BESTBOX, category=(category, 0.9), tier=("light", 0.65)).role == "heavy"  # not sure enough
    assert judge(BOTH, category=(category, 0.9), tier=("light", 0.8)).role == "light"
    assert judge(BOTH, category=(category, 0.9)).role == "standard"


def test_reasoning_in_general_is_for_who_reasons_unless_it_is_light() -> None:
    assert judge(SLM, category=("general_reasoning", 0.9), tier=("light", 0.9)).role == "standard"
    assert judge(SLM, category=("general_reasoning", 0.9), tier=("heavy", 0.9)).role == "reasoning"


def test_code_is_never_light() -> None:
    assert judge(BESTBOX, category=("code_generation", 0.9), tier=("light", 0.99)).role == "heavy"


def test_a_role_of_the_categorys_name_or_a_model_that_lists_it_wins() -> None:
    named = cast("standard", "coding", "code_review_debugging")
    choice = judge(named, category=("code_review", 0.9))
    assert (choice.role, choice.reason) == (
        "code_review_debugging",
        "looks like code_review, so code_review_debugging",
    )
    lists = cast("standard", "coding", models={"nllb": Model(capabilities=["chat", "translation"])})
    choice = judge(lists, category=("translation", 0.9))
    assert (choice.model, choice.reason) == ("nllb", "looks like translation")
    off = cast("standard", models={"nllb": Model(capabilities=["chat", "translation"], enabled=False)})
    assert judge(off, category=("translation", 0.9)).role == "standard"


def test_tools_make_it_heavy() -> None:
    asks = cast("light", "heavy", shortcuts=[])
    choice = judge(asks, {"tools": 1}, category=("question_answering", 0.9), tier=("light", 0.9))
    assert choice.role == "heavy"
    assert judge(asks, {"tools": 1}, category=("translation", 0.9)).role == "heavy"


def test_pictures_are_left_to_who_makes_them() -> None:
    choice = judge(SLM, category=("image_generation", 0.9), role=("coding", 0.9))
    assert (choice.source, choice.role, choice.task) == ("default", "standard", "image_generation")
    assert judge(cast("standard", "image_generation"), category=("image_generation", 0.9)).role == "image_generation"


def test_the_surer_of_category_and_role_decides() -> None:
    assert judge(SLM, category=("question_answering", 0.8), role=("reasoning", 0.9)).role == "reasoning"
    assert judge(SLM, category=("question_answering", 0.9), role=("reasoning", 0.8)).role == "standard"
    agreed = judge(SLM, category=("code_review", 0.8), role=("coding", 0.95))
    assert (agreed.reason, agreed.confidence) == ("looks like code_review, so coding", 0.95)


def test_a_role_or_a_tier_alone_decides_too() -> None:
    assert judge(SLM, role=("coding", 0.9)).reason == "looks like work for coding, so coding"
    assert judge(BESTBOX, role=("coding", 0.9)).role == "heavy"
    assert judge(BESTBOX, tier=("light", 0.9)).reason == "looks light"
    assert judge(SLM, tier=("light", 0.9)).source == "default"


def test_code_of_no_sure_kind_goes_to_who_codes_anything() -> None:
    config = cast("general_reasoning", "code_generation", "translation")
    choice = judge(config, category=("code_generation", 0.4), role=("coding", 0.9))
    assert (choice.role, choice.task) == ("code_generation", "code_generation")
    assert judge(config, category=("translation", 0.4), role=("coding", 0.9)).role == "general_reasoning"


@pytest.mark.parametrize("said", [{}, {"category": ("code_review", 0.69)}, {"role": ("coding", 0.5)}])
def test_an_opinion_that_is_not_sure_decides_nothing(said: dict[str, tuple[str, float]]) -> None:
    assert judge(SLM, **said).source == "default"


def test_how_sure_is_the_configurations_to_say() -> None:
    timid = cast("standard", "coding", min_confidence=0.95)
    bold = cast("standard", "coding", min_confidence=0.0)
    assert judge(timid, category=("code_review", 0.94)).source == "default"
    assert judge(bold, category=("code_review", 0.61)).role == "coding"
    assert judge(bold, category=("code_review", 0.59)).source == "default"  # the model itself is not sure


def test_what_is_out_of_scope_is_nobodys() -> None:
    choice = judge(SLM, category=("code_review", 0.99), scope=("out_of_scope", 0.9))
    assert choice.source == "default"


def test_without_a_model_the_default_answers() -> None:
    config = cast("standard", "coding", labels={"own": Wanted(examples={"a": ["x"], "b": ["y"]}, use={"a": "coding"})})
    choice = build(names.table(config), config).choose(Facts("", "chat", text="def f(): pass"))
    assert (choice.source, choice.task, choice.tier, choice.difficulty, choice.labels) == ("default", "", "", -1.0, {})


# -- the model that is shipped ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Learned:
    return Learned.load()


def lines(path: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (ROUTER / path).read_text(encoding="utf-8").splitlines()]


def read(config: Config, text: str, model: Learned, own: dict[str, Labels] | None = None) -> Choice:
    return build(names.table(config), config, mind=lambda: model, labels=lambda: own or {}).choose(
        Facts("", "chat", text=text)
    )


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("I'm thinking about which research group to join, any thoughts?", {"router", "coding"}),
        ("What is a class action lawsuit and who can join one?", {"coding", "router"}),
        ("Review this contract clause: the tenant shall indemnify the landlord for all damages.", {"coding", "router"}),
        ("Name a well-known painter of the baroque", {"reasoning", "coding", "router"}),
        ("How long does a ball python snake live in captivity?", {"coding", "router"}),
        ("Write a code of conduct for our book club", {"coding", "router"}),
        ("What conclusion can we draw from the fall of Rome?", {"coding", "router"}),
        ("translate these requirements into unit tests: the parser must reject empty input", {"router", "reasoning"}),
        ("What is a motion for summary judgment?", {"coding", "router"}),
        ("help me complete the form for a parking permit", {"coding", "router"}),
        ("Which of these chairs did he think was white?", {"coding", "router"}),
    ],
)
def test_words_of_another_category_do_not_lead_there(text: str, never: set[str], model: Learned) -> None:
    assert read(SLM, text, model).role not in never


def test_decisions_on_prompts_it_never_saw_are_mostly_right(model: Learned) -> None:
    rows = [row for row in lines("test/categories.jsonl") if row.get("role")]
    said = [(read(SLM, row["text"], model), row["role"]) for row in rows]
    decided = [(choice, role) for choice, role in said if choice.source != "default"]
    assert len(decided) > 0.75 * len(rows)
    assert sum(choice.role == role for choice, role in decided) > 0.83 * len(decided)
    assert all(len(choice.reason) < 100 for choice, _ in said)


# -- labels of the user's own ----------------------------------------------------------------------------------


def destinations(**more: Any) -> Wanted:
    examples: dict[str, list[str]] = {}
    for row in lines("destinations/examples.jsonl"):
        examples.setdefault(row["destination"], []).append(row["text"])
    return Wanted(examples=examples, use={label: label for label in labels.BUSINESS}, **more)


@pytest.fixture(scope="module")
def desk(model: Learned) -> tuple[Config, dict[str, Labels]]:
    wanted = destinations()
    config = cast("general", *labels.BUSINESS, labels={"destination": wanted})
    return config, {"destination": Labels("destination", model, wanted.examples, wanted.min_confidence)}


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("What is our current inventory level?", "erp"),
        ("Which leads should I focus on this week?", "crm"),
        ("Which customers are at risk of churning?", "crm"),
        ("Schedule a meeting with the team.", "oa"),
    ],
)
def test_ten_examples_make_a_destination(
    desk: tuple[Config, dict[str, Labels]], model: Learned, text: str, destination: str
) -> None:
    config, own = desk
    choice = read(config, text, model, own)
    assert (choice.role, choice.source) == (destination, "learned")
    assert choice.reason == f"looks like {destination} of destination, so {destination}"
    assert choice.labels == {"destination": destination}


def test_a_label_without_a_use_is_only_told(model: Learned) -> None:
    wanted = destinations()
    config = cast("standard", "coding", labels={"destination": Wanted(examples=wanted.examples)})
    own = {"destination": Labels("destination", model, wanted.examples, 0.5)}
    choice = read(config, "Which customers are at risk of churning?", model, own)
    assert choice.labels == {"destination": "crm"}
    assert "destination" not in choice.reason


def test_sure_labels_are_mostly_right_on_prompts_they_never_saw(
    desk: tuple[Config, dict[str, Labels]], model: Learned
) -> None:
    config, own = desk
    rows = lines("destinations/test.jsonl")
    sure = [(choice, row) for row in rows if (choice := read(config, row["text"], model, own)).labels]
    assert len(sure) > 0.35 * len(rows)
    assert sum(choice.labels["destination"] == row["destination"] for choice, row in sure) > 0.7 * len(sure)


def test_a_label_that_is_less_sure_than_asked_decides_nothing(model: Learned) -> None:
    wanted = destinations()
    own = {"destination": Labels("destination", model, wanted.examples, 0.999)}
    config = cast("general", *labels.BUSINESS, labels={"destination": wanted})
    assert read(config, "Which customers are at risk of churning?", model, own).labels == {}


def test_that_it_is_code_may_be_sure_where_the_kind_of_code_is_not() -> None:
    said = judge(SLM, category=("code_review", 0.62, {"code_generation": 0.2}))
    assert (said.role, said.source, round(said.confidence, 2)) == ("coding", "learned", 0.82)
    said = judge(SLM, category=("code_review", 0.62, {"translation": 0.2}))
    assert said.source == "default"
    said = judge(SLM, category=("question_answering", 0.62, {"image_generation": 0.3}))
    assert said.source == "default", "a picture is no ordinary work"


def test_of_nonsense_the_default_is_as_sure_as_that_it_is_none() -> None:
    said = judge(SLM, role=("standard", 0.9), scope=("out_of_scope", 0.8))
    assert (said.source, round(said.confidence, 2)) == ("default", 0.18)
