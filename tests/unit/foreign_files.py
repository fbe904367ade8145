"""Configuration files of other systems, as people write them, and importing one in a test."""

from pathlib import Path

from rolecast import config
from rolecast.backends import table
from rolecast.config.importers import import_file
from rolecast.config.schema import Config

FILES = sorted(path for path in (Path(__file__).parent / "foreign").iterdir() if path.is_file())
"""Small files in the shapes of each format, good and broken; what is secret in them has four digits at its end."""


def bring_in(folder: Path, name: str, text: str) -> tuple[Config, str]:
    """Import a text under a file name: our configuration, which has to load, and all notes as one text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return bring_file(path)


def bring_file(path: Path) -> tuple[Config, str]:
    """The same for a file that is there."""
    made = import_file(path, table())
    return config.read(made.config_yaml, backends=table()), "\n".join(made.notes)


def foreign(name: str) -> Path:
    """One of the files by its name."""
    return next(path for path in FILES if path.name == name)
