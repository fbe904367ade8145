"""The configuration a command works on: a file, a preset or the built-in default, under the options given.

Options become environment settings, so that they are validated like every setting, win over the file, and
still hold after the file was edited or in a detached gateway.
"""

import os
from pathlib import Path

import msgspec

from rolecast.config.schema import Config


class Chosen(msgspec.Struct, frozen=True):
    """A valid configuration, the file it came from (None = built in), and what to call it."""

    config: Config
    path: Path | None
    name: str


def set_options(*, host: str | None, port: int | None, stand_in: str | None) -> None:
    """Put the options of the command line over whatever configuration is loaded next."""
    options = {"ROLECAST_SERVER__HOST": host, "ROLECAST_SERVER__PORT": port, "ROLECAST_STAND_IN": stand_in}
    os.environ.update({name: str(value) for name, value in options.items() if value is not None})


def choose(file: Path | None = None, preset: str | None = None) -> Chosen:
    """Load what was asked for. Raises ConfigError with every problem."""
    from rolecast import backends
    from rolecast.config import find, load, presets, read

    if preset:
        config = read(presets.text(preset), name=f"{preset}.yaml", env=os.environ, backends=backends.names())
        return Chosen(config, _preset_path(preset), f"preset {preset}")
    path = file or find()
    config = load(path, backends=backends.names())
    return Chosen(config, path.absolute() if path else None, str(path) if path else "the built-in default")


def _preset_path(name: str) -> Path:
    from importlib.resources import files

    return Path(str(files("rolecast.data") / "presets" / f"{name}.yaml"))
