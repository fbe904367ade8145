"""The weights of the two default models: brought once per run, and in a folder of its own for each test process."""

import fcntl
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from live_gateway import plain_environment

MODELS = ("smollm2-135m", "all-minilm-l6-v2")


def fetch(folder: Path) -> Path:
    """The store with both models: ROLECAST_TEST_STORE if it is set, else `folder`. Downloads what is absent."""
    given = os.environ.get("ROLECAST_TEST_STORE")
    if given or "PYTEST_XDIST_WORKER" not in os.environ:
        return _pulled(Path(given or folder))
    among = folder.parents[1] / "weights"  # of all test processes
    among.parent.mkdir(parents=True, exist_ok=True)
    with among.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _pulled(among)
    if not folder.exists():  # what a gateway brings or deletes is nobody else's
        shutil.copytree(among, folder, copy_function=os.link)
    return folder


def _pulled(store: Path) -> Path:
    store.mkdir(parents=True, exist_ok=True)
    default = files("rolecast.data") / "presets" / "default.yaml"
    argv = [sys.executable, "-m", "rolecast", "pull", "--config", str(default), *MODELS]
    subprocess.run(argv, env=plain_environment() | {"ROLECAST_STORAGE__MODELS": str(store)}, check=True, timeout=600)
    return store
