"""Rules: the user's own, in their order, and the built-in ones behind them, with what only looks like one."""

import time
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config import names
from rolecast.config.patterns import MOST_TEXT, compiled
from rolecast.config.routing import SHORTCUTS, Labels, Routing, Rule, Shortcut, Strategy, When
from rolecast.config.schema import Config, Model
from rolecast.decision import Choice, Facts, Hints
from rolecast.routing import build
from rolecast.routing.learned import Learned
from rolecast.values import Kind


def cast(*roles: str, default: str = "", **routing: Any) -> Config:
    """Each role has the model of its name; the first is the default."""
    models = {f"m-{role}": Model(source="x") for role in roles}
    models["m-eyes"] = Model(source="x", capabilities=["chat", "vision"])
    made: dict[str, list[str | list[str]]] = {role: [f"m-{role}"] for role in roles}
    return Config(
        models=models, roles={**made, "eyes": ["m-eyes"]}, routing=Routing(default=default or roles[0], **routing)
    )


def rules(*listed: Rule, strategies: tuple[Strategy, ...] = ("rules",)) -> Config:
    return cast("standard", "coding", "reasoning", "router", rules=list(listed), strategies=list(strategies))


def can(model_id: str, need: str) -> bool:
    return need == "vision" and model_id == "m-eyes"


def choose(config: Config, text: str = "", mind: Learned | None = None, kind: Kind = "chat", **facts: Any) -> Choice:
    router = build(names.table(config), config, can, lambda: mind)
    return router.choose(Facts("", kind, text=text, **facts))


@pytest.fixture(scope="module")
def model() -> Learned:
    return Learned.load()


SLM = cast("standard", "router", "reasoning", "coding")
BESTBOX = cast("heavy", "light")
PLAIN = cast("only")


# -- the user's own --------------------------------------------------------------------------------------------


def test_the_first_rule_that_fits_decides_and_says_its_name() -> None:
    config = rules(
        Rule(use="coding", name="invoices", when=When(matches=r"(?i)\binvoice\b")),
        Rule(use="reasoning", when=When(matches="voice")),
    )
    first, second = choose(config, "send the Invoice again"), choose(config, "my voice is gone")
    assert (first.role, first.source, first.reason, first.confidence) == ("coding", "rule", "rule invoices", 1.0)
    assert (second.role, second.reason) == ("reasoning", "rule 2")
    assert choose(config, "nothing of it").source == "default"


@pytest.mark.parametrize(
    ("when", "fits", "fits_not"),
    [
        (When(matches=r"\bhi\b"), {"text": "say hi now"}, {"text": "which"}),
        (When(matches=r"^fix.*!$"), {"text": "fix it!"}, {"text": "prefix it!"}),
        (When(matches="(?i)straße"), {"text": "die STRAßE"}, {"text": "die Strasse"}),
        (When(language=["de", "FR"]), {"language": "fr"}, {"language": ""}),
        (When(min_tokens=100), {"tokens": 100}, {"tokens": 99}),
        (When(min_tokens=1), {"tokens": 1}, {"tokens": 0}),
        (When(max_tokens=100), {"tokens": 100}, {"tokens": 101}),
        (When(max_tokens=100), {"tokens": 1}, {"tokens": 0}),  # nobody counted: nothing is known of it
        (When(tools=True), {"tools": 2}, {"tools": 0}),
        (When(tools=False), {"tools": 0}, {"tools": 1}),
        (When(images=False), {}, {"images": 1}),
        (When(code=True), {"code": True}, {"code": False}),
        (When(code=False), {"code": False}, {"code": True}),
        (When(schema=True), {"schema": True}, {}),
        (
            When(metadata={"team": "a"}),
            {"hints": Hints(metadata={"team": "a", "b": "c"})},
            {"hints": Hints(metadata={"team": "A"})},
        ),
        (When(metadata={"team": "*"}), {"hints": Hints(metadata={"team": ""})}, {"hints": Hints(metadata={"x": "a"})}),
        (
            When(tools=True, code=True, matches="x"),
            {"tools": 1, "code": True, "text": "x"},
            {"tools": 1, "code": True, "text": "y"},
        ),
    ],
)
def test_each_condition_fits_what_it_says_and_nothing_else(
    when: When, fits: dict[str, Any], fits_not: dict[str, Any]
) -> None:
    config = rules(Rule(use="coding", when=when))
    assert choose(config, **fits).reason == "rule 1"
    assert choose(config, **fits_not).reason != "rule 1"


