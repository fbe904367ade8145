"""One row per command.

Heavy packages are imported inside the commands, so that `rolecast --help` and shell completion stay quick.
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from rolecast.cli import (
    avatar,
    bench,
    budget,
    config,
    discover,
    doctor,
    egress,
    feedback,
    in_flight,
    jobs,
    keys,
    mcp,
    models,
    output,
    providers,
    route,
    serve,
    services,
    sessions,
    talk,
    tasks,
    up,
    usage,
)

COMMANDS: dict[str, tuple[tuple[str, Callable[..., Any] | typer.Typer], ...]] = {
    "Gateway": (
        ("up", up.up),
        ("down", serve.down),
        ("status", serve.status),
        ("ps", serve.ps),
        ("logs", serve.logs),
        ("requests", in_flight.requests),
        ("cancel", in_flight.cancel),
    ),
    "Talk": (
        ("ask", talk.ask),
        ("chat", talk.chat),
        ("sessions", sessions.sessions),
        ("personas", sessions.personas),
        ("mcp", mcp.mcp),
    ),
    "Models": (
        ("models", models.models),
        ("pull", jobs.pull),
        ("rm", models.rm),
        ("load", models.load),
        ("unload", models.unload),
        ("pin", models.pin),
        ("unpin", models.unpin),
        ("jobs", jobs.jobs),
    ),
    "Tasks": (("tasks", tasks.tasks),),
    "Avatars": (("avatar", avatar.app),),
    "Configuration": (
        ("init", config.init),
        ("check", config.check),
        ("discover", discover.discover),
        ("reload", config.reload),
        ("import", config.import_),
    ),
    "Access and money": (
        ("keys", keys.keys),
        ("budget", budget.budget),
        ("usage", usage.usage),
        ("providers", providers.providers),
        ("egress", egress.egress),
        ("services", services.services),
    ),
    "Diagnosis": (
        ("doctor", doctor.doctor),
        ("route", route.route),
        ("feedback", feedback.feedback),
        ("bench", bench.bench),
    ),
}

app = typer.Typer(
    name="rolecast",
    cls=output.Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from rolecast import __version__

        output.raw(f"rolecast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Runs a cast of small language models behind one endpoint."""


for _panel, _rows in COMMANDS.items():
    for _name, _command in _rows:
        if isinstance(_command, typer.Typer):  # a group of commands
            app.add_typer(_command, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, rich_help_panel=_panel)(_command)
