"""The conversation of `rolecast chat`: what was said, the slash commands, one answer after the other.

Knows the keyboard, the history and the screen. The wire is `gateway`'s, drawing is `markdown`'s.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rolecast.cli import markdown, output
from rolecast.cli.answer import Answer, Stats
from rolecast.cli.gateway import Gateway
from rolecast.client import LLMClient, LLMClientError
from rolecast.config import paths
from rolecast.errors import RolecastError

if TYPE_CHECKING:
    from rolecast.client.calls import ChatOptions

HISTORY_LINES = 1000


class Chat:
    """A conversation with one model at a time; the history goes along when the model changes."""

    def __init__(self, gateway: Gateway, client: LLMClient, model: str, system: str, options: "ChatOptions") -> None:
        self._gateway = gateway
        self._client = client
        self._model = model
        self._system = system
        self._options = options
        self._messages: list[dict[str, str]] = []
        self._answers: list[Stats] = []
        self._saved: set[Path] = set()
        self._commands: dict[str, tuple[Callable[[str], None], str]] = {
            "/model": (self._switch, "NAME  talk to another model, role or alias"),
            "/models": (self._list_models, "show what can be talked to"),
            "/system": (self._instruct, "TEXT  set the system prompt; without TEXT remove it"),
            "/clear": (self._clear, "forget the conversation"),
            "/stats": (self._show_stats, "tokens and speed of this conversation"),
            "/save": (self._save, "FILE  write the conversation as Markdown, or as JSON to *.json"),
            "/help": (self._help, "show this list"),
            "/exit": (self._exit, "leave; Ctrl-D does the same"),
        }

    def run(self) -> None:
        """Read and answer until /exit or the end of the input."""
        interactive = sys.stdin.isatty()
        if interactive:
            _open_history(self._completions())
            output.say(f"Talking to [bold]{output.escape(self._model)}[/]. /help shows the commands.\n")
        while True:
            try:
                line = read_line(interactive)
            except EOFError:
                break
            except KeyboardInterrupt:
                output.say("\n[dim]Ctrl-D or /exit leaves.[/]")
                continue
            try:
                if line.startswith("/"):
                    self._obey(line)
                elif line.strip():
                    self._answer(line)
            except EOFError:
                break
        if interactive:
            _save_history()

    def _obey(self, line: str) -> None:
        word, _, argument = line.strip().partition(" ")
        word = {"/quit": "/exit", "/bye": "/exit", "/?": "/help"}.get(word, word)
        if word not in self._commands:
            output.warn(f"{word} is not a command; /help shows them.")
            return
        try:
            self._commands[word][0](argument.strip())
        except RolecastError as error:
            output.warn(error.message)
        except OSError as error:
            output.warn(output.explain_os_error(error))

    def _answer(self, question: str) -> None:
        asked = {"role": "user", "content": question}
        answer = Answer(self._client.stream_chat(self._prompt(asked), self._model, **self._options))
        try:
            markdown.show(answer)
        except KeyboardInterrupt:
            output.say("\n[dim]Stopped.[/]")
        except LLMClientError as error:
            # The question is not kept, so that asking again is the same question, not the second one.
            output.warn(error.message)
            return
        if answer.text:
            self._messages += [asked, {"role": "assistant", "content": answer.text}]
            self._answers.append(answer.stats)
        if answer.text and sys.stdout.isatty():
            output.say(f"[dim]{output.escape(answer.stats.line())}[/]\n")

    def _prompt(self, asked: dict[str, str]) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self._system}] if self._system else []
        return [*system, *self._messages, asked]

    def _names(self) -> dict[str, str]:
        """Everything that can be talked to, with what it is."""
        status = self._gateway.status()
        names = {"auto": "the gateway chooses"}
        names |= {role: f"role: {', '.join(ids)}" for role, ids in status.roles.items() if ids}
        for model in status.models:
            names[model.id] = f"model, {model.state}"
            names |= dict.fromkeys(model.aliases, f"alias of {model.id}")
        return names

    def _completions(self) -> list[str]:
        try:
            return [*self._commands, *self._names()]
        except RolecastError:
            return list(self._commands)

    def _switch(self, name: str) -> None:
        if not name:
            output.say(f"Talking to [bold]{output.escape(self._model)}[/]. `/model NAME` changes it.")
            return
        names = self._names()
        if name not in names:
            raise RolecastError(f"There is no model {name!r}; use one of {', '.join(names)}.")
        self._model = name
        output.say(f"Talking to [bold]{output.escape(name)}[/] ({output.escape(names[name])}).")

    def _list_models(self, _: str) -> None:
        rows = output.table("Name", "What it is")
        for name, what in self._names().items():
            rows.add_row(output.plain(name), output.plain(what))
        output.console().print(rows)

    def _instruct(self, text: str) -> None:
        self._system = text
        output.say("[dim]System prompt set.[/]" if text else "[dim]System prompt removed.[/]")

    def _clear(self, _: str) -> None:
        self._messages.clear()
        output.say("[dim]The conversation is forgotten; the system prompt stays.[/]")

    def _show_stats(self, _: str) -> None:
        if not self._answers:
            output.say("Nothing has been answered yet.")
            return
        rows = output.table(
            "#", "Model", "Prompt", "Answer", "Tokens/s", "First token", right=("#", "Prompt", "Answer")
        )
        for number, one in enumerate(self._answers, 1):
            speed = f"{one.tokens_per_second:.1f}" if one.tokens_per_second else ""
            cells = (number, one.model, one.prompt_tokens, one.completion_tokens, speed)
            rows.add_row(*map(output.plain, cells), f"{one.first_s * 1000:.0f} ms")
        output.console().print(rows)
        tokens = sum(one.completion_tokens for one in self._answers)
        output.say(f"[dim]{tokens} tokens in all.[/]")

    def _save(self, name: str) -> None:
        if not name:
            raise RolecastError("/save needs a file name, such as `/save talk.md`.")
        path = paths.expand(name).resolve()
        if path.exists() and path not in self._saved:
            raise RolecastError(f"{path} exists already; choose another name.")
        path.write_text(self._transcript(path.suffix == ".json"), encoding="utf-8")
        self._saved.add(path)
        output.say(f"Saved to {output.escape(path)}.")

    def _transcript(self, as_json: bool) -> str:
        system = [{"role": "system", "content": self._system}] if self._system else []
        messages = [*system, *self._messages]
        if as_json:
            body = {"model": self._model, "messages": messages}
            return msgspec.json.format(msgspec.json.encode(body), indent=2).decode() + "\n"
        return "\n\n".join(f"## {m['role'].capitalize()}\n\n{m['content'].strip()}" for m in messages) + "\n"

    def _help(self, _: str) -> None:
        for name, (_action, text) in self._commands.items():
            output.say(f"  [bold]{name:<9}[/]{output.escape(text)}")
        output.say("  A line that ends in \\ goes on in the next one. Ctrl-C stops an answer.")

    def _exit(self, _: str) -> None:
        raise EOFError


def read_line(interactive: bool) -> str:
    r"""One message; a line that ends in a backslash goes on in the next one. Raises EOFError at the end."""
    lines = [input(_prompt("you> ") if interactive else "")]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        try:
            lines.append(input(_prompt("...> ") if interactive else ""))
        except EOFError:
            break
    return "\n".join(lines)


def _prompt(text: str) -> str:
    """The prompt in colour; \\001 and \\002 tell readline which characters take no room."""
    return text if output.console().no_color else f"\001\033[1;36m\002{text}\001\033[0m\002"


def _history_file() -> Path:
    return paths.home() / "chat_history"


def _open_history(words: list[str]) -> None:
    """Arrow keys, a history over sessions and Tab for commands and model names."""
    import readline

    def complete(start: str, index: int) -> str | None:
        found = [word for word in words if word.startswith(start)]
        return found[index] if index < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    readline.set_history_length(HISTORY_LINES)
    try:
        readline.read_history_file(_history_file())
    except OSError:
        pass  # the first conversation has none


def _save_history() -> None:
    import readline

    path = _history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        readline.write_history_file(path)
    except OSError as error:
        output.warn(f"The history could not be kept: {output.explain_os_error(error)}")
