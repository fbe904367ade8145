"""`route`: who would answer a prompt, and why; and what a configuration would have done with requests of the past.

Knows how to ask and how to show it. The gateway chooses, or the configuration alone where none runs.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolecast.cli import complete, output
from rolecast.cli.options import ConfigFile, Json, Key, Url
from rolecast.config.routing import PREFERENCES

if TYPE_CHECKING:
    from rolecast.pages.routing import NotRouted
    from rolecast.turn.rehearsal import Routed

MANY = 200
"""With so many prompts a person is shown that it goes on."""
SHOWN = 60
"""Characters of a prompt that a table shows."""


def route(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT...", help="What would be asked; each is one prompt, and `-` stands for stdin."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="A prompt on each line; a line that begins with { is a body as JSON."),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="The name that would be asked for.", autocompletion=complete.names),
    ] = "auto",
    prefer: Annotated[str, typer.Option("--prefer", help="quality, speed, cost or balanced.", show_default=False)] = "",
    backtest: Annotated[
        str,
        typer.Option(
            "--backtest",
            metavar="FILE|ledger",
            help="Replay requests of the past: lines of JSON with labels, or what the ledger holds.",
            show_default=False,
        ),
    ] = "",
    config: ConfigFile = None,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Tell who would answer a prompt, and why; nothing is run.

    The running gateway is asked. With --config, or where none runs, that configuration decides, with no model loaded.
    --backtest replays requests by the present configuration, and beside it by that of --config.
    """
    if backtest:
        from rolecast.cli import backtest as replay

        if prompts or file:
            output.fail("--backtest takes its requests from a file or the ledger; leave the prompts out.", code=2)
        replay.run(backtest, config, as_json=as_json)
        return
    if prefer and prefer not in PREFERENCES:
        output.fail(f"--prefer must be one of {', '.join(PREFERENCES)}.", code=2)
    bodies = [_body(text, model, prefer) for text in _given(prompts or [], file)]
    found = _asked(bodies, config, url, key, quiet=as_json)
    if as_json:
        output.print_json(found[0] if len(found) == 1 else {"routes": found})
    elif len(found) == 1:
        _show_one(found[0])
    else:
        _show_all(bodies, found)
    if any("error" in _plain(each) for each in found):
        raise typer.Exit(1)


def _given(prompts: Sequence[str], file: Path | None) -> list[str]:
    """The prompts and bodies that were given. Ends the command without any."""
    if not prompts and file is None:
        if sys.stdin.isatty():
            output.fail('Nothing to route: write `rolecast route "your prompt"`, or pipe a text into it.', code=2)
        prompts = ["-"]
    texts = [sys.stdin.read() if prompt == "-" else prompt for prompt in prompts]
    if file is not None:
        try:
            # Other line ends than these belong to the prompt; some editors begin a file with a mark.
            texts += [line for line in file.read_text("utf-8-sig").split("\n") if line.strip()]
        except UnicodeDecodeError:
            output.fail(f"{file}: it is no text in UTF-8; write one prompt on each line.")
    if empty := next((i for i, text in enumerate(texts, 1) if not text.strip()), 0):
        output.fail(f"Prompt {empty} is empty; write what would be asked.")
    if not texts:
        output.fail(f"{file}: there is nothing in it; write one prompt on each line.")
    return texts


def _body(text: str, model: str, prefer: str) -> dict[str, Any]:
    """The body that would be sent. Ends the command for JSON that is none."""
    import msgspec

    body: dict[str, Any] = {"prompt": text}
    if text.lstrip().startswith("{"):
        try:
            decoded = msgspec.json.decode(text)
        except msgspec.DecodeError:
            decoded = None  # a prompt may begin so
        if isinstance(decoded, dict) and {"messages", "prompt", "input"} & set(decoded):
            body = decoded
    if model != "auto" or "model" not in body:
        body["model"] = model
    if prefer:
        body["metadata"] = {**(body.get("metadata") or {}), "prefer": prefer}
    return body


def _asked(
    bodies: Sequence[dict[str, Any]], config: Path | None, url: str, key: str, *, quiet: bool
) -> "list[Routed | NotRouted]":
    """The answers, of a gateway or of a configuration."""
    from rolecast import statefile
    from rolecast.errors import counted

    there = bool(url) or (config is None and statefile.running() is not None)
    if len(bodies) < MANY:
        return _by_gateway(bodies, url, key) if there else _by_configuration(bodies, config, quiet=quiet)
    with output.waiting(f"Routing {counted(len(bodies), 'prompt')}"):
        return _by_gateway(bodies, url, key) if there else _by_configuration(bodies, config, quiet=quiet)


def _by_gateway(bodies: Sequence[dict[str, Any]], url: str, key: str) -> "list[Routed | NotRouted]":
    from rolecast.cli.gateway import connect
    from rolecast.errors import RolecastError

    with connect(url, key) as gateway:
        found: list[Routed | NotRouted] = []
        for body in bodies:
            try:
                found.append(gateway.route(body))
            except RolecastError as error:
                if len(bodies) == 1 or error.status in (401, 503):
                    raise
                found.append(_failed(error))
        return found


