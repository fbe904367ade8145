"""The configuration a command works on: a file, a preset or the built-in default, under the options given.

Options become environment settings, so that they are validated like every setting, win over the file, and
still hold after the file was edited or in a detached gateway.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rolecast.config.schema import Config


class Chosen(msgspec.Struct, frozen=True):
    """A valid configuration, the file it came from (None = built in), and what to call it."""

    config: Config
    path: Path | None
    name: str


OPTIONS = {
    "ROLECAST_SERVER__HOST": ("--host", "server.host"),
    "ROLECAST_SERVER__PORT": ("--port", "server.port"),
    "ROLECAST_STAND_IN": ("--stand-in", "stand_in"),
    "ROLECAST_LOG__LEVEL": ("--log-level", "log.level"),
    "ROLECAST_MEMORY__PRELOAD": ("--skip-model-loading", "memory.preload"),
}
"""The option that stands for a variable, and the setting of both."""

_given: set[str] = set()
"""The variables that hold an option of this command."""


def set_options(
    *,
    host: str | None = None,
    port: int | None = None,
    stand_in: str | None = None,
    log_level: str | None = None,
    preload: bool = True,
) -> None:
    """Put the options of the command line over whatever configuration is loaded next."""
    options = {
        "ROLECAST_SERVER__HOST": host,
        "ROLECAST_SERVER__PORT": port,
        "ROLECAST_STAND_IN": stand_in,
        "ROLECAST_LOG__LEVEL": log_level and log_level.lower(),
        "ROLECAST_MEMORY__PRELOAD": None if preload else "false",
    }
    set_now = {name: str(value) for name, value in options.items() if value is not None}
    os.environ.update(set_now)
    _given.clear()
    _given.update(set_now)


def given() -> list[str]:
    """The variables that hold an option of this command."""
    return sorted(_given)


def take(variables: Iterable[str]) -> None:
    """The same in a process that goes on with the command: these variables hold its options."""
    _given.update(filter(None, variables))


def origin(setting: str) -> str:
    """What a person would change to change that setting: the option or variable that was used, else the setting."""
    for variable, (option, its) in OPTIONS.items():
        if its == setting and os.environ.get(variable):
            return option if variable in _given else variable
    return setting


def choose(file: Path | None = None, preset: str | None = None, *, to_start: bool = False) -> Chosen:
    """Load what was asked for. Raises ConfigError with every problem, named as it was given.

    `to_start`: with what the file does not tell and a start would find wrong, that no key is there.
    """
    from rolecast.errors import ConfigError

    try:
        chosen = _choose(file, preset)
        if to_start:
            _require_keys(chosen)
        return chosen
    except ConfigError as error:
        raise ConfigError([_as_given(problem) for problem in error.problems], source=error.source) from None


def of_gateway(file: Path | None = None) -> Chosen:
    """What has the database that is meant: the configuration that was named, else that of the gateway that runs here.

    The folder in which somebody stands says nothing about it. Raises ConfigError.
    """
    from rolecast import statefile

    state = None if file else statefile.running()
    if state is None:
        return choose(file)
    return choose(Path(state.config)) if state.config else choose(preset="default")


def here(file: Path | None = None) -> Chosen:
    """What is meant where somebody stands: the configuration that was named or is found here, else that of the gateway
    that runs. Raises ConfigError."""
    chosen = choose(file)
    return chosen if chosen.path is not None else of_gateway(file)


def _require_keys(chosen: Chosen) -> None:
    """Raises ConfigError where other machines are let in without a key, neither in the file nor in the database."""
    from rolecast.config.check import exposed

    if chosen.config.server.keys or not exposed(chosen.config.server):
        return
    import asyncio

    from rolecast import books
    from rolecast.access.needed import lacking, unkeyed
    from rolecast.access.table import KeyTable
    from rolecast.config import located
    from rolecast.errors import ConfigError

    async def look() -> list[str]:
        store = books.store_of(chosen.config)
        path = getattr(store, "path", None)
        if isinstance(path, Path) and not path.exists():  # and none is made for a look
            return unkeyed(chosen.config)
        await store.open()
        try:
            return await lacking(chosen.config, KeyTable(store))
        finally:
            await store.close()

    if problems := asyncio.run(look()):
        raise ConfigError(located(problems, chosen.path), source=chosen.name)


def _as_given(problem: str) -> str:
    """The option in place of the variable that it became."""
    variable, _, text = problem.partition(": ")
    if variable not in _given:
        return problem
    option, setting = OPTIONS[variable]
    return f"{option}: {text.removeprefix(f'{setting}: ')}"


def _choose(file: Path | None, preset: str | None) -> Chosen:
    from rolecast import backends
    from rolecast.config import find, load, presets, read

    if preset:
        config = read(presets.text(preset), name=f"{preset}.yaml", env=os.environ, backends=backends.table())
        return Chosen(config, preset_path(preset), f"preset {preset}")
    path = file or find()
    config = load(path, backends=backends.table())
    return Chosen(config, path.absolute() if path else None, str(path) if path else "the built-in default")


def preset_path(name: str) -> Path:
    """The file of a preset."""
    from importlib.resources import files

    return Path(str(files("rolecast.data") / "presets" / f"{name}.yaml"))
