# ruff: noqa: RUF001  # letters of other languages are meant
"""What is known of a request from its words: traps, and that nothing a client sends makes it fail."""

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.decision import Facts
from rolecast.routing import code, facts, language, tokens
from rolecast.values import Chat, Completion, Embedding, Message, Part, Sampling, Tool, ToolCall

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "training" / "router" / "prompts"


def look(*messages: Message, **more: object) -> Facts:
    return facts.of_words(Facts("auto", "chat"), Chat("auto", messages, **more))  # type: ignore[arg-type]


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str = "", *calls: str) -> Message:
    return Message("assistant", text, tool_calls=tuple(ToolCall(each, "look") for each in calls))


def result(call: str, text: str = "42") -> Message:
    return Message("tool", text, tool_call_id=call)


# -- nothing makes it fail -----------------------------------------------------------------------------------

_any = st.text(st.characters(categories=None), max_size=60)  # lone surrogates and NULs among them
_parts = st.builds(Part, st.sampled_from(["text", "image", "audio", "video", "file"]), _any, _any, _any)
_calls = st.builds(ToolCall, _any, _any, _any)
_messages = st.builds(
    Message,
    st.sampled_from(["user", "assistant", "system", "developer", "tool", "function", "", "Nobody"]),
    st.one_of(_any, st.lists(_parts, max_size=4).map(tuple)),
    _any,
    st.lists(_calls, max_size=3).map(tuple),
    _any,
    _any,
)
_chats = st.builds(
    Chat,
    _any,
    st.lists(_messages, max_size=8).map(tuple),
    tools=st.lists(st.builds(Tool, _any, _any), max_size=3).map(tuple),
    sampling=st.builds(Sampling, max_tokens=st.one_of(st.none(), st.integers(-5, 2**31))),
)


@given(chat=_chats)
@settings(max_examples=300, deadline=None)
def test_facts_hold_for_any_chat(chat: Chat) -> None:
    found = facts.of_words(Facts("", "chat"), chat)
    assert found.tokens >= 0
    assert found.answer_tokens >= 0
    assert found.turns == sum(message.role == "user" for message in chat.messages)
    assert found.language in {"", "uk", *language.WORDS, *(name for name, _ in language._RANGES)}


@given(text=_any, suffix=_any)
def test_facts_hold_for_any_text_to_go_on_with(text: str, suffix: str) -> None:
    found = facts.of_words(Facts("", "completion"), Completion("", text, suffix=suffix))
    assert (found.text, found.turns) == (text, 0)


def test_tokens_that_are_given_are_counted_and_other_kinds_are_left_alone() -> None:
    assert facts.of_words(Facts("", "completion"), Completion("", (1, 2, 3))).tokens == 3
    given_facts = Facts("", "embeddings")
    assert facts.of_words(given_facts, Embedding("", ("a",))) is given_facts


def test_what_is_pasted_is_cut_in_the_middle_and_counts_whole() -> None:
    long = "begin " + "word " * 100_000 + "end"
    found = look(Message("system", "s" * 50_000), user(long))
    assert found.text.startswith("begin ")
    assert found.text.endswith(" end")
    assert len(found.text) <= facts.HEAD + facts.TAIL + 1
    assert len(found.system) <= facts.SYSTEM_HEAD + facts.SYSTEM_TAIL + 1
    assert 80_000 < found.tokens < 170_000


# -- what is asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        ((user("Sum it up"),), "Sum it up"),
        ((user("first"), assistant("a"), user("second")), "second"),
        ((user("Write a compiler"), assistant("Shall I?"), user("yes")), "Write a compiler"),
        ((user("Write a compiler"), assistant("Shall I?"), user("Yes, please!")), "Yes, please!"),
        ((user("Write a compiler"), assistant("a or b?"), user("b)")), "Write a compiler"),
        ((user("Write a compiler"), assistant("..."), user("go on"), assistant("..."), user("👍")), "Write a compiler"),
        ((user("Schreib einen Brief"), assistant("..."), user("Weiter.")), "Schreib einen Brief"),
        ((user("写一首诗"), assistant("..."), user("继续")), "写一首诗"),
        ((user("yes"),), "yes"),
        ((user("hi"),), "hi"),
        ((user("what is"), assistant("?"), user("2+2=?")), "2+2=?"),
        ((user("How hot is it?"), assistant("", "c1"), result("c1")), "How hot is it?"),
        ((Message("system", "Translate what follows"),), "Translate what follows"),
        ((), ""),
    ],
)
def test_what_is_asked_is_the_last_that_the_user_said_and_that_says_something(
    messages: tuple[Message, ...], asked: str
) -> None:
    assert look(*messages).text == asked


