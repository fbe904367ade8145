"""A model without weights that answers the same every time, and misbehaves exactly as a script says.

Made for trying configurations and for tests of everything around a model. The worker is a real child process
on a real socket; `fake_worker` serves it and `fake_answer` decides what it says.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from rolecast.backends.plain import Plain
from rolecast.backends.sleepers import ByCommand
from rolecast.config import paths
from rolecast.config.about import COMMAND, RUN_ELSEWHERE, RUN_HERE, WEIGHTS, About
from rolecast.config.schema import Model
from rolecast.errors import ConfigError
from rolecast.values import Endpoint, Failure, Launch, Listen

WORKER = "rolecast.backends.fake_worker"
IDLE_S = 4.0  # its server closes a connection after 5 s without a request; we leave first


class Options(msgspec.Struct, frozen=True):
    """What the worker is told, as JSON in its argument. `script` may be empty."""

    id: str
    socket: str
    script: str
    parallel: int


class Fake(Plain):
    """`backend: fake`."""

    about = About(unused=(*RUN_ELSEWHERE, *WEIGHTS, *(name for name in RUN_HERE if name != "sleep"), *COMMAND))
    usage: Literal["timings"] = "timings"
    renames: Mapping[str, str] = {}
    spawns = True
    several = False

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Launch:
        """The command of a worker on a socket; weights are not looked at."""
        script = str(_script(model).resolve()) if model.script else ""
        options = Options(id=model_id, socket=listen.socket, script=script, parallel=model.parallel)
        return Launch(
            argv=(sys.executable, "-P", "-m", WORKER, msgspec.json.encode(options).decode()),
            endpoint=Endpoint(uds=listen.socket, idle_s=IDLE_S),
            own_watch=True,
        )

    def can(self, model: Model, weights: Path | None, need: str) -> bool | None:
        """It calls tools when its script does; all else is as configured."""
        return None if need == "tools" else need in model.capabilities

    def tells_apart(self, model: Model) -> bool:
        """Its script says what is a thought and what a call."""
        return True

    def missing(self, model: Model) -> str | None:
        """Only a script that is named can be missing."""
        if not model.script:
            return None
        try:
            there = _script(model).is_file()
        except (ConfigError, OSError):
            there = False
        if not there:
            return f"the script {model.script} is not a file; create it or correct `script`"
        return None

    def counting(self, body: bytes) -> tuple[bytes, bytes] | None:
        """It counts words."""
        return b"/chat/completions/input_tokens", body

    def sleeper(self, model: Model) -> ByCommand:
        """As vLLM's."""
        return ByCommand()

    def explain(self, status: int, said: Failure) -> None:
        """Its script decides what it says."""
        return


def _script(model: Model) -> Path:
    return paths.expand(model.script, "script")
