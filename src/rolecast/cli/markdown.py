"""Shows an answer on the terminal while it grows: Markdown on a screen, plain text in a pipe.

A finished paragraph is printed for good and only the unfinished end is redrawn, so answers longer
than the screen scroll as usual. Knows nothing of models or requests.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rolecast.cli import output
from rolecast.cli.answer import Piece
from rolecast.client import LLMClientError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

REDRAWS_PER_SECOND = 12
_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})")


def show(pieces: Iterable[Piece]) -> None:
    """Print the pieces as they arrive, drawn as Markdown where the screen allows it."""
    if sys.stdout.isatty():
        with _silent_keys():
            _draw(_readable(pieces), output.console())
    else:
        write(pieces)


def write(pieces: Iterable[Piece]) -> None:
    """Print the answer as plain text, without the thinking before it."""
    has_begun = False
    try:
        for piece in _readable(pieces) if sys.stdout.isatty() else pieces:
            if not piece.reasoning:
                sys.stdout.write(piece.text)
                sys.stdout.flush()
                has_begun = True
    except LLMClientError:
        if has_begun:  # what is said of the failure shall not stand on the answer's last line
            sys.stdout.write("\n")
            sys.stdout.flush()
        raise
    sys.stdout.write("\n")
    sys.stdout.flush()


def _readable(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces without what could steer the terminal; a line end that two of them share stays one."""
    held = Piece("")
    for piece in pieces:
        text = piece.text
        if held.text and held.reasoning == piece.reasoning:
            text = held.text + text
        elif held.text:
            yield Piece(output.visible(held.text), held.reasoning)
        held = Piece("\r" if text.endswith("\r") else "", piece.reasoning)
        yield Piece(output.visible(text.removesuffix("\r")), piece.reasoning)
    if held.text:
        yield Piece(output.visible(held.text), held.reasoning)


@contextmanager
def _silent_keys() -> Iterator[None]:
    """Keys pressed meanwhile wait for the next prompt and are not echoed: a ^C would shift the redrawn lines."""
    import termios

    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, OSError, ValueError):  # stdin is no terminal
        yield
        return
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _draw(pieces: Iterable[Piece], console: "Console") -> None:
    from rich.live import Live
    from rich.padding import Padding
    from rich.spinner import Spinner
    from rich.text import Text

    from rolecast.cli.markup import Block

    thought = rest = ""
    spinner = Spinner("dots" if output.is_utf8(console.file) else "line", style="dim")
    live = Live(spinner, console=console, transient=True, refresh_per_second=REDRAWS_PER_SECOND)
    try:
        with live:
            for piece in pieces:
                if piece.reasoning:
                    thought += piece.text
                    live.update(_End(Text(thought, "dim italic")))
                    continue
                if thought:
                    console.print(Text(thought.strip(), "dim italic"), end="\n\n")
                    thought = ""
                done, rest = split_finished(rest + piece.text)
                if done.strip():
                    console.print(Padding(Block(done), (0, 0, 1, 0)))
                live.update(_End(Block(rest, certain=False)))
    finally:
        # Also after Ctrl-C: what was on the screen stays there.
        if thought:
            console.print(Text(thought.strip(), "dim italic"))
        if rest.strip():
            console.print(Block(rest))


class _End:
    """As much of something as the screen holds, from its end: that is where it grows."""

    def __init__(self, whole: "RenderableType") -> None:
        self._whole = whole

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.segment import Segment

        lines = console.render_lines(self._whole, options.update(height=None), pad=False)
        for number, line in enumerate(lines[-max(1, console.height - 1) :]):
            if number:
                yield Segment.line()
            yield from line


def split_finished(text: str) -> tuple[str, str]:
    """Cut where a line begins after a blank one, outside code and lists: what is finished, what may still grow."""
    cut = position = 0
    fence = ""
    after_blank = False
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        if after_blank and not fence and stripped and not line[0].isspace():
            cut = position
        position += len(line)
        if fence:
            if stripped.startswith(fence) and not stripped.strip(fence[0]):
                fence = ""
        elif found := _FENCE.match(line):
            fence = found[1]
        after_blank = not stripped
    return text[:cut], text[cut:]