def test_words_beside_a_picture_are_the_text_and_pictures_are_counted_in_the_history_too() -> None:
    picture = Part("image", data="data:image/png;base64," + "A" * 100_000)
    found = look(
        Message("user", (Part("text", text="What is this?"), picture)), assistant("A cat."), Message("user", (picture,))
    )
    assert (found.text, found.images, found.turns) == ("What is this?", 2, 2)
    assert found.tokens < 2_000, "the bytes of a picture are no words"


def test_tools_schema_and_length_are_told() -> None:
    tool = Tool("look_up", "Looks something up", msgspec.Raw(b'{"type":"object","properties":{}}'))
    found = look(user("hi"), tools=(tool, tool), answer_schema=msgspec.Raw(b"{}"), sampling=Sampling(max_tokens=50))
    assert (found.tools, found.schema, found.answer_tokens) == (2, True, 50)
    assert found.tokens > look(user("hi")).tokens + 20
    assert look(user("hi"), sampling=Sampling(max_tokens=-1)).answer_tokens == 0


# -- calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "is_open"),
    [
        ((user("a"),), False),
        ((user("a"), assistant("", "c1")), True),
        ((user("a"), assistant("", "c1"), result("c1")), True),
        ((user("a"), assistant("", "c1", "c2"), result("c1")), True),
        ((user("a"), assistant("", "c1"), result("c1"), user("and be quick")), True),
        ((user("a"), assistant("", "c1"), result("c1"), assistant("It is 42.")), False),
        ((user("a"), assistant("", "c1"), result("c1"), assistant("It is 42."), user("thanks")), False),
        ((user("a"), assistant("b"), user("c")), False),
        ((), False),
    ],
)
def test_a_call_is_open_until_the_model_has_answered_its_result(messages: tuple[Message, ...], is_open: bool) -> None:
    assert look(*messages).open_call is is_open


# -- code ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "what is wrong?\n```python\nx = 1\n```",
        "fix it:\n```\nfor (int i = 0; i < n; i++) { s += a[i]; }\n```",
        "def f(x):\n    return x",
        "explain `squares = [n * n for n in numbers]`",
        "why does SELECT name FROM users WHERE id = 3 give nothing",
        "<div class='a'>hello</div> center this",
        "#include <stdio.h>",
        "const total = items.reduce((a, b) => a + b, 0)",
        "public static void main(String[] args) {",
        "if err != nil {",
        "fn main() {",
        "import numpy as np",
    ],
)
def test_code_is_seen(text: str) -> None:
    assert look(user(text)).code


@pytest.mark.parametrize(
    "text",
    [
        "- first item;\n- second item;\n- third (optional) item;",
        "1. Buy milk;\n2. Call the bank (before noon);\n3. Sleep;",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |",
        "2026-01-02 10:00:00 ERROR [main] com.x.Pool (Pool.java:12) - lost connection\n" * 4,
        "Let x = 3 and y = 4. Find f(x) = x^2 + y if x > 2.",
        "$$\\sum_{i=1}^{n} x_i = \\frac{n(n+1)}{2}$$ prove it",
        "\\begin{align}\na &= b + c \\\\\nd &= e\n\\end{align}",
        "Write a function that sorts a list (of words); it should be fast.",
        "for example: a class of students, if they return late, must import their own food",
        "private regulation can be attributed to: cost; benefits (both) and others;",
        "Select the best answer from the list, where cost = 3.",
        "```text\nDear Sir or Madam,\n```\nmake it shorter",
        "```\nRoses are red\n```\ngo on",
        "Traduire « import duties » : return policy, on-time; while stocks last.",
        "a,b,c\n1,2,3\n4,5,6",
        "",
    ],
)
def test_what_only_looks_like_code_is_none(text: str) -> None:
    assert not look(user(text)).code


