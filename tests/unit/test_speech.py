"""What models write into their text: thoughts, control tokens and calls in each form, however the text is cut."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.speech import MOST_CALL, Offer, Piece, Speech, part

OFFER = Offer({"weather": b'{"properties":{"days":{"type":"integer"},"city":{"type":"string"}}}', "clock": b"{}"})
CALL = '<tool_call>{"name":"weather","arguments":{"city":"Bern"}}</tool_call>'

TAGGED = """Sure.
<tool_call>
<function=weather>
<parameter=days>
3
</parameter>
<parameter=city>
3
</parameter>
</function>
</tool_call>"""


def pieces(*texts: str, offer: Offer = OFFER, opened: bool = False) -> list[tuple[str, ...]]:
    """What these texts say, with neighbours of one kind joined."""
    speech = Speech(offer, opened=opened)
    found: list[tuple[str, ...]] = []
    for piece in [piece for text in texts for piece in speech.feed(text)] + speech.end():
        if found and piece.kind != "call" and found[-1][0] == piece.kind:
            found[-1] = (piece.kind, found[-1][1] + piece.text, "")
        else:
            found.append(tuple(piece))
    return found


# -- thoughts and control tokens --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer", "thoughts"),
    [
        ("<think>Hm.</think>\n\nHi", "Hi", "Hm."),
        ("Hi <think>and the rest is swallowed", "Hi", "and the rest is swallowed"),
        ("Hm.</think>Hi", "Hi", "Hm."),
        ("<think>\n\n</think>\n\nHi", "Hi", ""),
        ("<think>a</think>x<think>b</think>y", "xy", "ab"),
        ("<|im_start|>Hi<|im_end|>", "Hi", ""),
        ("Hi<\uff5cend\u2581of\u2581sentence\uff5c>", "Hi", ""),
        (" a < b <| c |> <thin ", " a < b <| c |> <thin ", ""),
        ("ends with <", "ends with <", ""),
        ("Write `<think>` and `</think>`.", "Write `<think>` and `</think>`.", ""),
        ("```xml\n<think>x</think>\n<|im_end|>\n```\nok", "```xml\n<think>x</think>\n<|im_end|>\n```\nok", ""),
        ("a ` alone\n<think>b</think>c", "a ` alone\nc", "b"),
    ],
)
def test_thoughts_and_control_tokens_leave_the_text(text: str, answer: str, thoughts: str) -> None:
    assert part(text)[:2] == (answer, thoughts)


def test_an_answer_that_begins_within_thoughts_is_parted_from_its_first_piece() -> None:
    assert pieces("Hm", ".</th", "ink>\n\nHi", opened=True) == [("thought", "Hm.", ""), ("text", "Hi", "")]


# -- calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "left", "calls"),
    [
        (CALL, "", [("weather", {"city": "Bern"})]),
        (
            '[TOOL_REQUEST]{"name":"weather","arguments":{"city":"Bern"}}[END_TOOL_REQUEST]',
            "",
            [("weather", {"city": "Bern"})],
        ),
        (
            '<tool_call>\n{"name":"a"}\n</tool_call> and <tool_call>{"name":"b"}',
            "and",
            [("a", {}), ("b", {})],
        ),
        ('<tool_call>{"function":{"name":"a","arguments":"{\\"x\\":1}"}}</tool_call>', "", [("a", {"x": 1})]),
        ('<tool_call>{"name":"a","parameters":{"x":1}}</tool_call>', "", [("a", {"x": 1})]),
        ('<tool_call>{"name":"a","arguments":{"x":"</tool_call>"}}</tool_call>', "", [("a", {"x": "</tool_call>"})]),
        ('[TOOL_CALLS][{"name":"a","arguments":{}}, {"name":"b","arguments":{}}]', "", [("a", {}), ("b", {})]),
        ('[TOOL_CALLS]a[ARGS]{"x":1}[TOOL_CALLS]b{"y":2}', "", [("a", {"x": 1}), ("b", {"y": 2})]),
        ('<|python_tag|>{"name":"a","parameters":{"x":1}}<|eom_id|>', "", [("a", {"x": 1})]),
        ('{"name": "weather", "parameters": {"city":"Bern"}}', "", [("weather", {"city": "Bern"})]),
        (
            '<think>Hm</think>\n{"type":"function","name":"clock","parameters":{}}; {"name":"clock","arguments":{}}',
            "",
            [("clock", {}), ("clock", {})],
        ),
        ('<function=weather>{"days":3}</function>', "", [("weather", {"days": 3})]),
        (
            TAGGED,
            "Sure.",
            [("weather", {"days": 3, "city": "3"})],
        ),
        (
            "Sure.\nTool: weather(city=\"Bern, CH\", days=2, exact=True, unit='C', at=None)\nDone.",
            "Sure.\nDone.",
            [("weather", {"city": "Bern, CH", "days": 2, "exact": True, "unit": "C", "at": None})],
        ),
        (
            'Tool: weather(day=2026-01-31, tags=["a", "b)"], city=Bern)',
            "",
            [("weather", {"day": "2026-01-31", "tags": ["a", "b)"], "city": "Bern"})],
        ),
        ("Tool: weather()", "", [("weather", {})]),
        ("Tool: weather(quote='it\\'s')", "", [("weather", {"quote": "it's"})]),
    ],
)
def test_each_form_of_a_call_is_read(text: str, left: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    said = part(text, OFFER)
    assert said.text == left
    assert [(name, json.loads(arguments)) for name, arguments in said.calls] == calls
    assert part(text).calls == ()  # nobody offered anything


@pytest.mark.parametrize(
    "text",
    [
        "Tool: hammer(weight=3)",  # nobody offered a hammer
        "Tool: weather(__import__('os').system('id'))",
        "In prose, Tool: weather(city=Bern)",
        "Tool: weather(is) a word",
        "Tool: weather(city=[1, 2",
        "Tool: weather(city=",
        "Tool: weather(city=" + "[" * 100_000,
        "<tool_call>not json</tool_call>",
        '<tool_call>["name"]</tool_call>',
        '<tool_call>{"name":5}</tool_call>',
        '<tool_call>{"name":"a","arguments":"no object"}</tool_call>',
        '<tool_call>{"name":"a","arguments":{"x":NaN}}</tool_call>',
        '<tool_call>{"name":"a","arguments":{"x":"\\ud83d"}}</tool_call>',
        '<tool_call>{"name":"weather","arguments":{"city":"Be',
        f"```\n{CALL}\n```",
        "[TOOL_REQUEST]" + "[" * 100_000,
        "[TOOL_CALLS] is a token of Mistral's.",
        '{"name": "hammer", "parameters": {}}',
        '{"name": "weather", "age": 3}',
        'Here: {"name": "weather", "parameters": {}}',
        '{"city": "Bern"}',
        "<function=weather>no tags</function>",
        "<tool_call>" * 50,
        "</tool_call> alone",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert part(text, OFFER) == (text, "", ())


def test_a_bare_object_is_no_call_where_json_was_asked_for() -> None:
    text = '{"name": "weather", "parameters": {}}'
    assert part(text, Offer(OFFER.tools, bare=False)).text == text


def test_a_call_that_never_ends_comes_out_as_text_once_it_is_too_long() -> None:
    speech = Speech(OFFER)
    begin = '<tool_call>{"name":"weather","arguments":{"city":"'
    assert speech.feed(begin) == []
    assert speech.feed("x" * MOST_CALL) == [Piece("text", begin + "x" * MOST_CALL)]
    assert pieces("still heard <think>Hm", opened=False) == [("text", "still heard ", ""), ("thought", "Hm", "")]


# -- pieces -----------------------------------------------------------------------------------------------------

WORDS = [
    *("<think>", "</think>", "<|end|>", "<", "|", ">", "a", "</", "think", "`", "```", "\n", " ", ";", "\\", '"', "'"),
    *("<tool_call>", "</tool_call>", '{"name":"clock","arguments":{}}', '{"name":', '"clock"', "}", "{", "[ARGS]"),
    *("[TOOL_CALLS]", "[TOOL_REQUEST]", "[END_TOOL_REQUEST]", "Tool: weather(", "x=1", ")", "<|python_tag|>"),
    *("<function=clock>", "</function>", "<parameter=a>", "</parameter>", "clock", ","),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join), st.data(), st.booleans())
def test_a_text_says_the_same_however_it_is_cut(text: str, data: st.DataObject, opened: bool) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    cut = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = pieces(text, opened=opened)
    assert pieces(*cut, opened=opened) == whole
    assert pieces(*text, opened=opened) == whole


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abc <>|`{}[]()\n\"'=:;/T", max_size=80))
def test_a_text_without_marks_is_said_as_it_is(text: str) -> None:
    assert "".join(each[1] for each in pieces(*text)) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["<think>", "</think>", "<|end|>", "word", "less<", "x"]), max_size=12))
def test_nothing_but_marks_is_lost(words: list[str]) -> None:
    said = "".join(each[1] for each in pieces(*words, offer=Offer()))
    assert said == "".join(word for word in words if not word.startswith("<"))


def test_prose_is_never_held() -> None:
    speech = Speech(OFFER)
    for word in ("The", " weather", " in", " Bern", " is {fine}", " [1]", " and a < b"):
        assert speech.feed(word) == [Piece("text", word)]


ATTACKS = {
    "signs": "<" * 200_000,
    "marks": "<think>" * 30_000,
    "calls": "<tool_call>" * 30_000,
    "nested": "<tool_call>" + '{"a":' * 100_000,
    "strings": '<tool_call>{"' + "x" * 300_000,
    "tags": "<function=clock>" + "<parameter=x>" * 30_000,
    "ends": "<function=clock><" + "</function>" * 30_000,
    "lines": "Tool: weather(a=\n" * 20_000,
    "backquotes": "` " * 50_000,
    "space": " " * 300_000,
    "mistral": "[TOOL_CALLS]" * 20_000,
    "bare": '{"name":' * 20_000,
    "closing": "</think>" * 20_000,
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_texts_are_read_in_steps_that_do_not_grow(text: str) -> None:
    """Twice the text takes about twice the steps: counted as calls of Python's own, which is no clock."""
    few, many = _steps(text[: len(text) // 2]), _steps(text)
    assert many < 3 * few + 5000


def _steps(text: str) -> int:
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        pieces(*(text[i : i + 50] for i in range(0, len(text), 50)))
    finally:
        sys.setprofile(None)
    return count