def _by_configuration(
    bodies: Sequence[dict[str, Any]], config: Path | None, *, quiet: bool
) -> "list[Routed | NotRouted]":
    from rolecast.cli import settings
    from rolecast.cli.unstarted import Unstarted, run
    from rolecast.errors import RolecastError

    chosen = settings.choose(config)
    if not quiet:
        why = "As asked," if config else "No gateway runs here, so"
        output.say(f"[dim]{why} {output.escape(chosen.name)} decides alone, with no model loaded.[/]", stderr=True)

    async def work() -> "list[Routed | NotRouted]":
        unstarted = Unstarted(chosen)
        await unstarted.learn()
        found: list[Routed | NotRouted] = []
        for body in bodies:
            try:
                found.append(await unstarted.of(_encoded(body)))
            except RolecastError as error:
                if len(bodies) == 1:
                    raise
                found.append(_failed(error))
        return found

    return run(work)


def _encoded(body: dict[str, Any]) -> bytes:
    """Raises BadRequest for what a shell may give that is no text."""
    import msgspec

    from rolecast.errors import BadRequest

    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise BadRequest("What was written is no text: it holds half a character. Send it as UTF-8.") from None


def _failed(error: Any) -> "NotRouted":
    from rolecast.pages.routing import Failed, NotRouted

    return NotRouted(Failed(error.message, error.type, error.param, error.code))


def _plain(each: "Routed | NotRouted") -> Mapping[str, Any]:
    import msgspec

    return msgspec.structs.asdict(each)


# -- for people ----------------------------------------------------------------------------------------------


def percent(share: float | None) -> str:
    """A share for people."""
    return "" if share is None else f"{100 * share:.0f} %"


def _show_one(each: "Routed | NotRouted") -> None:
    """Everything about one prompt."""
    from rolecast.pages.routing import NotRouted

    if isinstance(each, NotRouted):
        output.fail(each.error.message)
    rows = output.table("", "", wrap=("",))
    rows.show_header = False
    looks = [
        f"{of} {said.label} ({percent(said.confidence)}{'' if said.sure else ', unsure'})"
        for of, said in each.opinions.items()
    ]
    own = [f"{of} {label}" for of, label in each.labels.items() if of not in each.opinions]
    hard = ""
    if each.weak_fails is not None and each.difficulty is not None:
        hard = f"{percent(each.weak_fails)} that a weak model fails, {percent(each.difficulty)} that a strong one helps"
    told = {
        "Model": each.model,
        "Role": each.role,
        "Why": f"{each.source}; {each.reason}",
        "Confidence": percent(each.confidence),
        "Looks like": ", ".join([*looks, *own]),
        "Difficulty": hard,
        "Prompt": ", ".join(filter(None, [f"about {each.tokens} tokens" if each.tokens else "", each.language])),
        "Needs": ", ".join(each.needs),
        "Then": ", ".join(each.alternatives),
        "As SLM Server": _as_slm_server(each),
        "Destination": each.destination,
        "Took": f"{each.latency_ms:.2f} ms",
    }
    for name, value in told.items():
        if value:
            rows.add_row(output.plain(name), output.plain(value))
    output.show(rows)
    if each.ranking:
        output.say("")
        weighed = output.table("Model", "Worth", "Why", right=("Worth",), wrap=("Why",))
        for one in each.ranking:
            weighed.add_row(output.plain(one.model), output.plain(f"{one.worth_s:.1f} s"), output.plain(one.reason))
        output.show(weighed)


def _as_slm_server(each: "Routed") -> str:
    return f"{' '.join(filter(None, (each.routing_decision, each.target_model)))}, depth {each.reasoning_depth}"


def _show_all(bodies: Sequence[dict[str, Any]], found: "Sequence[Routed | NotRouted]") -> None:
    """A line for each of several prompts."""
    from rolecast.pages.routing import NotRouted

    rows = output.table(
        "Prompt", "Model", "Role", "Task", "Tier", "Sure", "Why", right=("Sure",), wrap=("Prompt", "Why")
    )
    for body, each in zip(bodies, found, strict=True):
        asked = output.plain(_shown(body))
        if isinstance(each, NotRouted):
            rows.add_row(asked, "", "", "", "", "", output.plain(each.error.message))
            continue
        cells = (each.model, each.role, each.task, each.tier, percent(each.confidence), f"{each.source}; {each.reason}")
        rows.add_row(asked, *map(output.plain, cells))
    output.show(rows)


def _shown(body: Mapping[str, Any]) -> str:
    """The beginning of what is asked, on one line."""
    asked = body.get("prompt") or body.get("input") or body.get("messages")
    if isinstance(asked, list) and asked and isinstance(asked[-1], dict):
        asked = asked[-1].get("content")
    line = " ".join(str(asked).split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
