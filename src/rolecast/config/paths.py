"""Where Rolecast keeps its files on this machine. `ROLECAST_HOME` moves all of them."""

import os
from pathlib import Path

from rolecast.errors import ConfigError


def expand(text: str, setting: str = "") -> Path:
    """A path as somebody wrote it, with `~` and `~NAME` replaced by home folders.

    Raises ConfigError, which begins with `setting`, when nobody knows that home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        place = f"{setting}: " if setting else ""
        user = Path(text).parts[0][1:]
        why = f"there is no user '{user}' on this machine" if user else "the home folder of this user is not known"
        how = "write the whole path" if user else "write the whole path, or set HOME"
        raise ConfigError([f"{place}{text!r}: {why}; {how}"]) from None


def expanded(text: str) -> Path | None:
    """The same for a place that is merely looked into: None when nobody knows the home folder."""
    try:
        return expand(text)
    except ConfigError:
        return None


def is_lost(path: Path) -> bool:
    """Whether nothing is there; False where it cannot be known, because a folder may not be looked into."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        pass
    return False


def home() -> Path:
    """The data folder: ROLECAST_HOME, else XDG_DATA_HOME/rolecast, else ~/.local/share/rolecast.

    Raises ConfigError when there is no home folder and none of the variables is set.
    """
    if set_home := os.environ.get("ROLECAST_HOME"):
        return expand(set_home, "ROLECAST_HOME")
    if base := os.environ.get("XDG_DATA_HOME"):
        return expand(base, "XDG_DATA_HOME") / "rolecast"
    if folder := expanded("~/.local/share"):
        return folder / "rolecast"
    raise ConfigError(["this user has no home folder to keep files in; set ROLECAST_HOME to a folder"])


def models(chosen: str = "") -> Path:
    """The folder of downloaded weights: the one of `storage.models`, or the default."""
    return expand(chosen, "storage.models") if chosen else home() / "models"


def database() -> Path:
    """Default SQLite file."""
    return home() / "rolecast.db"


def journal() -> Path:
    """Folder of the ledger's rows that wait for the database, one file for each gateway."""
    return home() / "journal"


def variants() -> Path:
    """Folder of the variants that clients made, one file each."""
    return home() / "variants"


def personas() -> Path:
    """Folder of the personas, one file each."""
    return home() / "personas"


def conversations() -> Path:
    """Folder of what models have read of conversations, kept while they are not loaded."""
    return home() / "conversations"


def state_file() -> Path:
    """Written by a running gateway (pid, create_time, url, listeners, log); read by the other commands."""
    return home() / "run" / "gateway.json"


def log_file() -> Path:
    """The gateway's own log when it runs detached."""
    return home() / "logs" / "gateway.log"


def worker_logs() -> Path:
    """Folder of the workers' logs, one file per model."""
    return home() / "logs" / "workers"


def helper_log(name: str) -> Path:
    """What a process beside the gateway prints, one file for each kind."""
    return home() / "logs" / "helpers" / f"{name}.log"


def job_logs() -> Path:
    """Folder of the logs of jobs, one file per job."""
    return home() / "logs" / "jobs"


def make_private(folder: Path) -> Path:
    """Make that folder and what is missing above it, for their owner alone; one that is there stays as it is."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    return folder
