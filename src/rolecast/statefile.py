"""What a running gateway writes about itself for the other commands, and how they read it.

The one file that knows its format. Knows neither the gateway nor how to talk to it.
"""

import contextlib
import os
from pathlib import Path

import msgspec

from rolecast.config import paths
from rolecast.errors import UNREADABLE, ConfigError

CLOCK_SLACK_S = 2.0
"""The kernel's boot time moves when the clock is set, and with it every process's create_time."""


class Address(msgspec.Struct, frozen=True):
    """One open port; with `model` it looks like a server of just that model."""

    name: str = ""
    url: str = ""
    model: str = ""
    surface: str = "openai"


class State(msgspec.Struct, frozen=True):
    """Who runs where. Times in seconds since 1970."""

    pid: int
    create_time: float
    url: str
    listeners: list[Address] = []
    started_at: float = 0.0
    config: str | None = None
    log: str | None = None


def write(listeners: list[Address], config: Path | None, started_at: float) -> None:
    """Tell that this process is the gateway; the first of `listeners` is the front door. Raises ConfigError."""
    import psutil

    path = paths.state_file()
    state = State(
        pid=os.getpid(),
        create_time=psutil.Process().create_time(),
        url=listeners[0].url,
        listeners=listeners,
        started_at=started_at,
        config=str(config) if config else None,
        log=str(paths.log_file()),
    )
    part = path.with_suffix(f".{os.getpid()}")
    try:
        paths.make_private(path.parent)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(state))
        part.replace(path)
    except OSError as exc:
        part.unlink(missing_ok=True)
        place = f"{path}: cannot be written ({exc.strerror})"
        raise ConfigError([f"{place}; free some space or set ROLECAST_HOME to another folder"]) from exc


def remove() -> None:
    """Take it away again, unless it is of another gateway by now."""
    state = read()
    if state is not None and state.pid == os.getpid():
        with contextlib.suppress(OSError):
            paths.state_file().unlink()


def read() -> State | None:
    """What the last gateway of this data folder wrote; None when nothing readable is there."""
    try:
        return msgspec.json.decode(paths.state_file().read_bytes(), type=State)
    except (OSError, *UNREADABLE):
        return None


def running() -> State | None:
    """The state of the gateway that runs now on this machine, if one does."""
    state = read()
    return state if state and is_alive(state) else None


def is_alive(state: State) -> bool:
    """Whether the process that wrote the state still runs; a reused pid does not count."""
    import psutil

    try:
        process = psutil.Process(state.pid)
        same = abs(process.create_time() - state.create_time) < CLOCK_SLACK_S
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
