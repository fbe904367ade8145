"""The Markdown of an answer as rich draws it, with nothing of the answer lost.

What a web page would hide is text here: HTML, entities, the address behind a link, the language of a code block,
backslashes of formulas. Whatever still would not be drawn makes its block appear as it was written.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.escape import escape as markdown_escape
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, ListElement, ListItem, Markdown, MarkdownElement
from rich.segment import Segment
from rich.text import Text

SYNTAX = frozenset("*_`~#>-+|=:[]\\")
"""What Markdown may turn into layout and style."""
OF_FORMULAS = frozenset("()[]{}\\,;:!%&$|^/'\"")
r"""A backslash before one of these is LaTeX more often than Markdown: `\[`, `\\`, `\,`."""
WIDE = 2000
"""Columns at which no table cell breaks, so that the order of characters can be compared."""


class Block:
    """A piece of Markdown that is drawn when it is shown, not before."""

    def __init__(self, text: str, *, certain: bool = True) -> None:
        self._text = text
        self._certain = certain

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The drawn Markdown; with `certain`, what would lose a character appears as it was written."""
        if not self._certain:
            yield _Drawn(_parser().parse(self._text))
            return
        for number, (source, tokens) in enumerate(_parts(self._text)):
            drawn = _Drawn(tokens)
            lines = _lines(drawn, console, options)
            if not _is_whole(source, lines, _lines(drawn, console, options.update(width=WIDE))):
                lines = _lines(Text(source.strip("\n")), console, options)
            if number:
                yield Segment.line()
            for line in lines:
                yield from line
                yield Segment.line()


def _lines(drawn: RenderableType, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
    """What it looks like, without empty lines around it."""
    lines = console.render_lines(drawn, options.update(height=None), pad=False)
    lines = [_trimmed(line) for line in lines]
    full = [at for at, line in enumerate(lines) if _text([line])]
    return lines[full[0] : full[-1] + 1] if full else []


def _trimmed(line: list[Segment]) -> list[Segment]:
    """A line without spaces at its end that nobody sees, so that it fits every terminal and can be copied."""
    while line and not (line[-1].style and line[-1].style.bgcolor):
        kept = line[-1].text.rstrip()
        if kept:
            return [*line[:-1], Segment(kept, line[-1].style)]
        line = line[:-1]
    return line


def _text(lines: list[list[Segment]]) -> str:
    return "".join("".join(segment.text for line in lines for segment in line).split())


def _parts(text: str) -> Iterator[tuple[str, list[Token]]]:
    """Paragraphs, lists, tables and so on, each with its lines; a line that none claims goes with the one before."""
    groups: list[list[Token]] = [[]]
    for token in _parser().parse(text):
        groups[-1].append(token)
        if token.level == 0 and token.nesting <= 0:
            groups.append([])
    starts = [group[0].map[0] if group[0].map else 0 for group in groups[:-1]]
    lines = text.split("\n")
    for begin, end, group in zip([0, *starts[1:]], [*starts[1:], len(lines)], groups, strict=False):
        yield "\n".join(lines[begin:end]), group
    if not starts:
        yield text, []


def _is_whole(source: str, lines: list[list[Segment]], wide: list[list[Segment]]) -> bool:
    """Whether every character is drawn: in its order where there is room, and at the present width at all."""
    wanted = [c for c in source if c not in SYNTAX and not c.isspace()]
    drawn = iter(_text(wide))
    return all(c in drawn for c in wanted) and not Counter(wanted) - Counter(_text(lines))


class _Code(CodeBlock):
    """A code block under the word that names its language."""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> "_Code":
        made = super().create(markdown, token)
        assert isinstance(made, cls)
        made.info = token.info.strip()
        return made

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.info:
            yield Text(self.info, "dim")
        yield from super().__rich_console__(console, options)

    info = ""


class _Item(ListItem):
    """An item that keeps the number it was given."""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> "_Item":
        made = cls()
        made.label = f"{token.info}{token.markup}"
        return made

    label = ""


class _List(ListElement):
    """A list with the numbers that the answer gave: one that goes on after a paragraph does not start again."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.list_type == "bullet_list_open":
            yield from super().__rich_console__(console, options)
            return
        room = max(len(item.label) for item in self.items if isinstance(item, _Item)) + 2
        for item in self.items:
            assert isinstance(item, _Item)
            lines = console.render_lines(item.elements, options.update(width=max(1, options.max_width - room)))
            style = console.get_style("markdown.item.number", default="none")
            for index, line in enumerate(lines):
                yield Segment(f"{item.label if index == 0 else '':>{room - 1}} ", style)
                yield from line
                yield Segment.line()


class _Drawn(Markdown):
    """Rich's Markdown, read by a parser that leaves to the eye what is meant for a browser."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = Markdown.elements | {
        "fence": _Code,
        "ordered_list_open": _List,
        "list_item_open": _Item,
    }
    inlines = Markdown.inlines | {"link", "link_url"}

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = tokens
        for token in tokens:
            if token.children:
                _spell_out_emphasis(token.children)
                token.children = list(_spell_out_links(token.children))


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    parser.disable(["entity", "autolink", "image", "reference"])
    parser.inline.ruler.at("escape", _escape)
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    return parser


def _escape(state: StateInline, silent: bool) -> bool:
    r"""A backslash disappears only where Markdown, not a formula, has use for it."""
    if state.src[state.pos] == "\\" and state.src[state.pos + 1 : state.pos + 2] in OF_FORMULAS:
        if not silent:
            state.pending += state.src[state.pos : state.pos + 2]
        state.pos += 2
        return True
    return markdown_escape(state, silent)


def _spell_out_emphasis(tokens: list[Token]) -> None:
    """`2*3*4` and `__init__` are no emphasis; stars and underscores stay where they are part of a word."""
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.type in ("em_open", "strong_open"):
            opened.append(index)
        elif token.type in ("em_close", "strong_close") and _is_word_part(tokens, start := opened.pop(), index):
            for at in (start, index):
                tokens[at] = Token("text", "", 0, content=tokens[at].markup)


def _is_word_part(tokens: list[Token], start: int, end: int) -> bool:
    if tokens[start].markup[0] == "_":
        return end == start + 2 and re.fullmatch(r"\w+", tokens[start + 1].content) is not None
    before = tokens[start - 1] if start else None
    return before is not None and before.type == "text" and before.content[-1:].isalnum()


def _spell_out_links(tokens: list[Token]) -> Iterator[Token]:
    """The address behind a link stands after it, and a line break of the answer is one on the screen."""
    target = ""
    for token in tokens:
        if token.type == "softbreak":
            yield Token("hardbreak", "br", 0)
        elif token.type == "link_open":
            target = _target(token.attrs)
            yield Token("link_text", "link", 1)
        elif token.type == "link_close":
            yield Token("link_text", "link", -1)
            yield Token("text", "", 0, content=" (")
            yield Token("link_target", "link_url", 1)
            yield Token("text", "", 0, content=target)
            yield Token("link_target", "link_url", -1)
            yield Token("text", "", 0, content=")")
        else:
            yield token


def _target(attributes: dict[str, Any]) -> str:
    title = attributes.get("title")
    return f'{attributes.get("href", "")} "{title}"' if title else str(attributes.get("href", ""))
