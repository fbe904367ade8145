"""What is said of a wrong or pointless section `routing`, with the place where it stands."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from rolecast.backends import table
from rolecast.config.advice import warnings
from rolecast.config.check import check
from rolecast.config.load import load
from rolecast.config.patterns import compiled
from rolecast.config.routing import Cascade, Consulting, Labels, Routing, Rule, When
from rolecast.config.schema import Config, Model
from rolecast.config.units import Seconds
from rolecast.errors import ConfigError

KNOWN = table()
TWO = {"a": ["x"], "b": ["y"]}


def cast(**routing: Any) -> Config:
    models = {"foo": Model(source="hf:o/r"), "bar": Model(source="hf:o/r"), "off": Model(enabled=False)}
    roles: dict[str, list[str | list[str]]] = {"standard": ["foo"], "coding": ["bar"]}
    return Config(models=models, roles=roles, routing=Routing(**routing))


def found(**routing: Any) -> dict[str, str]:
    return {".".join(map(str, trail)): text for trail, text in check(cast(**routing), KNOWN)}


def test_a_section_that_uses_everything_has_no_problem() -> None:
    rules = [
        Rule(use="coding", name="a rule", when=When(matches=r"(?i)\bß\b", language=["de", "FR"], max_tokens=5)),
        Rule(use="foo", when=When(label={"category": "code_review_debugging", "tier": "heavy", "mine": "a"})),
        Rule(use="heavy"),
        Rule(use="translation"),
    ]
    labels = {"mine": Labels(examples=TWO, use={"a": "coding", "b": "light"})}
    assert found(rules=rules, labels=labels) == {}


@pytest.mark.parametrize(
    ("rule", "place", "said"),
    [
        (Rule(use="codng"), "use", "there is no 'codng'; did you mean 'coding'?"),
        (Rule(use="zzzzzz"), "use", "there is no 'zzzzzz'; known here: "),
        (Rule(use=""), "use", "names nobody"),
        (Rule(use="auto:latest"), "use", "names nobody"),
        (Rule(use="off"), "use", "'off' has no enabled model"),
        (Rule(use="image_generation"), "use", "there is no 'image_generation'"),
        (Rule(use="foo", name="x" * 65), "name", "longer than 64 characters"),
        (Rule(use="foo", name="a\nb"), "name", "cannot be printed"),
        (Rule(use="foo", when=When(matches="(")), "when.matches", "the pattern is no regular expression of RE2"),
        (Rule(use="foo", when=When(matches="a(?=b)")), "when.matches", "no looking ahead or behind"),
        (Rule(use="foo", when=When(min_tokens=9, max_tokens=8)), "when.max_tokens", "so no request fits"),
        (Rule(use="foo", when=When(language=["de", "german"])), "when.language.1", "expected two letters"),
        (Rule(use="foo", when=When(label={"categry": "x"})), "when.label.categry", "did you mean 'category'?"),
        (
            Rule(use="foo", when=When(label={"category": "translaton"})),
            "when.label.category",
            "did you mean 'translation'?",
        ),
        (Rule(use="foo", when=When(label={"tier": "medium"})), "when.label.tier", "known here: light, heavy"),
        (Rule(use="foo", when=When(label={"mine": "c"})), "when.label.mine", "there is no label 'c' of mine"),
    ],
)
def test_a_mistake_in_a_rule_is_named_with_its_place(rule: Rule, place: str, said: str) -> None:
    problems = found(rules=[Rule(use="foo"), rule], labels={"mine": Labels(examples=TWO)})
    assert list(problems) == [f"routing.rules.1.{place}"]
    assert said in problems[f"routing.rules.1.{place}"]


def test_two_rules_are_not_called_alike() -> None:
    problems = found(rules=[Rule(use="foo", name="n"), Rule(use="foo"), Rule(use="foo"), Rule(use="foo", name="n")])
    assert list(problems) == ["routing.rules.3.name"]
    assert "already that of rule 1" in problems["routing.rules.3.name"]
    problems = found(rules=[Rule(use="foo", name="2"), Rule(use="foo")])
    assert list(problems) == ["routing.rules.1.name"], "a rule without a name is called by its number"


def test_a_set_cannot_be_called_as_what_feedback_says_besides_labels() -> None:
    assert list(found(labels={"model": Labels(examples=TWO)})) == ["routing.labels.model"]


def test_rules_and_sets_are_not_without_end() -> None:
    assert list(found(labels={f"s{i}": Labels(examples=TWO) for i in range(21)})) == ["routing.labels"]
    assert list(found(rules=[Rule(use="foo")] * 201)) == ["routing.rules"]
    many = Labels(examples={"a": ["x"] * 1000, "b": ["y"] * 1000})
    assert list(found(labels={f"s{i}": many for i in range(2)})) == []
    assert list(found(labels={f"s{i}": many for i in range(3)})) == ["routing.labels"]
    lists = Labels(examples={f"l{i}": ["x"] for i in range(201)})
    assert list(found(labels={"s": lists})) == ["routing.labels.s.examples"]


@pytest.mark.parametrize(
    ("name", "labels", "place", "said"),
    [
        ("category", Labels(examples=TWO), "category", "take another name"),
        ("", Labels(examples=TWO), "", "is called nothing"),
        ("s", Labels(examples={}), "s.examples", "at least two labels"),
        ("s", Labels(examples={"a": ["x"]}), "s.examples", "at least two labels"),
        ("s", Labels(examples={**TWO, "c": []}), "s.examples.c", "about ten prompts"),
        ("s", Labels(examples={**TWO, "c": ["", "  "]}), "s.examples.c", "about ten prompts"),
        ("s", Labels(examples={**TWO, "": ["x"]}), "s.examples.", "is called nothing"),
        ("s", Labels(examples={**TWO, "c" * 65: ["x"]}), f"s.examples.{'c' * 65}", "longer than 64"),
        ("s", Labels(examples={**TWO, "c": ["x", "y" * 20_001]}), "s.examples.c.1", "keep its beginning"),
        ("s", Labels(examples={**TWO, "c": ["x"] * 2000}), "s.examples", "at most 2000"),
        ("s", Labels(examples=TWO, use={"aa": "foo"}), "s.use.aa", "did you mean 'a'?"),
        ("s", Labels(examples=TWO, use={"a": "codin"}), "s.use.a", "did you mean 'coding'?"),
        ("s", Labels(examples=TWO, use={"a": "auto"}), "s.use.a", "names nobody"),
    ],
)
def test_a_mistake_in_labels_is_named_with_its_place(name: str, labels: Labels, place: str, said: str) -> None:
    problems = found(labels={name: labels})
    assert list(problems) == [f"routing.labels.{place}"]
    assert said in problems[f"routing.labels.{place}"]


def test_the_cascade_names_somebody_once_it_is_on() -> None:
    assert found(cascade=Cascade(first="nobody")) == {}
    problems = found(cascade=Cascade(enabled=True, first="stndard", then="coding"))
    assert problems == {"routing.cascade.first": "there is no 'stndard'; did you mean 'standard'?"}


def test_what_is_listed_twice_is_pointed_out() -> None:
    problems = found(strategies=["rules", "learned", "rules"], shortcuts=["tools", "tools"])
    assert list(problems) == ["routing.strategies.2", "routing.shortcuts.1"]


HEAD = "models: {foo: {backend: fake}}\nroles: {standard: [foo]}\nrouting:\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  shortcuts: [greeting, greetings]\n", "rolecast.yaml:4: routing.shortcuts.1: "),
        (
            "  rules:\n    - use: foo\n      when: {tokens: 5}\n",
            "rolecast.yaml:6: routing.rules.0.when.tokens: unknown",
        ),
        ("  rules:\n    - when: {tools: true}\n", "rolecast.yaml:5: routing.rules.0: 'use' is missing"),
        ("  rules:\n    - use: fo\n", "rolecast.yaml:5: routing.rules.0.use: there is no 'fo'; did you mean 'foo'?"),
        (
            "  rules:\n    - use: foo\n      when:\n        matches: '(?<=x)y'\n",
            "rolecast.yaml:7: routing.rules.0.when.matches: the pattern is no regular expression",
        ),
        (
            "  labels:\n    room:\n      examples: {kitchen: [eggs], garden: [tulips]}\n      use: {kitchen: fo}\n",
            "rolecast.yaml:7: routing.labels.room.use.kitchen: there is no 'fo'",
        ),
        (
            "  labels:\n    room:\n      examples:\n        kitchen: [eggs]\n        garden: []\n",
            "rolecast.yaml:8: routing.labels.room.examples.garden: has no examples",
        ),
    ],
)
def test_a_mistake_in_the_file_has_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "rolecast.yaml"
    file.write_text(HEAD + text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0]


# -- what is allowed and does nothing --------------------------------------------------------------------------


def advised(**routing: Any) -> list[str]:
    return [line for line in warnings(cast(**routing), KNOWN) if line.startswith("routing.")]


def test_the_defaults_give_no_advice() -> None:
    assert advised() == []


def test_what_is_never_asked_is_pointed_out() -> None:
    said = advised(rules=[Rule(use="foo")], strategies=["learned"])
    assert len(said) == 1
    assert "routing.strategies has no `rules`" in said[0]
    said = advised(labels={"s": Labels(examples=TWO, use={"a": "foo"})}, strategies=["rules"])
    assert len(said) == 1
    assert "no `learned`" in said[0]
    assert advised(labels={"s": Labels(examples=TWO)}, strategies=["rules"]) == []  # a rule may ask for it
    said = advised(strategies=["rules", "llm"])
    assert len(said) == 1
    assert "role `router`" in said[0]
    said = advised(rules=[Rule(use="foo"), Rule(use="bar")])
    assert said == ["routing.rules.0: fits every request, so the rules after it are asked only when it finds nobody"]
    assert advised(rules=[Rule(use="bar", when=When(tools=True)), Rule(use="foo")]) == []


LOST = {
    r"\bÜberweisung\b": "Ü",
    r"\b发票\b": "发",
    r"(?i)Café\b": "é",
    r"x|\b(?:ü|y)": "ü",
    r"\\\bß": "ß",
}


@pytest.mark.parametrize(("pattern", "letter"), LOST.items())
def test_an_edge_of_a_word_that_re2_never_sees_is_pointed_out_with_what_to_write(pattern: str, letter: str) -> None:
    (said,) = advised(rules=[Rule(use="bar", when=When(matches=pattern)), Rule(use="foo", when=When(tools=True))])
    assert said.startswith("routing.rules.0.when.matches: ")
    assert f"'{letter}'" in said
    before, behind = r"(?:^|\PL)", r"(?:\PL|$)"
    assert before in said
    assert behind in said
    assert not compiled(r"\bÜberweisung\b")("Die Überweisung fehlt")
    search = compiled(f"{before}Überweisung{behind}")
    assert search("Die Überweisung fehlt")
    assert search("Überweisung")
    assert not search("Rücküberweisung, Überweisungen")


@pytest.mark.parametrize("pattern", [r"\bticket\b", r"\bCafé", r"\\bÜ", r"ü\\b", "Überweisung", r"\b", ""])
def test_an_edge_that_re2_sees_needs_no_advice(pattern: str) -> None:
    assert advised(rules=[Rule(use="bar", when=When(matches=pattern, tools=True))]) == []


@pytest.mark.parametrize(
    ("routing", "said"),
    [
        ({"cascade": Cascade(first="foo", then="bar")}, "set `enabled: true`"),
        ({"cascade": Cascade(enabled=True, first="foo", then="foo")}, "the same as `first`"),
        ({"llm": Consulting(timeout=Seconds(2))}, "has no `llm`"),
    ],
)
def test_what_is_set_and_does_nothing_is_pointed_out(routing: dict[str, Any], said: str) -> None:
    (warning,) = advised(**routing)
    assert said in warning


def test_a_cascade_of_two_models_is_no_doubt() -> None:
    assert advised(cascade=Cascade(enabled=True, first="foo", then="bar")) == []


def test_without_numpy_a_person_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numpy" else real(name))
    assert advised() == ["routing.strategies: nothing is learned without numpy: pip install 'rolecast[router]'"]
    assert advised(strategies=["rules"]) == []
    assert len(advised(strategies=["rules"], rules=[Rule(use="foo", when=When(label={"tier": "light"}))])) == 1
    lonely = Config(models={"foo": Model(source="hf:o/r")}, roles={"standard": ["foo"]})
    assert warnings(lonely, KNOWN) == []  # there is nothing to choose


def test_without_re2_a_pattern_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "re2", None)
    problems = found(rules=[Rule(use="foo", when=When(matches="x")), Rule(use="foo", when=When(tools=True))])
    assert problems == {
        "routing.rules.0.when.matches": "needs google-re2, which is not installed: pip install 'rolecast[router]'"
    }
