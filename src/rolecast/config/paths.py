"""Where Rolecast keeps its files on this machine. `ROLECAST_HOME` moves all of them."""

import os
from pathlib import Path


def home() -> Path:
    """The data folder: ROLECAST_HOME, else XDG_DATA_HOME/rolecast, else ~/.local/share/rolecast."""
    if set_home := os.environ.get("ROLECAST_HOME"):
        return Path(set_home).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "rolecast"


def models() -> Path:
    """Default folder of downloaded weights."""
    return home() / "models"


def database() -> Path:
    """Default SQLite file."""
    return home() / "rolecast.db"


def state_file() -> Path:
    """Written by a running gateway (pid, create_time, url, listeners, log); read by the other commands."""
    return home() / "run" / "gateway.json"


def log_file() -> Path:
    """The gateway's own log when it runs detached."""
    return home() / "logs" / "gateway.log"


def worker_logs() -> Path:
    """Folder of the workers' logs, one file per model."""
    return home() / "logs" / "workers"
