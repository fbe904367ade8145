"""The commands about a gateway that already runs: `down`, `status`, `ps`, `logs`."""

import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolecast.cli import complete, output
from rolecast.cli.config import show_waiting
from rolecast.cli.options import Json, Key, Url

if TYPE_CHECKING:
    from rich.table import Table

    from rolecast.cli.gateway import ModelStatus, Replica, Room, Status
    from rolecast.statefile import Address

PROCESS_STATES = ("loading", "ready", "asleep", "draining", "stopping", "failed")


def down(
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds to wait for the requests in flight.")
    ] = 45,
    as_json: Json = False,
) -> None:
    """Stop the gateway of this machine: requests in flight finish, workers end with it."""
    import psutil

    from rolecast import statefile
    from rolecast.cli import gateway

    state = statefile.running()
    if state is None:
        output.fail(gateway.describe_absence())
    began = time.perf_counter()
    try:
        process = psutil.Process(state.pid)
        if not gateway.is_stopping(state):  # a second signal would cut off what it still answers
            process.terminate()
        with output.waiting("Stopping the gateway, once the requests in flight have ended"):
            process.wait(timeout)
    except psutil.NoSuchProcess:
        pass  # it ended by itself just now
    except psutil.AccessDenied:
        output.fail(f"The gateway (pid {state.pid}) belongs to another user, who has to stop it.")
    except psutil.TimeoutExpired:
        output.fail(
            f"The gateway (pid {state.pid}) still finishes requests after {output.duration(timeout)}; it has "
            f"been told to stop. Wait with `rolecast down --timeout 300`, or cut them off: `kill {state.pid}`."
        )
    took = time.perf_counter() - began
    if as_json:
        output.print_json({"stopped": True, "pid": state.pid, "url": state.url, "seconds": round(took, 3)})
    else:
        output.say(f"The gateway on {state.url} (pid {state.pid}) has stopped after {output.duration(took)}.")


def status(as_json: Json = False, url: Url = "", key: Key = "") -> None:
    """Show whether the gateway runs, its models and its addresses; exit code 1 when it does not."""
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway:
        if as_json:
            output.print_json(gateway.status_json())
            return
        now = gateway.status()
    output.say(f"[bold green]●[/] [bold]Rolecast {now.version}[/] is running on {gateway.url}")
    # A model that answers for others is listed with each of them, but it is one process.
    workers = {m.pid: m.rss_bytes or 0 for m in now.models if m.pid}
    memory = sum(workers.values()) + (now.rss_bytes or 0)
    for name, value in (
        ("up for", output.duration(now.uptime_seconds)),
        ("pid", now.pid),
        ("memory", f"{output.size(memory)} with its workers"),
        ("budget", budget(now.memory)),
        ("config", now.config or "built-in default"),
        ("ledger", now.ledger),
    ):
        if value:
            output.say(f"  [dim]{name:<8}[/]{output.escape(value)}")
    if now.reload is not None:
        show_waiting(now.reload)
    output.say()
    output.show(models_table(now))
    show_errors(now.models)
    for problem in now.problems:
        if not any(model.error and problem.startswith(f"{model.id} does not run") for model in now.models):
            output.say(f"[red]Problem:[/] {output.escape(output.runnable(problem))}")
    output.say()
    output.show(listeners_table(now.listeners))


def budget(room: "Room | None") -> str:
    """What models may take together now, and what of it those that are loaded may reach."""
    if room is None:
        return ""
    places = {"": room} | {f"; GPU {number}: ": gpu for number, gpu in enumerate(room.gpus)}
    said = (f"{name}{output.size(one.held_bytes)} of {output.size(one.budget_bytes)}" for name, one in places.items())
    return f"{''.join(said)} reserved by loaded models"


def show_errors(models: "Iterable[ModelStatus | Replica]") -> None:
    """Why models, or copies of them, do not run, below their table: these sentences are long."""
    for model in models:
        if model.error and not getattr(model, "stand_in", None):
            said = model.error.removeprefix(f"{model.id} ")  # many sentences begin with the name already
            colon = ":" if said == model.error else ""
            output.say(f"[red]{output.escape(model.id)}{colon}[/] {output.escape(output.runnable(said))}")


def models_table(now: "Status") -> "Table":
    """What each model does: role, state, where it runs, what it has answered."""
    rows = output.table(
        "Model",
        "Roles",
        "State",
        "Where",
        "Requests",
        "Tokens",
        right=("Requests", "Tokens"),
        wrap=("Roles",),
    )
    for model in now.models:
        roles = ", ".join(role for role, ids in now.roles.items() if model.id in ids)
        rows.add_row(
            output.plain(model.id),
            output.plain(roles),
            output.state(model.fares),
            output.plain(where(model)),
            f"{model.requests:,}",
            f"{model.completion_tokens:,}",
        )
    return rows


def where(model: "ModelStatus") -> str:
    """Where a model runs, in a few words."""
    if model.stand_in:
        return f"{model.stand_in} stands in"
    if model.state == "remote":
        return model.endpoint or "remote"
    if model.pid:
        return f"{model.backend}, pid {model.pids}"
    return "weights absent" if not model.present else model.backend