def test_a_rule_without_conditions_fits_everything_but_what_names_somebody() -> None:
    config = rules(Rule(use="coding"))
    assert choose(config).reason == choose(config, "hi").reason == choose(config, kind="completion").reason == "rule 1"
    router = build(names.table(config), config)
    assert router.choose(Facts("reasoning", "chat", text="hi")).source == "role"


def test_a_rule_whose_model_cannot_do_it_falls_through_to_the_next_rule() -> None:
    blind = Rule(use="coding", when=When(images=True))
    config = rules(blind, Rule(use="eyes", name="sees", when=When(images=True)))
    assert choose(config, needs=frozenset({"vision"}), images=1).reason == "rule sees"
    alone = cast("standard", "coding", rules=[blind], strategies=["rules"])
    alone = Config(models=alone.models, roles={**alone.roles, "standard": ["m-eyes"]}, routing=alone.routing)
    seen = choose(alone, needs=frozenset({"vision"}), images=1)
    assert (seen.model, seen.source) == ("m-eyes", "default")


def test_a_rule_may_use_whatever_a_request_may_ask_for() -> None:
    for use, model_id in (("m-coding", "m-coding"), ("heavy", "m-reasoning"), ("code_review", "m-coding")):
        assert choose(rules(Rule(use=use))).model == model_id


def test_a_rule_about_a_label_wants_the_model_to_be_sure(model: Learned) -> None:
    config = rules(Rule(use="coding", name="words", when=When(label={"category": "translation"})))
    assert choose(config, "Translate 'good morning' into Polish.", model).reason == "rule words"
    assert choose(config, "write a python function that merges two sorted lists", model).reason != "rule words"
    assert choose(config, "Translate 'good morning' into Polish.").source == "default"  # nobody can tell
    twin = rules(Rule(use="coding", name="law", when=When(label={"category": "legal_document_analysis"})))
    assert choose(twin, hints=Hints(category="legal_analysis")).reason == "rule law"  # told, so it is sure


def test_rules_are_asked_only_where_the_strategies_say_so_and_in_their_order(model: Learned) -> None:
    rule = Rule(use="reasoning", name="mine")
    code = "write a python function that merges two sorted lists"
    assert choose(rules(rule, strategies=("rules", "learned")), code, model).reason == "rule mine"
    assert choose(rules(rule, strategies=("learned", "rules")), code, model).source == "learned"
    assert choose(rules(rule, strategies=("explicit",)), code, model).source == "default"


_FLAG = st.sampled_from([None, True, False])
_WHEN = st.builds(
    When,
    matches=st.sampled_from(["", "a", r"^\w+$", "[äö]"]),
    language=st.lists(st.sampled_from(["de", "EN"]), max_size=2),
    min_tokens=st.integers(0, 3),
    max_tokens=st.integers(0, 3),
    tools=_FLAG,
    images=_FLAG,
    code=_FLAG,
    schema=_FLAG,
    metadata=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", "*"]), max_size=2),
    label=st.dictionaries(st.just("category"), st.just("translation"), max_size=1),
)
_FACTS = st.fixed_dictionaries(
    {
        "text": st.text(max_size=5),
        "language": st.sampled_from(["", "de", "en"]),
        "tokens": st.integers(0, 4),
        "tools": st.integers(0, 1),
        "images": st.integers(0, 1),
        "code": st.booleans(),
        "schema": st.booleans(),
        "hints": st.builds(
            Hints, category=st.sampled_from(["", "translation", "Translation "]), metadata=st.just({"a": "x", "b": ""})
        ),
    }
)


