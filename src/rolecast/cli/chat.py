"""The conversation of `rolecast chat`: what was said, the slash commands, one answer after the other.

The wire is `gateway`'s, drawing is `markdown`'s, and the keyboard `keyboard`'s.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rolecast.cli import markdown, output
from rolecast.cli.answer import Answer, Stats
from rolecast.cli.gateway import Gateway
from rolecast.cli.keyboard import Piped, Typed
from rolecast.client import LLMClient, LLMClientError
from rolecast.config import paths
from rolecast.errors import RolecastError

if TYPE_CHECKING:
    from rolecast.client.calls import ChatOptions

KEYS = {
    "Enter": "sends; a paste of several lines is one message",
    "Alt+Enter": "begins a new line, as does Enter after a backslash",
    "Up, Tab": "earlier messages; completes commands and names",
    "Ctrl-C": "stops an answer",
}


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
            "/model": (self._switch, "NAME  talk to another model, role, alias or variant"),
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
        if sys.stdin.isatty() and sys.stdout.isatty():
            names = self._completions()
            source: Typed | Piped = Typed(list(self._commands), names)
            if names and self._model not in names and "/" not in self._model and ":" not in self._model:
                output.warn(f"There is no model {self._model!r} here; /models shows what there is.")
            output.say(f"Talking to [bold]{output.escape(self._model)}[/]. /help shows commands and keys.\n")
        else:
            source = Piped()
        while True:
            try:
                self._take(source.read())
            except EOFError:
                break
            except KeyboardInterrupt:
                output.say("[dim]Ctrl-D or /exit leaves.[/]")

    def _take(self, message: str) -> None:
        if re.match(r"/[a-z?]*(?:\s|$)", message):
            self._obey(message)
        elif message.strip():
            self._answer(message)

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
        return names | {v.id: f"variant of {v.variant_of}" for v in status.variants if v.models}

    def _completions(self) -> list[str]:
        try:
            return list(self._names())
        except RolecastError:
            return []

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
        output.show(rows)

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
        output.show(rows)
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
            output.say(f"  [bold]{name:<11}[/]{output.escape(text)}")
        for key, text in KEYS.items():
            output.say(f"  [bold]{key:<11}[/]{output.escape(text)}")

    def _exit(self, _: str) -> None:
        raise EOFError
