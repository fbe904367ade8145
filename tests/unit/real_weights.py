"""The weights of the two default models, in one folder that all tests of a session share."""

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from live_gateway import plain_environment

MODELS = ("smollm2-135m", "all-minilm-l6-v2")


def fetch(folder: Path) -> Path:
    """The store with both models: ROLECAST_TEST_STORE if it is set, else `folder`. Downloads what is absent."""
    store = Path(os.environ.get("ROLECAST_TEST_STORE") or folder)
    store.mkdir(parents=True, exist_ok=True)
    default = files("rolecast.data") / "presets" / "default.yaml"
    argv = [sys.executable, "-m", "rolecast", "pull", "--config", str(default), *MODELS]
    subprocess.run(argv, env=plain_environment() | {"ROLECAST_STORAGE__MODELS": str(store)}, check=True, timeout=600)
    return store
