"""Where `rolecast chat` gets its messages: typed at a terminal, or piped in.

Knows keys, completion and the history file. Knows nothing of models; the names to complete are handed in.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rolecast.cli import output
from rolecast.config import paths

if TYPE_CHECKING:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT = "you> "
CONTINUED = "...> "


class Piped:
    """Messages from a pipe, one per line; a line that ends in a backslash goes on in the next one."""

    def read(self) -> str:
        """The next message. Raises EOFError at the end."""
        lines = [input()]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            try:
                lines.append(input())
            except EOFError:
                break
        return "\n".join(lines)


class Typed:
    """Messages from a terminal: several lines, arrow keys, a history over sessions, Tab for commands and names."""

    def __init__(self, commands: Sequence[str], names: Sequence[str]) -> None:
        from prompt_toolkit import PromptSession

        self._session: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=_keys(),
            completer=_completer(commands, names),
            complete_while_typing=False,
            history=_history(),
            prompt_continuation=CONTINUED,
            enable_suspend=True,
        )

    def read(self) -> str:
        """The next message. Raises EOFError for Ctrl-D, KeyboardInterrupt for Ctrl-C."""
        from prompt_toolkit.formatted_text import ANSI

        styled = "NO_COLOR" not in os.environ
        return self._session.prompt(ANSI(f"\033[1;36m{PROMPT}\033[0m") if styled else PROMPT)


def _keys() -> "KeyBindings":
    """Enter sends, unless a backslash before it asks for a new line as Alt+Enter does."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: "KeyPressEvent") -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: "KeyPressEvent") -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


def _completer(commands: Sequence[str], names: Sequence[str]) -> "Completer":
    from prompt_toolkit.completion import Completer, Completion

    class Words(Completer):
        """Commands at the beginning of a message, names behind `/model`."""

        def get_completions(self, document: "Document", complete_event: "CompleteEvent") -> "Iterable[Completion]":
            typed = document.text_before_cursor
            command, space, begun = typed.partition(" ")
            if not space and typed.startswith("/"):
                fitting, begun = commands, typed
            elif command == "/model":
                fitting = names
            else:
                return
            for word in fitting:
                if word.startswith(begun):
                    yield Completion(word, start_position=-len(begun), display=output.visible(word))

    return Words()


def _history() -> "History":
    """The messages of earlier conversations, in a file that only this user can read; else of this one alone."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    path: Path = paths.home() / "chat_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        if path.is_file():  # not what a link leads to that keeps no history, /dev/null
            path.chmod(0o600)
            path.read_bytes()
    except OSError as error:
        output.warn(f"The history cannot be kept: {output.explain_os_error(error)}")
        return InMemoryHistory()
    return FileHistory(path)
