"""Shows an answer on the terminal while it grows: Markdown on a screen, plain text in a pipe.

A finished paragraph is printed for good and only the unfinished end is redrawn, so answers longer
than the screen scroll as usual. Knows nothing of models or requests.
"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rolecast.cli import output
from rolecast.cli.answer import Piece

if TYPE_CHECKING:
    from rich.console import Console

REDRAWS_PER_SECOND = 12


def show(pieces: Iterable[Piece]) -> None:
    """Print the pieces as they arrive."""
    if sys.stdout.isatty():
        _draw(pieces, output.console())
    else:
        _write(pieces)


def _write(pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        if not piece.reasoning:
            sys.stdout.write(piece.text)
            sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()


def _draw(pieces: Iterable[Piece], console: "Console") -> None:
    from rich.live import Live
    from rich.markdown import Markdown
    from rich.padding import Padding
    from rich.spinner import Spinner
    from rich.text import Text

    thought = rest = ""
    live = Live(Spinner("dots", style="dim"), console=console, transient=True, refresh_per_second=REDRAWS_PER_SECOND)
    try:
        with live:
            for piece in pieces:
                if piece.reasoning:
                    thought += piece.text
                    live.update(Text(thought, "dim italic"))
                    continue
                if thought:
                    console.print(Text(thought.strip(), "dim italic"), end="\n\n")
                    thought = ""
                done, rest = split_finished(rest + piece.text)
                if done.strip():
                    console.print(Padding(Markdown(done), (0, 0, 1, 0)))
                live.update(Markdown(rest))
    finally:
        # Also after Ctrl-C: what was on the screen stays there.
        if thought:
            console.print(Text(thought.strip(), "dim italic"))
        if rest.strip():
            console.print(Markdown(rest))


def split_finished(text: str) -> tuple[str, str]:
    """Cut after the last blank line that is outside a code fence: what is finished, what may still grow."""
    cut = position = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        position += len(line)
        stripped = line.strip()
        if fence:
            if stripped.startswith(fence) and not stripped.strip(fence[0]):
                fence = ""
        elif stripped.startswith(("```", "~~~")):
            fence = stripped[:3]
        elif not stripped and line.endswith("\n"):
            cut = position
    return text[:cut], text[cut:]
