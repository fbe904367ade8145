"""GGUF models on llama.cpp: the built-in engine in a worker of ours, or a `llama-server` of the user's.

Plans the command and checks that the engine is there; the worker itself is `llamacpp_worker`.
"""

import ctypes
import functools
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil

from rolecast import gguf_header
from rolecast.backends import llamacpp_errors
from rolecast.complaint import Complaint
from rolecast.config.schema import Model
from rolecast.errors import ConfigError, RolecastError
from rolecast.values import Endpoint, Launch

WORKER = "rolecast.backends.llamacpp_worker"
# The engine closes a connection after 100 requests or 5 s without one; we leave first.
MAX_REQUESTS = 99
IDLE_S = 4.0


class Options(msgspec.Struct, frozen=True):
    """What the worker is told, as JSON in its argument. `context` is tokens of one slot."""

    id: str
    weights: str
    socket: str
    context: int
    parallel: int
    threads: int
    gpu_layers: int
    embeddings: bool
    chat: bool
    cache_type_k: str
    cache_type_v: str
    flash_attn: bool | None
    chat_template_kwargs: dict[str, Any]


class LlamaCpp:
    """`backend: llamacpp`."""

    named_tools = False
    usage: Literal["timings"] = "timings"
    renames: Mapping[str, str] = {"repetition_penalty": "repeat_penalty"}

    def plan(self, model_id: str, model: Model, weights: Path | None, socket: Path) -> Launch:
        """The command of a worker on `socket`. Raises ConfigError when the model has no weights."""
        if weights is None:
            raise ConfigError([f"models.{model_id}.source: llamacpp needs weights; name a GGUF file"])
        endpoint = Endpoint(uds=str(socket), max_requests=MAX_REQUESTS, idle_s=IDLE_S)
        if model.binary:
            return Launch(argv=_server_command(model_id, model, weights, socket), endpoint=endpoint)
        options = Options(
            id=model_id,
            weights=str(weights),
            socket=str(socket),
            context=model.context,
            parallel=model.parallel,
            threads=_threads(model),
            gpu_layers=model.gpu_layers,
            embeddings="embeddings" in model.capabilities,
            chat=_generates(model),
            cache_type_k=model.cache_type_k,
            cache_type_v=model.cache_type_v,
            flash_attn=model.flash_attn,
            chat_template_kwargs=model.chat_template_kwargs,
        )
        # -P: a file named like one of our modules in the current folder must not be run instead.
        argv = (sys.executable, "-P", "-m", WORKER, msgspec.json.encode(options).decode())
        return Launch(argv=argv, endpoint=endpoint, own_watch=True)

    def can(self, model: Model, weights: Path | None, need: str) -> bool | None:
        """What the header of the weights says: tools if its chat template writes them, images with a projector."""
        header = gguf_header.known(weights) if weights else None
        if need == "tools":
            own_template = any(arg.startswith("--chat-template") for arg in model.args)
            return None if header is None or own_template else header.template_tools
        if model.binary or (header is None and need in model.capabilities):
            return None
        return False

    def missing(self, model: Model) -> str | None:
        """The engine that is not installed, or the binary that cannot be run."""
        if not model.binary:
            if importlib.util.find_spec("xllamacpp") is None:
                return "the llama.cpp engine is not installed; run `pip install 'rolecast[llamacpp]'`"
            if not _has_openmp():
                return "the library libgomp is missing; run `apt-get install libgomp1` (or your system's like)"
            return None
        if _find(model.binary) is None:
            return f"{model.binary} is not an executable file; set `binary` to the path of a llama-server"
        return None

    def explain(self, status: int, said: Complaint) -> RolecastError:
        """The refusal in words that hold nothing of the request."""
        return llamacpp_errors.explain(status, said)


@functools.cache
def _has_openmp() -> bool:
    """Whether the one system library that the engine's Linux wheel leaves out is here."""
    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return False
    return True


def _find(binary: str) -> str | None:
    return shutil.which(os.path.expanduser(binary))  # noqa: PTH111 - a Path would drop a leading ./


def _generates(model: Model) -> bool:
    return "chat" in model.capabilities or "completion" in model.capabilities


def _threads(model: Model) -> int:
    """Physical cores unless set: llama.cpp gets slower, not faster, on hyper-threads."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else sys.maxsize
    return model.threads or min(psutil.cpu_count(logical=False) or 1, allowed)


def _server_command(model_id: str, model: Model, weights: Path, socket: Path) -> tuple[str, ...]:
    command = [_find(model.binary) or model.binary, "--model", str(weights), "--alias", model_id]
    command += ["--host", str(socket)]  # a host that ends in .sock is a unix socket
    command += ["--ctx-size", str(model.context * model.parallel), "--parallel", str(model.parallel)]
    command += ["--threads", str(_threads(model))]
    if model.gpu_layers >= 0:  # by itself it offloads what fits
        command += ["--n-gpu-layers", str(model.gpu_layers)]
    if "embeddings" in model.capabilities:
        command += ["--embedding", *(["--pooling", "mean"] if _generates(model) else [])]
    if model.chat_template_kwargs:
        command += ["--chat-template-kwargs", json.dumps(model.chat_template_kwargs, separators=(",", ":"))]
    for flag, value in (("--cache-type-k", model.cache_type_k), ("--cache-type-v", model.cache_type_v)):
        command += [flag, value] if value else []
    if model.flash_attn is not None:
        command += ["--flash-attn", "on" if model.flash_attn else "off"]
    return (*command, *model.args)
