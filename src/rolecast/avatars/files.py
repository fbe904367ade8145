"""How the steps write a file: for its owner alone, and whole or not at all."""

import os
from pathlib import Path

from rolecast.config.paths import make_private


def write_private(path: Path, data: bytes) -> None:
    """Write a file that nobody else may read, by way of a temporary name: after a loss of power it is old or new."""
    make_private(path.parent)
    part = path.with_name(f"{path.name}.{os.urandom(6).hex()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
