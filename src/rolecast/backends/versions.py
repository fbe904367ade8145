"""Which version of an engine is installed: of a Python package, or of a program that tells none."""

import functools
from pathlib import Path


@functools.cache
def of_package(name: str) -> str:
    """The package with its version; the name alone when it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


def of_program(path: Path | None) -> str:
    """The program with its size and the second in which it was written; '' = it is not there."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        found = None
    return f"{path.name} {found.st_size} {int(found.st_mtime)}" if path is not None and found is not None else ""
