"""What is said of a wrong section `tasks`, with the place where it stands; and what a change of a row makes of it."""

from pathlib import Path
from typing import Any

import pytest

from rolecast.config.check import check
from rolecast.config.load import load
from rolecast.config.schema import Config, Model
from rolecast.config.task_rows import built_in, merged
from rolecast.config.tasks import Option, Task
from rolecast.errors import ConfigError


def cast(**tasks: Task) -> Config:
    models = {"foo": Model(backend="fake"), "off": Model(backend="fake", enabled=False)}
    return Config(models=models, roles={"standard": ["foo"]}, tasks=tasks)


def found(tasks: dict[str, Task]) -> dict[str, str]:
    return {".".join(map(str, trail)): text for trail, text in check(cast(**tasks))}


def test_a_section_that_uses_everything_has_no_problem() -> None:
    options = {
        "season": Option(kind="word", values=["spring"], default="spring", says={"spring": "Spring.", "*": "{value}"}),
        "mood": Option(kind="word", values=["sad"], open=True, default="wild", says="Mood: {value}."),
        "rhyme": Option(kind="flag", default=True, says={"true": "Rhyme.", "false": "Do not rhyme."}),
        "lines": Option(kind="number", default=3, says="{value} lines."),
        "about": Option(kind="texts", default=["rain", "sun"], puts="About:\n{value}", also=["topic"]),
        "draft": Option(puts="Draft: {value}", says="Improve the draft."),
    }
    tasks = {
        "haiku": Task(system="Write a haiku.", model="standard", options=options, ends="Enjoy.", max_tokens=0),
        "Code Review/Debugging": Task(model="foo", temperature=0.0),
        "question_answering": Task(options={"depth": Option(default=""), "answer_format": Option(default="direct")}),
        "erp": Task(model="foo"),
        "judge": Task(system="Judge.", play="answers"),
    }
    assert found(tasks) == {}
    assert found({}) == {}


def option(**fields: Any) -> dict[str, Task]:
    return {"haiku": Task(system="x", options={"o": Option(**fields)})}


@pytest.mark.parametrize(
    ("tasks", "place", "said"),
    [
        (
            {"haiku": Task(system="x", model="fooo")},
            "haiku.model",
            "there is no model, role or variant 'fooo'; did you",
        ),
        (
            {"haiku": Task(system="x", play="answrs")},
            "haiku.play",
            "there is no play 'answrs'; did you mean 'answers'?",
        ),
        ({"haiku": Task(system="x", play="os:system")}, "haiku.play", "known here: answers, code_completion"),
        ({"haiku": Task(description="x")}, "haiku", "says nothing; give it a `system` prompt"),
        ({"qestion_answering": Task(max_tokens=5)}, "qestion_answering", "did you mean the task 'question_answering'?"),
        ({"auto": Task(system="x")}, "auto", "is reserved"),
        ({"": Task(system="x")}, "", "is reserved"),
        ({"h\u00e4iku": Task(system="x")}, "h\u00e4iku", "printable ASCII"),
        ({"x" * 65: Task(system="x")}, "x" * 65, "at most 64"),
        (
            {"code_review": Task(model="foo"), "code_review_debugging": Task(model="foo")},
            "code_review_debugging",
            "is the same task as 'code_review'",
        ),
        ({"Haiku": Task(system="x"), "haiku": Task(system="y")}, "haiku", "is the same task as 'Haiku'"),
        (option(kind="word"), "haiku.options.o", "a `word` needs `values`"),
        (option(values=["a"]), "haiku.options.o.values", "set `kind: word`"),
        (option(kind="word", values=["a", "Free Verse"]), "haiku.options.o.values.1", "small letters, with _"),
        (option(kind="word", values=["spring"], default="sprng"), "haiku.options.o.default", "did you mean 'spring'?"),
        (option(kind="word", values=["a"], default=3), "haiku.options.o.default", "values are: a"),
        (option(kind="number", default=float("nan")), "haiku.options.o.default", "give one"),
        (option(kind="number", default=float("-inf")), "haiku.options.o.default", "give one"),
        (option(kind="flag", default="yes"), "haiku.options.o.default", "say true or false"),
        (option(kind="number", default=True), "haiku.options.o.default", "give one"),
        (option(kind="texts", default=[1]), "haiku.options.o.default", "a list of texts"),
        (option(default=["a"]), "haiku.options.o.default", "in quotes"),
        (option(puts="About that"), "haiku.options.o.puts", "has no {value}"),
        (option(kind="word", values=["a"], says="Do."), "haiku.options.o.says", "every value says the same"),
        (option(kind="word", values=["abc"], says={"abd": "x"}), "haiku.options.o.says.abd", "did you mean 'abc'?"),
        (option(kind="flag", says={"yes": "x"}), "haiku.options.o.says.yes", "values are: true, false"),
        (option(says={"a": "x"}), "haiku.options.o.says.a", "are for a `word` or a `flag`"),
        (option(also=["prompt"]), "haiku.options.o", "'prompt' is a field that every request has"),
        (
            {"haiku": Task(system="x", options={"a": Option(says="{value}"), "b": Option(says="{value}", also=["a"])})},
            "haiku.options.b",
            "are both called 'a'",
        ),
        (
            {"question_answering": Task(options={"depth": Option(default="dep")})},
            "question_answering.options.depth.default",
            "did you mean 'deep'?",
        ),
        (
            {"question_answering": Task(options={"mine": Option(also=["depth"], says="{value}")})},
            "question_answering.options.mine",
            "'depth' and 'mine' are both called 'depth'",
        ),
        (
            {"question_answering": Task(options={"depht": Option(default="deep")})},
            "question_answering.options.depht",
            "is a new option of question_answering that does nothing; did you mean 'depth'?",
        ),
        (
            {"legal_analysis": Task(options={"quux": Option(kind="flag")})},
            "legal_analysis.options.quux",
            "that does nothing; give it a sentence in `says`",
        ),
        (
            {"haiku": Task(system="x", options={f"o{i}": Option(says="{value}") for i in range(51)})},
            "haiku.options",
            "there are 51 options",
        ),
    ],
    ids=str,
)
def test_a_wrong_task_is_told_with_its_place(tasks: dict[str, Task], place: str, said: str) -> None:
    problems = found(tasks)
    assert set(problems) == {f"tasks.{place}"}
    assert said in problems[f"tasks.{place}"]