def test_a_fence_in_the_middle_of_a_long_text_is_seen() -> None:
    assert look(user("word " * 1000 + "\n```rust\nlet x = 1;\n```\n" + "word " * 500)).code


def rows() -> list[dict[str, str]]:
    return [
        json.loads(line) for path in sorted(PROMPTS.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]


def test_code_in_hand_written_prompts_is_seen_and_hardly_anything_else() -> None:
    seen, all_of = Counter[str](), Counter[str]()
    for row in rows():
        if category := row.get("category"):
            all_of[category] += 1
            seen[category] += code.holds_code(row["text"])
    assert seen["code_completion"] / all_of["code_completion"] > 0.85  # others speak of code without any
    elsewhere = [category for category in all_of if not category.startswith("code_")]
    assert sum(seen[category] for category in elsewhere) <= 5
    assert sum(all_of[category] for category in elsewhere) > 4000


# -- languages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is the capital of Peru?", "en"),
        ("Schreib mir bitte einen kurzen Brief.", "de"),
        ("Explique-moi pourquoi le ciel est bleu.", "fr"),
        ("¿Cómo puedo mejorar mi español?", "es"),
        ("Come si fa una buona carbonara?", "it"),
        ("Você pode me ajudar com o meu trabalho?", "pt"),
        ("Wat is het verschil tussen deze twee?", "nl"),
        ("Jaka jest różnica między nimi?", "pl"),
        ("Jaký je rozdíl mezi nimi?", "cs"),
        ("Bu ikisinin arasındaki fark nedir?", "tr"),
        ("Hãy giải thích cho tôi sự khác nhau", "vi"),
        ("Объясни, почему небо голубое", "ru"),
        ("Поясни, чому небо блакитне, і напиши вірш", "uk"),
        ("天空为什么是蓝色的？", "zh"),
        ("空はなぜ青いのですか", "ja"),
        ("하늘은 왜 파란가요?", "ko"),
        ("لماذا السماء زرقاء؟", "ar"),
        ("आकाश नीला क्यों है?", "hi"),
        ("请翻译成中文：The package has been delayed by two days.", "zh"),
        ("What does this Korean message say? 지금 어디야? 문 앞에 있어.", "en"),
        ("Translate into German: the train is late and nobody knows why", "en"),
        ("¯\\_(ツ)_/¯", ""),
        ("12 * 7", ""),
        ("", ""),
    ],
)
def test_the_language_is_the_one_that_the_asker_writes_in(text: str, name: str) -> None:
    assert language.of_text(text) == name


def test_languages_of_hand_written_prompts_are_told_and_seldom_wrong() -> None:
    right, wrong, of = Counter[bool](), Counter[bool](), Counter[bool]()
    for row in rows():
        if row["lang"] == "sv" or "category" not in row:  # a bare term is of no language, or of several
            continue
        found, english = language.of_text(row["text"]), row["lang"] == "en"
        of[english] += 1
        right[english] += found == row["lang"]
        wrong[english] += found not in ("", row["lang"])
    assert right[False] / of[False] > 0.94  # some are a word or two
    assert wrong[False] / of[False] < 0.02
    assert right[True] / of[True] > 0.91  # of which a good part is code
    assert wrong[True] / of[True] < 0.015


# -- tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("The quick brown fox jumps over the lazy dog, and nobody asks why it does.", (17, 17, 17, 17)),
        (
            "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
            (36, 30),
        ),
        ("Schreibe bitte einen kurzen Brief an meinen Vermieter über die kaputte Heizung.", (29, 22, 18, 24)),
        ("请帮我把这段话翻译成英文，谢谢。", (32, 23, 13, 10)),
    ],
)
def test_an_estimate_lies_among_what_real_tokenizers_count(text: str, counts: tuple[int, ...]) -> None:
    estimate = tokens.of_texts([text], language.of_text(text))
    assert 0.8 * min(counts) <= estimate <= 1.1 * max(counts)


def test_a_long_prompt_is_estimated_from_pieces_of_it() -> None:
    text = (ROOT / "docs" / "routing-model.md").read_text("utf-8")
    whole, doubled = tokens.of_texts([text]), tokens.of_texts([text, text])
    assert 1.7 < doubled / whole < 2.3
    assert tokens.of_texts([]) == 0
