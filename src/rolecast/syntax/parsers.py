"""The parsers: `ast` for Python, `json` for JSON, tree-sitter with one package for each other language.

Each gives the first error of a text, or None. Knows nothing of who asks.
"""

import ast
import importlib
import json
import re
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

LONGEST = 256 * 1024
"""Bytes of a text that is parsed; a longer one is not."""
DEEPEST = 150
"""Brackets within brackets: Python's own parser takes 200, and nobody writes so many."""
DEEP = "it is nested too deep"
HINT = "pip install 'rolecast[tasks]'"
GRAMMARS = {
    "bash": ("tree_sitter_bash", "language"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "css": ("tree_sitter_css", "language"),
    "go": ("tree_sitter_go", "language"),
    "html": ("tree_sitter_html", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
}
"""Languages that tree-sitter reads: the package of the grammar, and its function."""

_BRACKETS = re.compile(r"[()\[\]{}]")


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a text, and the line of it, counted from 1."""

    line: int
    message: str


class Found(msgspec.Struct, frozen=True):
    """What came of parsing. `fault` None = the syntax is right, as far as it was looked at."""

    checked: bool = True
    fault: Fault | None = None
    why: str = ""
    """Why it was not checked."""


def parse(code: str, language: str) -> Found:
    """Read a text in that language."""
    code = code.replace("\r\n", "\n")
    if len(code.encode("utf-8", "replace")) > LONGEST:
        return Found(False, why=f"it is longer than {LONGEST // 1024} KiB")
    if language in _OURS:
        try:
            return Found(fault=_OURS[language](code)) if not _too_deep(code) else Found(False, why=DEEP)
        except (RecursionError, MemoryError):
            return Found(False, why=DEEP)
    if language not in GRAMMARS:
        return Found(
            False, why=f"no parser for {language[:40]} is known here" if language else "its language is unknown"
        )
    try:
        parser = _parser(language)
    except ImportError:
        return Found(False, why=f"its parser is not installed; {HINT}")
    return Found(fault=_first_error(parser.parse(code.encode("utf-8", "replace"))))


def _too_deep(code: str) -> bool:
    """Whether brackets are too deep to be given to a parser that calls itself; those in strings count, too."""
    depth = 0
    for bracket in _BRACKETS.findall(code):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        if depth > DEEPEST:
            return True
    return False


def _python(code: str) -> Fault | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except SyntaxError as error:
        return Fault(max(1, error.lineno or 1), error.msg)
    except ValueError as error:  # a zero byte, a lone surrogate
        return Fault(1, str(error)[:100])
    return None


def _json(code: str) -> Fault | None:
    try:
        json.loads(code)
    except json.JSONDecodeError as error:
        return Fault(error.lineno, error.msg)
    except ValueError:  # a number of thousands of digits
        return Fault(1, "a number is too long")
    return None


_OURS: dict[str, Callable[[str], Fault | None]] = {"python": _python, "json": _json}


@cache
def _parser(language: str) -> Any:
    """A parser of tree-sitter. Raises ImportError without its packages."""
    import tree_sitter

    package, function = GRAMMARS[language]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grammar = tree_sitter.Language(getattr(importlib.import_module(package), function)())
    return tree_sitter.Parser(grammar)


def _first_error(tree: Any) -> Fault | None:
    """The first place that the grammar could not read. Walks with a cursor: a tree may be deeper than the stack."""
    if not tree.root_node.has_error:
        return None
    cursor = tree.walk()
    while True:
        node = cursor.node
        if node.is_missing:
            return Fault(node.start_point[0] + 1, f"{_printable(node.type)} is missing")
        if node.is_error:
            return Fault(node.start_point[0] + 1, "this cannot be read")
        if node.has_error and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return Fault(1, "this cannot be read")


def _printable(word: str) -> str:
    return repr(word) if len(word) < 40 and word.isprintable() else "something"