@given(_WHEN, _FACTS)
def test_a_rule_fits_exactly_when_all_that_it_asks_holds(when: When, facts: dict[str, Any]) -> None:
    hints = facts["hints"]
    holds = [
        not when.matches or compiled(when.matches)(facts["text"]),
        not when.language or facts["language"] in [each.lower() for each in when.language],
        facts["tokens"] >= when.min_tokens,
        not when.max_tokens or 0 < facts["tokens"] <= when.max_tokens,
        *(getattr(when, name) in (None, bool(facts[name])) for name in ("tools", "images", "code", "schema")),
        all(name in hints.metadata and value in ("*", hints.metadata[name]) for name, value in when.metadata.items()),
        not when.label or hints.category.strip().lower() == "translation",
    ]
    config = rules(Rule(use="coding", name="it", when=when))
    assert (choose(config, **facts).reason == "rule it") is all(holds)


# -- patterns --------------------------------------------------------------------------------------------------

SLOW = [
    *(r"(a+)+$", r"(a|aa)+$", r"(.*)*x", r"^(\w+\s?)*$", r"(x+x+)+y", r"(?i)(a?){500}a{500}", r"[a-q][^u-z]{13}x"),
    *(r"(\w{1,500}\s){1,2}", r"((a{0,30}){30})b"),
]


@pytest.mark.parametrize("pattern", SLOW)
@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "aaaa bbbb " * 100_000, "x" * 999_999 + "!"], ids=["a", "words", "x"]
)
def test_no_pattern_holds_up_a_request_of_a_megabyte(pattern: str, text: str) -> None:
    search = compiled(pattern)
    start = time.process_time()
    search(text)
    assert time.process_time() - start < 0.25


@pytest.mark.parametrize(
    "pattern",
    [*("(", "[a", r"\1", "(?=a)", "(?<!a)b", "a{1001}", "*", r"(?P<n", "a" * 1001, r"\p{L}{1,300}"), "\ud800"],
)
def test_what_cannot_be_searched_quickly_is_refused_with_a_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"RE2|longer|repeats"):
        compiled(pattern)


def test_of_a_long_text_its_two_ends_are_searched() -> None:
    search = compiled("needle")
    hay = "hay " * MOST_TEXT
    assert search(f"needle {hay}")
    assert search(f"{hay} needle")
    assert not search(f"{hay} needle {hay}")
    assert compiled(r"^hay.*needle$")(f"hay {'x' * 100} needle")
    assert not compiled("^needle")(f"{hay} needle")


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_pattern_and_any_text_give_an_answer_or_a_refusal(text: str, pattern: str) -> None:
    try:
        search = compiled(pattern)
    except ValueError:
        return
    assert search(text + "\ud800") in (True, False)


# -- what a request says of itself -----------------------------------------------------------------------------


def hinted(config: Config, **metadata: str) -> Choice:
    hints = Hints(
        category=metadata.pop("category", ""),
        channel=metadata.get("channel", ""),
        type=metadata.get("type", ""),
        metadata=metadata,
    )
    return choose(config, "What is the role of glucose in diabetes?", hints=hints)


@pytest.mark.parametrize(
    ("channel", "slm", "bestbox"),
    [
        ("CHAT", "router", "light"),
        ("CODE_TASK", "coding", "heavy"),
        ("code-task", "coding", "heavy"),
        ("SYSTEM_HEALTH", "reasoning", "heavy"),
    ],
)
def test_a_channel_goes_to_its_role(channel: str, slm: str, bestbox: str) -> None:
    for config, role in ((SLM, slm), (BESTBOX, bestbox)):
        choice = hinted(config, channel=channel)
        assert (choice.role, choice.source) == (role, "rule")
        assert choice.reason == f"channel {channel.upper().replace('-', '_')}, so {role}"


