"""What an answer looks like on a terminal: all of it, and nothing that steers the screen."""

import io
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from rolecast.cli import output
from rolecast.cli.markup import SYNTAX, Block

MARKS = """< > </div> <div> <think> <!-- --> & &amp; &#60; * ** _ __ ` ``` ~~~ ~~ # - + 1. 7) > | |-|-| = [ ] ( ) [^1]:
[a]: ! ![x](y) [x](y 'z') \\ \\( \\] http://a.b/?q=1&r=2 python a b é 漢 5"""
MARKDOWN = st.lists(
    st.sampled_from(MARKS.split()) | st.sampled_from([" ", "\n", "\n\n", "    ", "\t"]) | st.text(max_size=3),
    max_size=40,
).map("".join)


def drawn(text: str, width: int) -> str:
    page = io.StringIO()
    Console(file=page, width=width, force_terminal=False, emoji=False).print(Block(text))
    return page.getvalue()


def kept(text: str) -> list[str]:
    return [c for c in text if not c.isspace() and c not in SYNTAX]


@given(MARKDOWN)
@example("| a | b |\n|-|-|\n| 1 | 2 | 3 |")
@example("~~~ this is no language\ntext")
@example("[a]: http://swallowed.example")
@example(">" * 40 + " deep")
@example("9. nine\n4. four")
def test_every_character_of_an_answer_is_drawn_in_its_order(text: str) -> None:
    text = output.visible(text)
    seen = iter(drawn(text, 400))
    assert all(c in seen for c in kept(text)), drawn(text, 400)


@given(MARKDOWN, st.sampled_from([8, 20, 40]))
@example("| one | two | three | four |\n|-|-|-|-|\n| aaaaaaaa | bbbbbbbb | cccccccc | dddddddd |", 8)
def test_a_narrow_screen_drops_no_character(text: str, width: int) -> None:
    text = output.visible(text)
    assert not Counter(kept(text)) - Counter(drawn(text, width))


@pytest.mark.parametrize(
    "text",
    [
        "<div>\n<h1>Hi</h1>\n</div>",
        "Write List<String> too.",
        "a <br> b </b> <!-- c --> <kbd>d</kbd>",
        "<b>nested</b>",
        "&amp; &lt; &#60;",
        "2*3*4 = 24, a**2 + b**2, __init__ and snake_case_name",
        r"\[ E = mc^2 \], \(x\), \frac{a}{b} \\ \,",
        "<think>not thinking</think>",
        "[^1]: a footnote",
        "[ref]: http://example.org/x",
        "Roses are red,\nviolets are blue.",
    ],
)
def test_what_a_browser_would_hide_is_shown_as_written(text: str) -> None:
    for around in ("{}", "- item\n\n  {}", "> {}", "| a |\n|---|\n| {} |"):
        if "|" not in around or "\n" not in text:
            shown = drawn(around.format(text.replace("\n", "\n  " if "item" in around else "\n")), 80)
            assert all(line in shown for line in text.splitlines()), around


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[text](http://evil.example/a?b=1&c=2)", "text (http://evil.example/a?b=1&c=2)"),
        ('[text](http://x "title")', 'text (http://x "title")'),
        ("![alt](http://x/y.png)", "!alt (http://x/y.png)"),
        ("**bold** and *em* and `code`", "bold and em and code"),
        (r"1\. not a list, snake\_case", "1. not a list, snake_case"),
        ("3. three\n4. four", "3. three\n 4. four"),
        ("1. one\n1. two", "1. one\n 1. two"),
        ("```python\nx = 1\n```", "python"),
    ],
)
def test_markdown_is_drawn_and_shows_where_links_lead(text: str, shown: str) -> None:
    assert shown in "\n".join(line.rstrip() for line in drawn(text, 80).splitlines()).replace("  ", " ")


@given(st.text(st.characters(), max_size=80))
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    for c in output.visible(text):
        assert c in "\n\t" or (ord(c) >= 0x20 and not 0x7F <= ord(c) <= 0x9F)
        assert c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        c.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\u009b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("a\r\nb\tc\n", "a\nb\tc\n"),
        ("50 %\r100 %", r"50 %\x0d100 %"),
        ("\ud800", r"\ud800"),
        ("é 漢 👩‍👧 עברית", "é 漢 👩‍👧 עברית"),
    ],
)
def test_control_characters_are_spelled_out_and_writing_is_left_alone(text: str, shown: str) -> None:
    assert output.visible(text) == shown