def test_new_options_that_say_or_put_something_or_are_passed_on_are_right() -> None:
    assert not found({"legal_analysis": Task(options={"mine": Option(says="{value}"), "text": Option(puts="{value}")})})
    assert not found({"image_generation": Task(options={"steps": Option(kind="number")})})


def test_a_kind_of_option_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    file.write_text("tasks:\n  haiku:\n    system: Write.\n    options:\n      season: {kind: wrod}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, env={})
    (problem,) = [each for each in caught.value.problems if ".kind" in each]
    assert "expected one of text, texts, word, flag, number, got 'wrod'; did you mean word?" in problem


def test_a_problem_has_the_line_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    file.write_text(
        "models:\n  m: {backend: fake}\nroles:\n  standard: [m]\ntasks:\n  haiku:\n    system: Write.\n"
        "    options:\n      season:\n        kind: word\n        values: [spring]\n        default: sumer\n"
        "  translation:\n    temperture: 1\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file, env={})
    assert any(f"{file}:14: tasks.translation.temperture: unknown setting" in each for each in caught.value.problems)
    file.write_text(file.read_text().replace("temperture", "temperature"))
    with pytest.raises(ConfigError) as caught:
        load(file, env={})
    assert list(caught.value.problems) == [
        f"{file}:12: tasks.haiku.options.season.default: 'sumer' is none of its values; values are: spring"
    ]


def test_a_change_wins_field_by_field_and_word_by_word() -> None:
    ours = built_in()["general_reasoning"]
    changes = Task(
        temperature=0.0,
        persona=False,
        options={
            "depth": Option(default="deep", says={"deep": "Very deep."}),
            "reasoning_type": Option(default=""),
            "mine": Option(says="{value}"),
        },
    )
    task = merged({"general_reasoning": changes})["general_reasoning"]
    assert (task.system, task.max_tokens, task.top_p) == (ours.system, ours.max_tokens, ours.top_p)
    assert (task.temperature, task.persona) == (0.0, False)
    depth = task.options["depth"]
    assert (depth.kind, depth.values, depth.default) == ("word", ["shallow", "medium", "deep"], "deep")
    assert depth.says == {"shallow": "Be brief.", "deep": "Very deep."}
    assert task.options["reasoning_type"].default == ""
    assert list(task.options)[-1] == "mine"
    assert built_in()["general_reasoning"] is ours


def test_tasks_of_ones_own_come_behind_those_that_are_brought() -> None:
    assert list(merged({"Haiku": Task(system="x")})) == [*built_in(), "haiku"]
