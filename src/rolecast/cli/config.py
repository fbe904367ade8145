"""The commands about the configuration file: `check`, `init`, `reload`, `import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolecast.cli import complete, output
from rolecast.cli.options import ConfigFile, Json, Key, Url

if TYPE_CHECKING:
    from rolecast.cli.gateway import Reload


STDOUT = Path("-")


def check(
    file: Annotated[
        Path | None,
        typer.Argument(help="Configuration to check; without it the one `rolecast up` would use.", show_default=False),
    ] = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schema of the file, for editors, and check nothing."),
    ] = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Check a configuration: every problem with its file and line, then what is probably not meant or not there."""
    from rolecast import backends, readiness
    from rolecast import config as configuration
    from rolecast.cli import settings
    from rolecast.errors import ConfigError, counted

    if schema:
        output.print_json(configuration.json_schema())
        return
    try:
        chosen = settings.choose(file or config, to_start=True)
    except ConfigError as error:
        if as_json:
            output.print_json({"ok": False, "file": error.source, "problems": error.problems, "warnings": []})
            raise typer.Exit(1) from error
        raise
    doubts = [*configuration.warnings(chosen.config, backends.table()), *readiness.warnings(chosen.config)]
    notes = configuration.notes(chosen.path, backends=backends.table())
    warnings = [*notes, *configuration.located(doubts, chosen.path)]
    if as_json:
        output.print_json({"ok": True, "file": chosen.name, "problems": [], "warnings": warnings})
        return
    for warning in warnings:
        output.warn(warning)
    counts = f"{counted(len(chosen.config.models), 'model')}, {counted(len(chosen.config.roles), 'role')}"
    doubtful = f", {counted(len(warnings), 'warning')}" if warnings else ""
    output.say(f"[green]✓[/] {output.escape(chosen.name)} is valid: {counts}{doubtful}.")


def reload(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change, or why it would be refused.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to what applied before the last edit; the file stays.")
    ] = False,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Let the running gateway read its edited configuration; it also does so by itself after each change."""
    from rolecast import statefile

    if dry_run and rollback:
        output.fail("--dry-run and --rollback cannot be used together.")
    report = _reloaded(url, key, "dry_run" if dry_run else "rollback" if rollback else "")
    if as_json:
        output.print_json(report)
        return
    for line in report.warnings:
        output.warn(line)
    if dry_run:
        _show_plan(report)
        return
    if report.applied:
        output.say(f"{'Back again' if rollback else 'Changed'}: {output.escape(', '.join(report.applied))}.")
    else:
        output.say("Nothing is new: what the file says already applies.")
    has_moved = not {"server.host", "server.port"}.isdisjoint(report.applied)
    if has_moved and not url and (now := statefile.running()):
        output.say(f"The gateway listens on [bold]{now.url}[/] now.")
    show_waiting(report)


def _show_plan(report: "Reload") -> None:
    """What a reload would change, a setting a line."""
    if not (report.applied or report.waiting):
        output.say("Nothing would change: what the file says already applies.")
        return
    output.say("A reload would change:")
    for line in report.applied:
        output.say(f"  {output.escape(line)}")
    for line in report.waiting:
        output.say(f"  {output.escape(line)} [dim](at the next start)[/]")


def _reloaded(url: str, key: str, how: str) -> "Reload":
    """The report. The gateway may close the port that we ask on because it was faster: then we ask on its new one."""
    from rolecast import statefile
    from rolecast.cli.gateway import connect
    from rolecast.errors import WorkerDown

    with connect(url, key) as gateway:
        try:
            return gateway.reload(how)
        except WorkerDown:
            now = statefile.running()
            if how or url or now is None or now.url == gateway.url:
                raise
    with connect(now.url, key) as gateway:
        return gateway.reload()


def show_waiting(report: "Reload") -> None:
    """Say which edits have not taken effect, and what to do about them."""
    if report.problems:
        lines = "\n".join(f"  {problem}" for problem in report.problems)
        output.warn(f"The last edit of the configuration was refused; the one before it applies:\n{lines}")
    if report.waiting:
        output.warn(
            f"These settings take effect at the next start (`rolecast down`, then `rolecast up`): "
            f"{', '.join(report.waiting)}."
        )


def init(
    path: Annotated[Path, typer.Argument(help="File to write; `-` is stdout.")] = Path("rolecast.yaml"),
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="Which ready configuration.", autocompletion=complete.presets)
    ] = "default",
    provider: Annotated[
        str,
        typer.Option(
            "--provider", help="Models of this provider in the cloud instead, such as openai.", show_default=False
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    list_presets: Annotated[bool, typer.Option("--list", help="Show the presets and write nothing.")] = False,
) -> None:
    """Write a commented configuration file to start from."""
    from rolecast.config import presets

    if list_presets:
        for name in presets.names():
            first = presets.text(name).splitlines()[0].removeprefix("#").strip()
            output.say(f"[bold]{name:<12}[/] {output.escape(first)}")
        return
    text = _text(preset, provider)
    if path == STDOUT:
        output.raw(text)
        return
    if path.is_dir():
        path /= "rolecast.yaml"
    _write(path, text, force=force)
    of = f"for the provider {provider}" if provider else f"from the preset {preset}"
    output.say(f"[green]✓[/] Wrote {output.escape(path)} {output.escape(of)}.")
    start = "rolecast up" if path == Path("rolecast.yaml") else f"rolecast up --config {path}"
    output.say(f"[dim]Edit it, check it with[/] rolecast check {output.escape(path)}[dim], then start:[/] {start}")


def _text(preset: str, provider: str) -> str:
    from rolecast.cli import providers
    from rolecast.config import presets

    return providers.snippet(provider) if provider else presets.text(preset)


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="models.yaml, SETTINGS.md, an avatar's config.json, a llama-swap or LiteLLM file.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; without it, or with -, stdout.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Turn the configuration of another system into ours, and name what could not be carried over."""
    from rolecast import backends
    from rolecast.config.importers import import_file
    from rolecast.errors import ConfigError

    try:
        imported = import_file(file, backends.table())
    except ConfigError as error:
        output.print_problems(error.source, error.problems, then="import it again")
        raise typer.Exit(1) from error
    for note in imported.notes:
        output.say(f"[yellow]note:[/] {output.escape(note)}", stderr=True)
    if out is None or out == STDOUT:
        output.raw(imported.config_yaml)
        return
    _write(out, imported.config_yaml, force=force)
    output.say(f"[green]✓[/] Wrote {output.escape(out)}. [dim]Check it with[/] rolecast check {output.escape(out)}")


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a new file; one that exists is only replaced on demand."""
    if path.exists() and not force:
        output.fail(f"{path} exists already; choose another name, or overwrite it with --force.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
