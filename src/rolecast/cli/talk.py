"""The commands that talk to a model: `ask` and `chat`."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from rolecast.cli import complete, output
from rolecast.cli.options import Json, Key, Url

if TYPE_CHECKING:
    from rolecast.cli.answer import Answer, Piece
    from rolecast.client.calls import ChatOptions

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Model, role, alias or variant; `auto` lets the gateway choose.",
        autocompletion=complete.names,
    ),
]
System = Annotated[str, typer.Option("--system", "-s", help="System prompt.", show_default=False)]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.", show_default=False)
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", "-t", min=0, max=2, help="0 = always the likeliest word.", show_default=False),
]


def ask(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="The question; `-` stands for stdin, and without a question stdin is asked."),
    ] = None,
    model: Model = "auto",
    system: System = "",
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is complete.")] = False,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    stats: Annotated[bool, typer.Option("--stats", help="Tokens and speed on stderr after the answer.")] = False,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Ask one question; the answer streams to stdout as plain text."""
    from rolecast.cli import markdown
    from rolecast.cli.answer import Answer
    from rolecast.cli.gateway import connect

    question = _question(prompt or [])
    options = _options(max_tokens, temperature)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    with connect(url, key) as gateway, gateway.client() as client:
        if as_json:
            output.print_json(client.chat_completion(messages, model, **options).raw)
            return
        answer = Answer(client.stream_chat(messages, model, **options))
        markdown.write(list(answer) if no_stream else _begun(answer))
    if answer.thought and not answer.text.strip():
        output.warn("The model only thought, and gave no answer; allow a longer one with --max-tokens.")
    if stats:
        output.say(f"[dim]{output.escape(answer.stats.line())}[/]", stderr=True)


def _begun(answer: "Answer") -> "Iterator[Piece]":
    """The answer once it has begun; a person sees meanwhile that something is waited for."""
    pieces = iter(answer)
    person = sys.stdout.isatty() and sys.stderr.isatty()
    with output.waiting("Waiting for the model") if person else nullcontext():
        first = next(pieces, None)
    if first is not None:
        yield first
        yield from pieces


def chat(
    name: Annotated[
        str, typer.Argument(help="The same as --model.", show_default=False, autocompletion=complete.names)
    ] = "",
    model: Model = "auto",
    system: System = "",
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Talk to a model on the terminal; /help inside shows the commands."""
    from rolecast.cli.chat import Chat
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway, gateway.client() as client:
        Chat(gateway, client, name or model, system, _options(max_tokens, temperature)).run()


def _question(words: list[str]) -> str:
    if not words and sys.stdin.isatty():
        output.fail('Nothing was asked: write `rolecast ask "your question"`, or pipe a text into it.')
    given = sys.stdin.read() if not words or "-" in words else ""
    question = " ".join(given if word == "-" else word for word in words) if words else given
    if not question.strip():
        output.fail("The question is empty; write it behind `rolecast ask`, or pipe a text into it.")
    return question


def _options(max_tokens: int | None, temperature: float | None) -> "ChatOptions":
    return {"max_tokens": max_tokens, "temperature": temperature}