SERVES = {
    "registry": "the registry of services",
    "heartbeat": "their heartbeat monitor",
    "providers": "the provider router",
    "gateway": "the gateway of PAS",
    "events": "the event stream",
    "agents": "the agent router",
    "tokens": "the token governor",
    "resources": "the resource manager",
}
"""What a port is, whose surface has no model."""


def listeners_table(listeners: "list[Address]") -> "Table":
    """The addresses, and what answers on each."""
    rows = output.table("Listener", "Address", "Answers as")
    for one in listeners:
        answers = f"{one.model} ({one.surface})" if one.model else SERVES.get(one.surface, "every model")
        rows.add_row(output.plain(one.name), output.plain(one.url), output.plain(answers))
    return rows


def ps(as_json: Json = False, url: Url = "", key: Key = "") -> None:
    """Show the workers: state, process, memory, slots in use; and the models that wait for memory."""
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway:
        now = gateway.status()
    workers = [m for m in now.models if not m.stand_in and (m.pid or m.wants_memory or m.state in PROCESS_STATES)]
    if as_json:
        output.print_json(workers)
        return
    if not workers:
        output.say("No model is loaded. The first request loads one, or `rolecast load MODEL`.")
        return
    output.show(workers_table(workers))
    show_errors(workers)
    show_errors(one for model in workers for one in model.copies if one.id != model.id)


def _until(model: "ModelStatus") -> str:
    """How long it stays if nobody asks it before."""
    if model.pinned:
        return "pinned"
    if model.loaded_at is None:
        return ""
    return "for good" if model.leaves_at is None else f"{output.duration(model.leaves_at - time.time())} from now"


def workers_table(workers: "Iterable[ModelStatus]") -> "Table":
    """A row for each model that has a process or waits for memory; below one with several copies, a row for each."""
    numbers = ("Pid", "Memory", "Slots", "Waiting", "Restarts")
    titles = ("Model", "State", "Pid", "Memory", "Slots", "Waiting", "Loaded for", "Restarts", "Until")
    rows = output.table(*titles, right=numbers)
    for model in workers:
        rows.add_row(
            output.plain(model.id),
            output.state(model.fares),
            output.plain(model.pid if not model.copies else None),
            output.plain(output.size(model.rss_bytes)),
            f"{model.active}/{model.parallel}",
            str(model.waiting),
            output.plain(output.duration(time.time() - model.loaded_at if model.loaded_at else None)),
            str(model.restarts),
            _until(model),
        )
        for one in model.copies:
            rows.add_row(
                output.plain(f"  {one.id}"),
                output.state(one.state),
                output.plain(one.pid),
                output.plain(output.size(one.memory_bytes or None)),
                f"{one.active}/{one.slots}",
                *[""] * 4,
            )
    return rows


def logs(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Model whose worker's log to show; without it the gateway's own.", autocompletion=complete.models
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 200,
    url: Url = "",
    key: Key = "",
) -> None:
    """Show the log of the gateway, or of one model's worker."""
    from rolecast import statefile
    from rolecast.cli.gateway import connect

    if not url and statefile.running() is None:
        _show_log_file(model, lines, follow=follow)
        return
    is_empty = True
    try:
        with connect(url, key) as gateway:
            for text in gateway.logs(model, lines, follow=follow):
                output.write(text)
                is_empty = is_empty and not text
        if is_empty and lines and model:
            output.say(
                f"{output.escape(model)} has printed nothing: `rolecast status` shows whether it runs, and why not.",
                stderr=True,
            )
    except KeyboardInterrupt:
        output.raw("")


def _show_log_file(model: str | None, lines: int, *, follow: bool) -> None:
    """What the last gateway left behind: often the reason why none runs."""
    from rolecast.cli.gateway import describe_absence
    from rolecast.config import paths
    from rolecast.telemetry import logfile

    path = _worker_log(model) if model else paths.log_file()
    if model and not path.is_file() and not follow:
        output.fail(f"There is no log of {model!r} in {path.parent}. {describe_absence()}")
    if follow or not path.is_file():
        output.fail(describe_absence())
    written = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    output.warn(f"No gateway is running; this is the end of {path}, last written on {written:%Y-%m-%d at %H:%M}.")
    output.raw("\n".join(logfile.tail(path, lines)))


def _worker_log(model: str) -> Path:
    """The log of a model that is called by its id or, as far as the last gateway's configuration tells, an alias."""
    from rolecast import statefile
    from rolecast.cli import settings
    from rolecast.config import names, paths
    from rolecast.errors import ConfigError
    from rolecast.processes.folder import file_name

    state = statefile.read()
    found = None
    try:
        chosen = settings.choose(Path(state.config) if state and state.config else None)
        found = names.table(chosen.config).get(model)
    except (ConfigError, OSError):
        pass  # the id still does
    model_id = found.models[0] if found else model
    return paths.worker_logs() / f"{file_name(model_id)}.log"