def test_what_comes_from_a_chat_starts_at_the_router_if_that_is_asked_at_all() -> None:
    asks = cast("standard", "router", "coding", strategies=["rules", "llm"])
    choice = hinted(asks, channel="CHAT")
    assert (choice.consult, choice.role) == ("router", "standard")
    assert hinted(asks, channel="CODE_TASK").consult == ""
    assert choose(asks, "hi").reason == "a bare greeting, so router"  # which needs no asking
    hints = Hints(channel="CHAT")
    assert choose(asks, "go", hints=hints, open_call=True).reason == "channel CHAT, so router"


@pytest.mark.parametrize("kind", ["routing", "classification", "intent_detection", "asr_cleanup"])
def test_light_types_are_light(kind: str) -> None:
    assert hinted(BESTBOX, type=kind).reason == f"type {kind}, so light"
    assert hinted(SLM, type=kind).role == "standard"


def test_planning_is_heavy() -> None:
    assert (hinted(BESTBOX, type="planning").role, hinted(SLM, type="planning").role) == ("heavy", "reasoning")


@pytest.mark.parametrize("category", ["code_review", "Code Review/Debugging", "code_completion"])
def test_a_task_that_the_caller_names_is_believed_and_told(category: str) -> None:
    choice = hinted(SLM, category=category)
    assert (choice.role, choice.source) == ("coding", "rule")
    assert choice.task == category.lower().replace(" ", "_").replace("/", "_").removesuffix("_debugging")


def test_a_forced_domain_comes_before_a_task_and_that_before_a_channel() -> None:
    own = cast("standard", "coding", "heavy", "erp")
    assert hinted(own, force_domain="erp", category="code_review", channel="SYSTEM_HEALTH").role == "erp"
    assert hinted(own, category="code_review", channel="SYSTEM_HEALTH").role == "coding"
    assert hinted(own, force_domain="crm").role == "heavy"
    assert hinted(own, force_domain="general").role == "standard"


def test_a_domain_of_the_users_own_can_be_forced() -> None:
    sets = {"desk": Labels(examples={"hr": ["a"], "it-ops": ["b"]}, use={"hr": "coding", "it-ops": "reasoning"})}
    config = cast("standard", "coding", "reasoning", labels=sets)
    assert hinted(config, force_domain="HR").reason == "domain hr is forced, so coding"
    assert hinted(config, force_domain="itops").role == "reasoning"


@pytest.mark.parametrize(
    "said",
    [
        {"channel": "CHATTER"},
        {"channel": ""},
        {"type": "text"},
        {"type": "json_object"},
        {"category": "nonsense"},
        {"force_domain": "unheard-of"},
        {"force_domain": "m-coding"},  # a model is asked for by its name only
        {"force_domain": "x" * 100_000},
        {"query_type": "classification"},
    ],
)
def test_hints_that_mean_nothing_here_change_nothing(said: dict[str, str]) -> None:
    choice = hinted(SLM, **said)
    assert (choice.source, choice.role) == ("default", "standard")
    assert len(choice.reason) < 100


def test_a_hint_never_stands_in_a_reason_as_it_was_written() -> None:
    for said in ({"channel": " code_task "}, {"type": "Planning"}, {"force_domain": "ERP_Agent"}):
        (written,) = said.values()
        assert written not in hinted(SLM, **said).reason


def test_pictures_are_not_a_task_of_a_model_of_text() -> None:
    assert hinted(SLM, category="image_generation").source == "default"
    assert hinted(cast("standard", "image_generation"), category="image_generation").role == "image_generation"


# -- what is plain ---------------------------------------------------------------------------------------------


def test_a_bare_greeting_goes_to_the_smallest() -> None:
    assert (choose(SLM, "hi!").role, choose(BESTBOX, "Danke schön!").role) == ("router", "light")
    assert choose(SLM, "hi!").reason == "a bare greeting, so router"
    assert choose(PLAIN, "hi").source == "default"


@pytest.mark.parametrize(
    "facts", [{"tools": 1}, {"open_call": True}, {"schema": True}, {"needs": frozenset({"vision"}), "images": 1}]
)
def test_a_greeting_that_brings_something_is_not_bare(facts: dict[str, Any]) -> None:
    config = Config(models=SLM.models, roles={**SLM.roles, "standard": ["m-standard", "m-eyes"]}, routing=SLM.routing)
    assert choose(config, "hi", **facts).role != "router"


