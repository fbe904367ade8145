"""The private folder in which workers listen, the names of its files, and free ports. Knows no process."""

import hashlib
import os
import re
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import psutil

from rolecast.errors import ConfigError
from rolecast.values import LOOPBACK, Listen

SOCKET_PATH_BYTES = 100
"""Longest path of a unix socket that every system takes (macOS: 104 with the final zero)."""
SOCKET_NAME_BYTES = 26
CLOCK_SLACK_S = 5.0


def runtime_dir() -> Path:
    """Makes a new private folder (0700) for worker sockets. Raises ConfigError when none can be made."""
    for base in _runtime_bases():
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"rolecast-{os.getpid()}-", dir=base))
        except OSError:
            continue
        if len(os.fsencode(folder)) + 1 + SOCKET_NAME_BYTES <= SOCKET_PATH_BYTES:
            return folder
        folder.rmdir()
    raise ConfigError(["TMPDIR: no folder for worker sockets can be made; set it to a short, writable path"])


def _runtime_bases() -> list[Path]:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    bases = [given] if given.startswith("/") else []
    return [Path(base) for base in (*bases, tempfile.gettempdir(), "/tmp")]  # noqa: S108 - mkdtemp is private


def remove_runtime_dir(folder: Path) -> None:
    """Removes a folder made by `runtime_dir` with what is left in it."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep_runtime_dirs() -> list[Path]:
    """Removes the folders that gateways of this user left behind when they died; returns them."""
    left = [folder for base in set(_runtime_bases()) for folder in base.glob("rolecast-*") if _is_left(folder)]
    for folder in left:
        remove_runtime_dir(folder)
    return left


def _is_left(folder: Path) -> bool:
    found = re.fullmatch(r"rolecast-(\d+)-\w+", folder.name)
    try:
        info = folder.lstat()
        if not found or not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            return False
        # A process that is younger than the folder only has the pid of the one that made it.
        born: float = psutil.Process(int(found[1])).create_time()
        return born > info.st_mtime + CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return True
    except (OSError, psutil.Error):
        return False


def socket_path(folder: Path, model_id: str, generation: int) -> Path:
    """The socket of one start of a model: short, and the same for the same id and generation."""
    return folder / f"{_short_hash(model_id)}-{generation}.sock"


def free_port() -> int:
    """A port of the loopback address on which nobody listens now. Raises OSError when there is none."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def listen(folder: Path, model_id: str, generation: int) -> Listen:
    """Where one start of a model may listen. Raises OSError when this machine has no port left."""
    return Listen(str(socket_path(folder, model_id, generation)), free_port())


def file_name(model_id: str) -> str:
    """A model id as a file name: readable, and different for different ids."""
    plain = re.sub(r"[^\w.-]", "_", model_id, flags=re.ASCII)[:80]
    return plain if plain == model_id and not plain.startswith(".") else f"{plain.lstrip('.')}-{_short_hash(model_id)}"


def _short_hash(model_id: str) -> str:
    return hashlib.blake2s(model_id.encode(), digest_size=5).hexdigest()
