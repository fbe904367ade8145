"""Turns as chat templates take them: what agents put between turns keeps its place, and is no system message there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.dialects.turns import settled
from rolecast.values import Message, Part, ToolCall

CALLS = Message("assistant", "", "", (ToolCall("c1", "f"),))
RESULT = Message("tool", "42", tool_call_id="c1")
TOLD = "<system-reminder>\nbe brief\n</system-reminder>"


def says(role: str, text: str) -> Message:
    return Message(role, text)


def kept(messages: list[Message]) -> list[tuple[str, object]]:
    return [(each.role, each.content) for each in settled(messages)]


def test_what_the_system_says_at_the_beginning_is_one_message() -> None:
    given = [says("system", "a"), says("developer", "b"), says("user", "x"), says("user", "y")]
    assert kept(given) == [("system", "a\n\nb"), ("user", "x\n\ny")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([says("user", "x"), says("system", "be brief")], [("user", f"x\n\n{TOLD}")]),
        ([says("user", "x"), says("system", TOLD)], [("user", f"x\n\n{TOLD}")]),
        (
            [says("user", "x"), CALLS, RESULT, says("system", "be brief"), says("assistant", "y")],
            [("user", "x"), ("assistant", ""), ("tool", f"42\n\n{TOLD}"), ("assistant", "y")],
        ),
        (
            [says("user", "x"), CALLS, says("system", "be brief"), RESULT],
            [("user", "x"), ("assistant", ""), ("tool", f"42\n\n{TOLD}")],
        ),
        (
            [says("user", "x"), says("assistant", "y"), says("developer", "be brief"), says("user", "z")],
            [("user", "x"), ("assistant", "y"), ("user", f"z\n\n{TOLD}")],
        ),
        (
            [says("user", "x"), says("assistant", "y"), says("system", "be brief")],
            [("user", "x"), ("assistant", "y"), ("user", TOLD)],
        ),
    ],
)
def test_what_it_says_later_is_told_at_its_place(before: list[Message], after: list[tuple[str, object]]) -> None:
    assert kept(before) == after


def test_pictures_of_the_system_stay_too() -> None:
    picture = Part("image", data="data:image/png;base64,AA==")
    given = [says("user", "x"), Message("system", (Part("text", text="be brief"), picture))]
    assert kept(given) == [("user", (Part("text", text="x"), Part("text", text=TOLD), picture))]


def test_pictures_stay_and_texts_of_nothing_go() -> None:
    picture = Part("image", data="data:image/png;base64,AA==")
    given = [Message("user", (Part("text"), picture)), says("system", "be brief"), Message("user", (Part("text"),))]
    assert kept(given) == [("user", (picture, Part("text", text=TOLD)))]


SOME = st.text("abc", min_size=1, max_size=3)
ROLES = st.sampled_from(["system", "developer", "user", "assistant"])


@given(st.lists(st.builds(says, ROLES, SOME), max_size=8), st.lists(st.builds(says, ROLES, SOME), max_size=4))
def test_a_conversation_that_goes_on_begins_as_before_so_engines_need_not_read_it_again(
    first: list[Message], more: list[Message]
) -> None:
    """All but the last message, which may go on; and templates that want turns in turns get them."""
    before, after = settled([says("user", "x"), *first]), settled([says("user", "x"), *first, *more])
    assert after[: len(before) - 1] == before[:-1]
    assert [each.role for each in after] == [("user", "assistant")[i % 2] for i in range(len(after))]
    assert settled(after) == after
    said = "".join(str(each.content) for each in after)
    assert all(str(each.content) in said for each in (*first, *more))
