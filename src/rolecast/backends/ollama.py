"""A running Ollama, asked in its own words: only there the context, all options and the true counts can be had.

An OpenAI remote in everything but its words and what goes along with each request. It is neither started nor stopped.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from rolecast.backends.remote import OpenAIRemote, is_base_of
from rolecast.config.about import COMMAND, RUN_HERE, WEIGHTS, About, no_copies
from rolecast.config.schema import Model
from rolecast.values import Endpoint, Failure, Listen

PORT = 11434
SLOTS = 64
"""It has a queue of its own."""
FOREVER = -1
"""For Ollama: until somebody unloads it."""


class Ollama(OpenAIRemote):
    """`backend: ollama`."""

    about = About(
        slots=SLOTS,
        unused=(*WEIGHTS, *RUN_HERE, *COMMAND, "script", "stream_usage", "markup"),
        problems=is_base_of,
        doubts=no_copies,
    )
    speaks = "ollama"
    usage: Literal["inject", "always"] = "always"
    named_tools = False
    several = False

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Endpoint:
        """Where the server is. Raises ConfigError for a bad URL or a key that is not there."""
        whole = msgspec.structs.replace(model, url=model.url or usual_url(os.environ))
        endpoint = super().plan(model_id, whole, weights, listen)
        base = endpoint.base.removesuffix("/v1").removesuffix("/api") if not endpoint.uds else ""
        return msgspec.structs.replace(endpoint, base=base, health_path=f"{base}/api/tags")

    def brings(self, model: Model, stay_s: float | None) -> Mapping[str, Any]:
        """The context, without which it takes a usual one, and how long the model stays."""
        options = {"options": {"num_ctx": model.context}} if model.context else {}
        usual = next(f.default for f in msgspec.structs.fields(Model) if f.name == "idle_timeout")
        if stay_s is not None:
            return options | {"keep_alive": FOREVER if stay_s == float("inf") else stay_s}
        if model.pinned or not float(model.idle_timeout):
            return options | {"keep_alive": FOREVER}
        return options | ({"keep_alive": float(model.idle_timeout)} if model.idle_timeout != usual else {})

    def tells_apart(self, model: Model) -> bool:
        """Its wire has fields for both."""
        return True

    def explain(self, status: int, said: Failure) -> None:
        """It belongs to whoever configured it, and says what it wants to."""
        return


def usual_url(environment: Mapping[str, str]) -> str:
    """Where Ollama's own programs look for it: OLLAMA_HOST, with port 11434 where that names none."""
    given = environment.get("OLLAMA_HOST", "").strip().strip("\"'") or "127.0.0.1"
    whole = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError:
        return f"http://127.0.0.1:{PORT}"
    host = parts.hostname or "127.0.0.1"
    if host in ("0.0.0.0", "::"):  # where a server listens is no place to call
        host = "127.0.0.1"
    if port is None:
        port = {"https": 443}.get(parts.scheme, 80) if "://" in given else PORT
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"
