"""A completion for a gap never shows twice what stands behind the cursor, and no mark of a gap."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.tasks.code.continuation import Filter
from rolecast.tasks.code.gap import MARKS, Unfollowed, Unmarked


def filled(prefix: str, suffix: str, written: str, size: int = 10_000) -> str:
    filters: list[Filter] = [Unmarked(prefix, suffix), Unfollowed(prefix, suffix)]
    told = ""
    for start in range(0, len(written), size):
        text = written[start : start + size]
        for each in filters:
            text = each.read(text)
        told += text
        if any(each.over for each in filters):
            break
    text = ""
    for each in filters:
        text = each.read(text) + each.end()
    return told + text


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("prefix", "suffix", "written", "meant"),
    [
        ("Not ", "qual|`≠`\n", "equal|`≠`", "e"),  # the rest of the line
        ("foo(a, ", " c=3)\nbar()\n", "b=2, c=3)\nbar()\n", "b=2,"),
        ("    return ", "  # sum\n\nprint(1)\n", "a + b  # sum\n\nprint(1)\n", "a + b"),
        ("<div>", "</div>\n", "hello</div>", "hello"),
        ("numpy.array(", ")\n", "[1, 2, 3])\n", "[1, 2, 3]"),  # a bracket that the editor closed
        ('print("', '")\n', 'hello")', "hello"),
        ("  return ", ";\n}\n", "a + b;\n}\n", "a + b"),
        ("def f(", ":\n    pass\n", "a, b):", "a, b)"),
        ("x = [", "]\n", "a[0], b[1]]", "a[0], b[1]"),
        ("int f() {\n    ", "\n}\n", "return x;\n}\n\nint g() {\n}\n", "return x;\n"),  # the line that closes the block
        ("class A {\n  void f() {\n    ", "\n  }\n}\n", "x();\n  }\n}\n", "x();\n"),
        ("it('works', () => {\n  ", "\n});\n", "expect(f()).toBe(1);\n});\n", "expect(f()).toBe(1);\n"),
        ("foo(\n    a,\n    ", "\n)\n", "b,\n    c\n)\n", "b,\n    c\n"),
        ("print(", ")\n", "str(x)", "str(x)"),  # from here on nothing is repeated
        ("print(str(", ")\n", "x)", "x)"),
        ("x = [", "]\n", "a[0]", "a[0]"),
        ("x = {", "}\n", "'a': {'b': 1}", "'a': {'b': 1}"),
        ("items.map((x) => ", ")\n", "x * f(x)", "x * f(x)"),
        ("print(", ")\n", "':('", "':('"),
        ("void f() {\n  if (x) {\n    ", "\n}\n", "y();\n  }\n  return;", "y();\n  }\n  return;"),
        ("x = ", "", "1\n\n\ny = 2\n", "1\n\n\ny = 2\n"),  # a blank line ends nothing
    ],
)
def test_what_stands_behind_the_cursor_is_not_written_again(
    prefix: str, suffix: str, written: str, meant: str, size: int
) -> None:
    assert filled(prefix, suffix, written, size) == meant


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_of_a_gap_ends_it_and_is_not_shown(mark: str, size: int) -> None:
    assert filled("def f():\n    ", "", f"return 1\n{mark}junk {mark}", size) == "return 1\n"
    about = f"return '{mark}' + x\n"  # code about such marks may have them
    assert filled(f"MARK = '{mark}'\ndef f():\n    ", "", about, size) == about


PIECES = st.lists(
    st.sampled_from(["a", " ", "\n", "(", ")", "}", ";", '"', "<|fim", "_middle|>", "foo", "  "]), max_size=30
)


@given(PIECES.map("".join), PIECES.map("".join), PIECES.map("".join), st.integers(1, 9))
def test_it_is_the_begin_of_what_was_written_in_whatever_pieces_it_comes(
    prefix: str, suffix: str, written: str, size: int
) -> None:
    told = filled(prefix, suffix, written, size)
    assert written.startswith(told)
    assert told == filled(prefix, suffix, written)


def test_long_texts_take_no_time() -> None:
    begun = time.monotonic()
    for written in ("f(x)\n" * 4_000, ")" * 20_000, "(" * 20_000, "<" * 20_000, " " * 20_000):
        filled("print(" * 1000, ")\n" * 1000, written, 50)
    assert time.monotonic() - begun < 10
