"""What tasks of code are made of: fences, the cut of a completion, languages, findings. Nobody is asked here."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.tasks.code import findings
from rolecast.tasks.code.continuation import Filter, Unfenced, Unindented, Unrepeated, unpadded
from rolecast.tasks.code.definitions import Cut
from rolecast.tasks.code.fences import Fences, fenced
from rolecast.tasks.code.language import LANGUAGES, asked_for, language_named, may_begin, written_in

LINES = st.sampled_from(
    [
        "x = 1",
        "    y = 2",
        "",
        "   ",
        "def f(a):",
        "    def g(self):",
        "class A:",
        "@property",
        "# note",
        "```",
        "```python",
        "```js",
        "````",
        "~~~",
        "  ```",
        "}",
        "function f() {",
        "const a = 1;",
        "\tpass",
        "words that say something:",
    ]
)
ANY_TEXT = st.lists(LINES | st.text(max_size=12), max_size=12).flatmap(
    lambda lines: st.sampled_from(["\n", "\r\n"]).map(lambda end: end.join(lines))
)
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def pieces(text: str, sizes: list[int]) -> list[str]:
    """The text in pieces of these sizes, over and over."""
    found, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        found.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return found


def through(filters: list[Filter], text: str, sizes: list[int]) -> str:
    """What comes out of filters, put one behind the other as a completion does."""
    given: list[str] = []
    for piece in pieces(text, sizes):
        for each in filters:
            piece = each.read(piece)
        given.append(piece)
        if any(each.over for each in filters):
            break
    last = ""
    for each in filters:
        last = each.read(last) + each.end()
    return "".join([*given, last])


# -- fences ----------------------------------------------------------------------------------------------------


def parted(text: str, language: str = "python", *, join: bool = False) -> tuple[str, str]:
    fences = Fences(language, join=join)
    given = fences.read(text) + fences.end()
    assert given == fences.code
    return fences.code, fences.said


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n", "Here:\nDone."),
        ("```\nx\n```", "x\n", ""),
        ("~~~py\nx\n```\ny\n~~~\nend", "x\n```\ny\n", "end"),
        ("````python\n```\ninner\n```\n````", "```\ninner\n```\n", ""),
        ("```python\n~~~\nx\n~~~\n```", "~~~\nx\n~~~\n", ""),
        ("1. so\n   ```python\n   if x:\n       y\n   ```\n", "if x:\n    y\n", "1. so"),
        ("```python\r\nx = 1\r\n```\r\nso\r\n", "x = 1\r\n", "so"),
        ("```python\nx = 1", "x = 1", ""),
        ("no fence at all", "", "no fence at all"),
        ("say ```inline``` code", "", "say ```inline``` code"),
        ("```bash\npip install a\n```\n```python\nx\n```", "x\n", "```bash\npip install a\n```"),
        ("```bash\nls\n```\nthat is it", "ls\n", "that is it"),
        ("```python\na\n```\n```python\nb\n```", "a\n", "```python\nb\n```"),
        ("```C++ title=x\nint i;\n```", "int i;\n", ""),
        ("```python\n```not closed\n```", "```not closed\n", ""),
        ("```js\nlet a\n```\n```html\n<p>\n```", "let a\n", "```html\n<p>\n```"),
    ],
)
def test_the_code_is_taken_out_of_its_fence_and_the_rest_is_kept(text: str, code: str, said: str) -> None:
    assert parted(text, "cpp" if "C++" in text else "python") == (code, said)


def test_what_follows_in_the_same_language_is_joined_when_tests_are_wanted() -> None:
    text = "```python\na\n```\nTests:\n```python\nb\n```\n```bash\npytest\n```"
    assert parted(text, join=True) == ("a\n\nb\n", "Tests:\n```bash\npytest\n```")


@given(ANY_TEXT, CUTS, st.booleans())
def test_it_does_not_matter_in_which_pieces_an_answer_comes(text: str, sizes: list[int], join: bool) -> None:
    whole, parts = Fences("python", join=join), Fences("python", join=join)
    assert whole.read(text) + whole.end() == "".join(parts.read(each) for each in pieces(text, sizes)) + parts.end()
    assert (whole.code, whole.said, whole.blocks, whole.open) == (parts.code, parts.said, parts.blocks, parts.open)


@given(ANY_TEXT)
def test_no_word_of_an_answer_is_lost(text: str) -> None:
    code, said = parted(text)
    for line in text.splitlines():
        bare = line.strip()
        assert not bare or bare.startswith(("```", "~~~")) or bare in code or bare in said


@given(st.text(st.sampled_from("`a\n~ "), max_size=60))
def test_any_code_comes_back_out_of_the_fence_it_is_put_in(code: str) -> None:
    lines = code if code.endswith("\n") else f"{code}\n"
    assert parted(f"so:\n{fenced(code, 'python')}\nend")[0] == lines


# -- the cut ---------------------------------------------------------------------------------------------------

CASES = [
    ("python", "def add(a, b):\n    ", "return a + b\n", "\n\ndef sub(a, b):\n    pass\n"),
    ("python", "def add(a, b):\n", "    return a + b\n", "\n@cached\ndef sub(a, b):\n"),
    ("python", "def add(a, b):\n", "    return a + b\n", "\nasync def sub(a, b):\n"),
    ("python", "def f():\n", "    def g():\n        pass\n    return g\n", "class B:\n"),
    ("python", "# sorts\n", "def sort(x):\n    return x\n", "\ndef other():\n    pass"),
    ("python", "de", "f f():\n    pass\n", "def g():\n"),
    ("python", "class A:\n    ", "def a(self):\n        pass\n", "\n    def b(self):\n"),
    ("python", "class A:\n    def a(self):\n        ", "pass\n", "\n    def b(self):\n"),
    ("python", "", "class A:\n    def a(self): ...\n    def b(self): ...\n", "class B:\n"),
    ("python", "def f():\n    return 1\n\n", "def g():\n    return 2\n", "\ndef h():\n"),
    ("javascript", "function add(a, b) {\n  ", "const c = a + b;\n  return c;\n}\n", "\nfunction sub(a) {\n"),
    ("javascript", "function add(a, b) {\n", "  return a;\n}\n", "const x = 1;\n"),
    ("javascript", "function add(a, b) {\n", "  return a;\n}\n", "let x = 1;\n"),
    ("typescript", "function f(): void {\n", "  g();\n}\n", "export interface A {\n"),
    ("java", "class A {\n    int f() {\n        ", "return 1;\n    }\n", "\n    public int g() {\n"),
    ("c", "int f(int a) {\n", "    if (a) {\n        return 1;\n    }\n    return 0;\n}\n", "\nint g(void) {\n"),
    ("go", "func F() int {\n", "\treturn 1\n}\n", "\nfunc G() {\n"),
    ("rust", "fn f() -> i32 {\n", "    1\n}\n", "\n#[test]\nfn g() {\n"),
    ("python", "def f():\r\n    ", "return 1\r\n", "\r\ndef g():\r\n"),
    ("python", "def f():\n    ", "return 1\n", "```\n\nThis function returns 1.\n"),
]


@pytest.mark.parametrize(("language", "prefix", "kept", "rest"), CASES)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_completion_ends_before_the_next_definition(
    language: str, prefix: str, kept: str, rest: str, size: int
) -> None:
    cut = Cut(language, prefix)
    assert through([cut], kept + rest, [size]) == kept
    assert cut.why


@pytest.mark.parametrize(("language", "prefix", "kept", "rest"), CASES)
def test_without_another_definition_a_completion_is_whole(language: str, prefix: str, kept: str, rest: str) -> None:
    cut = Cut(language, prefix)
    assert through([cut], kept, [2]) == kept
    assert not cut.why


def test_a_completion_ends_where_what_stands_behind_the_cursor_begins() -> None:
    suffix = "\n    return total\n"
    cut = Cut("python", "def f(xs):\n    total = 0\n", suffix)
    assert through([cut], "    total = sum(xs)\n    return total\nmore", [4]) == "    total = sum(xs)\n"
    assert cut.why == "suffix"
    chance = Cut("python", "f(", ")\n")  # one bracket says nothing
    assert through([chance], "a,\n)\nb", [1]) == "a,\n)\nb"


@given(st.sampled_from([*(each.name for each in LANGUAGES), "", "cobol"]), ANY_TEXT, ANY_TEXT, ANY_TEXT, CUTS)
def test_a_cut_gives_the_begin_of_what_came_and_loses_nothing_before_its_end(
    language: str, prefix: str, text: str, suffix: str, sizes: list[int]
) -> None:
    cut = Cut(language, prefix, suffix)
    given = through([cut], text, sizes)
    assert text.startswith(given)
    if not cut.why:
        assert given == text
    else:
        rest = text[len(given) :]
        line = next(line for line in rest.splitlines() if line.strip() and not line.lstrip().startswith(("@", "#[")))
        known = {
            "definition": lambda: line,
            "fence": lambda: line.startswith("```"),
            "suffix": lambda: line.strip() in suffix,
        }
        assert known[cut.why]()


@given(ANY_TEXT, ANY_TEXT, CUTS)
def test_a_cut_is_the_same_in_any_pieces(prefix: str, text: str, sizes: list[int]) -> None:
    assert through([Cut("python", prefix)], text, sizes) == through([Cut("python", prefix)], text, [10_000])


# -- what a chat model says --------------------------------------------------------------------------------------

PREFIX = "import os\n\ndef add(a, b):\n    return "


@pytest.mark.parametrize(
    ("prefix", "answer", "meant"),
    [
        (PREFIX, "a + b\n", "a + b\n"),
        (PREFIX, "```python\na + b\n```\nThat adds them.", "a + b\n"),
        (PREFIX, "Here is the rest:\n```\na + b\n```", "a + b\n"),
        (PREFIX, f"```python\n{PREFIX}a + b\n```", "a + b\n"),
        (PREFIX, "def add(a, b):\n    return a + b", "a + b"),
        (PREFIX, "return a + b", "a + b"),
        ("def f():\n    ", "    return 1", "return 1"),
        ("if x:\n  {\n}\n", "}\n", "}\n"),
        ("x = 1\n", "Here: str = 'x'\n", "Here: str = 'x'\n"),
        ("a = `", "x`", "x`"),
        (PREFIX, "", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_fences_politeness_and_repetition_are_taken_off(prefix: str, answer: str, meant: str, size: int) -> None:
    assert through([Unfenced("python"), Unrepeated(prefix)], answer, [size]) == meant


@given(st.text(max_size=30).map(lambda text: f"q{text}"), CUTS)
def test_an_answer_that_is_nothing_but_the_continuation_is_not_changed(answer: str, sizes: list[int]) -> None:
    assert through([Unfenced("python"), Unrepeated("")], answer, sizes) == answer


@given(st.text(st.sampled_from("a \n\t"), max_size=10), st.text(st.sampled_from("b \n\t"), max_size=10), CUTS)
def test_a_space_that_was_kept_from_the_model_is_there_once(prefix: str, answer: str, sizes: list[int]) -> None:
    sent, pad = unpadded(prefix)
    assert sent + pad == prefix
    given = through([Unindented(pad)], answer, sizes)
    assert answer in (given, pad + given)
    if pad and answer.startswith(pad):
        assert prefix + given == sent + answer


# -- languages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("Write a Python function that parses JSON", "python"),
        ("Parse JSON in Python", "python"),
        ("Convert this Java code to Python", "python"),
        ("a function in js that adds", "javascript"),
        ("Write an HTML page about cats", "html"),
        ("sort a list in C", "c"),
        ("vitamin c is good for you", ""),
        ("let's go home before it rusts", ""),
        ("a REST server using Go", "go"),
        ("create main.rs that prints", "rust"),
        ("a c++ class for a stack", "cpp"),
        ("C# class", "csharp"),
        ("what does this do?\ndef f(x):\n    return x", "python"),
        ("```rust\nfn a() {}\n```", "rust"),
        ("add two numbers", ""),
        ("JavaScript, not Java", "javascript"),
    ],
)
def test_the_language_that_is_asked_for_is_seen(prompt: str, language: str) -> None:
    assert asked_for(prompt) == language


@pytest.mark.parametrize(
    ("code", "language"),
    [
        ("def foo(a, b)", "python"),
        ("def f(:\n  eval(x)\n", "python"),
        ("function f(a) {\n  return a", "javascript"),
        ("interface A { }\nconst x: number = 1", "typescript"),
        ("public class A {\n", "java"),
        ("#include <iostream>\nint main() {\n  std::cout << 1;", "cpp"),
        ("#include <stdio.h>\nint main(void) {", "c"),
        ("fn main() {", "rust"),
        ("package main\n\nfunc main() {", "go"),
        ("<!DOCTYPE html>\n<html>", "html"),
        ("SELECT a FROM b", "sql"),
        ("body {\n  color: red;\n}", "css"),
        ("#!/bin/bash\necho hi", "bash"),
        ("def foo\n  puts 1\nend\n", "ruby"),
        ("The quick brown fox jumps over the lazy dog.", ""),
        ("", ""),
    ],
)
def test_the_language_of_code_is_seen(code: str, language: str) -> None:
    assert written_in(code) == language


@pytest.mark.parametrize(
    ("word", "name"), [("C++", "cpp"), (".py", "python"), (" JS ", "javascript"), ("Cobol", "cobol")]
)
def test_names_of_a_language_are_one(word: str, name: str) -> None:
    assert language_named(word) == name


def test_long_texts_are_looked_at_in_a_few_milliseconds() -> None:
    for text in ("def f(x):\n" * 100_000, "a" * 1_000_000, "(" * 1_000_000, "a (" * 300_000, "```" * 300_000):
        began = time.perf_counter()
        written_in(text)
        asked_for(text)
        may_begin(text, "java")
        Cut("java", text[:100_000])
        assert time.perf_counter() - began < 0.5


# -- findings ----------------------------------------------------------------------------------------------------

GOOD = {"severity": "high", "line": 3, "title": "It breaks", "detail": "Always.", "suggestion": "Mend it."}


def whole(*items: object) -> str:
    return json.dumps({"summary": "So so.", "findings": list(items)})


@pytest.mark.parametrize(
    "text",
    [
        whole(GOOD),
        f"Sure:\n```json\n{whole(GOOD)}\n```\nThat is all.",
        whole(GOOD, GOOD)[:-40],
        f'{{"findings": [{json.dumps(GOOD)}, {{"severity": "low", "title": "cut o',
        json.dumps([GOOD]),
        whole({**GOOD, "line": "lines 3-5", "severity": "Error"}),
        whole(GOOD, 7, None, {}, {"severity": "high"}, []),
    ],
)
def test_findings_are_read_from_what_a_model_makes_of_json(text: str) -> None:
    read = findings.read(text)
    assert read is not None
    assert findings.Finding("high", 3, "It breaks", "Always.", "Mend it.") in read[1]
    assert len(read[1]) <= 2


def test_what_is_no_list_of_findings_is_told_from_an_empty_one() -> None:
    assert findings.read("I see nothing wrong with it.") is None
    assert findings.read("{" * 5000) is None
    assert findings.read('{"summary": "fine"}') is None
    assert findings.read(whole()) == ("So so.", [])
    assert findings.read('{"summary": "So so.", "findings": [') == ("So so.", [])


def test_findings_are_filtered_sorted_and_their_lines_checked() -> None:
    def one(severity: findings.Severity, line: int | None, title: str = "x") -> findings.Finding:
        return findings.Finding(severity, line, title, suggestion="do")

    given = [
        one("low", 1),
        one("critical", 9),
        one("info", 2),
        one("high", 2),
        one("high", 1),
        one("high", 1),
        one("low", 0),
    ]
    kept = findings.kept(given, "low", 4, suggestions=False)
    assert [(each.severity, each.line) for each in kept] == [("critical", None), ("high", 1), ("high", 2)]
    kept = findings.kept([one("low", 0, "a"), one("low", 5, "b"), one("medium", 4)], "low", 4, suggestions=True)
    assert [(each.line, each.suggestion) for each in kept] == [(4, "do"), (None, "do"), (None, "do")]
    assert findings.kept(given, "critical", 9, suggestions=True) == [one("critical", 9)]


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda each: st.lists(each)).map(json.dumps))
def test_any_answer_is_read_or_refused(text: str) -> None:
    read = findings.read(text)
    if read is not None:
        assert findings.shown(read[0], findings.kept(read[1], "info", 3, suggestions=True), "info")