@pytest.mark.parametrize(
    "text", ["which", "Hi, can you debug this function", "thank you letter to my boss", "hello world"]
)
def test_what_only_begins_like_a_greeting_is_not_the_routers(text: str, model: Learned) -> None:
    assert choose(SLM, text, model).role != "router"


def test_tools_never_reach_the_light_one(model: Learned) -> None:
    for text in ("hi", "thanks", "what is the capital of Norway", "classify: good or bad?", "", "ok"):
        for facts in ({"tools": 1}, {"tools": 1, "answer_tokens": 5}):
            assert choose(BESTBOX, text, model, **facts).role == "heavy"
            small_first = cast("light", "heavy")
            assert choose(small_first, text, model, **facts).role == "heavy"


def test_tools_with_code_go_to_who_codes_where_there_is_one(model: Learned) -> None:
    both = cast("standard", "light", "heavy", "coding")
    code = "write a python function that merges two sorted lists"
    assert choose(both, code, model, tools=3).role == "coding"
    assert choose(both, "book a table for two at eight", model, tools=3).reason == "brings tools, so heavy"


def test_thought_is_for_who_reasons_but_not_about_code(model: Learned) -> None:
    assert choose(SLM, "Think step by step: who of the three lies?", model).reason == "asks for thought, so reasoning"
    code = "Think step by step. Write a python function that merges two sorted lists and its unit tests."
    assert choose(SLM, code, model).role == "coding"
    assert choose(SLM, "Think carefully about this.", code=True).source == "default"
    assert choose(PLAIN, "Think step by step: who lies?").source == "default"


def test_looking_at_files_is_no_coding(model: Learned) -> None:
    assert choose(SLM, "look at the files in this folder", model).role == "standard"
    assert choose(SLM, "please fix the bug in the function below\ndef f(x): return x+", model).role == "coding"


def test_a_short_answer_is_light_unless_it_surely_wants_more(model: Learned) -> None:
    assert choose(BESTBOX, "is it spam?", answer_tokens=49).reason == "asks for a short answer, so light"
    assert choose(BESTBOX, "is it spam?", answer_tokens=50).source == "default"
    assert choose(BESTBOX, "is it spam?").source == "default"  # no limit is no wish for a short one
    hard = "Prove that there are infinitely many primes congruent to 3 modulo 4 and give every step."
    assert choose(BESTBOX, hard, model, answer_tokens=10).role == "heavy"


def test_each_built_in_rule_can_be_left_out() -> None:
    cases: dict[Shortcut, tuple[Config, dict[str, Any]]] = {
        "domain": (BESTBOX, {"hints": Hints(metadata={"force_domain": "erp"})}),
        "category": (SLM, {"hints": Hints(category="code_review")}),
        "channel": (SLM, {"hints": Hints(channel="CODE_TASK")}),
        "type": (BESTBOX, {"hints": Hints(type="classification")}),
        "background": (SLM, {"background": True}),
        "greeting": (SLM, {"text": "hi"}),
        "thought": (SLM, {"text": "Think step by step."}),
        "tools": (BESTBOX, {"tools": 1}),
        "files": (SLM, {"text": "look at the files"}),
        "short": (BESTBOX, {"answer_tokens": 5}),
    }
    assert set(cases) == set(SHORTCUTS) == set(get_args(Shortcut))
    for left_out, (config, facts) in cases.items():
        assert choose(config, **facts).source == "rule", left_out
        kept = [name for name in SHORTCUTS if name != left_out]
        without = Config(
            models=config.models,
            roles=config.roles,
            routing=Routing(default=config.routing.default, shortcuts=kept),
        )
        assert choose(without, **facts).source == "default", left_out


def test_the_users_rules_come_before_the_built_in_ones() -> None:
    config = rules(Rule(use="coding", name="mine", when=When(matches="^hi$")))
    assert choose(config, "hi").reason == "rule mine"
    assert choose(config, "hello").reason == "a bare greeting, so router"
