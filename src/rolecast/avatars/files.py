"""How the steps write a file: for its owner alone, and whole or not at all."""

import os
from pathlib import Path

from rolecast.config.paths import make_private


def write_private(path: Path, data: bytes) -> None:
    """Write a file that nobody else may read, by way of a temporary name."""
    make_private(path.parent)
    part = path.with_name(path.name + ".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
