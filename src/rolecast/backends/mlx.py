"""Folders of safetensors on MLX: Apple's GPUs, or a processor. A worker of ours around mlx-lm's own server.

Plans the command and checks that the engine is there; the worker itself is `mlx_worker`.
"""

import importlib.util
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from rolecast import weights as weights_of
from rolecast.backends import versions
from rolecast.backends.hardware import hardware
from rolecast.backends.plain import Plain
from rolecast.config import secrets
from rolecast.config.about import COMMAND, RUN_ELSEWHERE, RUN_HERE, About, Remark, no_media
from rolecast.config.schema import Model
from rolecast.config.units import Bytes
from rolecast.errors import BadRequest, ConfigError, RolecastError, SourceError
from rolecast.footprint import Estimate
from rolecast.values import Endpoint, Failure, Launch, Listen
from rolecast.weights import folder
from rolecast.weights.safetensors import folder_estimate

WORKER = "rolecast.backends.mlx_worker"
SLOTS = 4
"""Answers that are written together. Its cache grows with what is said, so more slots take nothing while they idle."""
IDLE_S = 30.0
USED = ("args", "chat_template_kwargs", "prompt_cache", "environment")
"""Settings of an engine that it heeds."""
CACHE_SHARE = 16
"""So many parts of the memory make one for conversations that are not being answered."""
_FACT = re.compile(
    r"[a-z_]{2,40} must be (?:of type|at least|at most) [\w ,()'.-]{1,80}"
    r"|[A-Za-z0-9`_ ]{2,40} (?:must|may) [\w ,'`.:/()-]{1,160}"
)
"""Refusals that hold nothing of a request but the names of its fields."""
TOO_LONG = "is longer than the context"
_DIED = r"(?:MemoryError|Killed|Segmentation fault|Aborted|\[METAL\] [\w :.]{1,80})\b"


class Options(msgspec.Struct, frozen=True):
    """What the worker is told, as JSON in its argument. `context` is in tokens, 0 = no limit is known."""

    id: str
    socket: str
    folder: str
    context: int
    parallel: int
    cache_bytes: int
    template: str
    """Arguments of the chat template, as JSON."""
    args: tuple[str, ...] = ()


def for_folders(model: Model) -> Iterator[Remark]:
    """What makes weights none that are a folder of safetensors."""
    if not model.enabled:
        return
    if re.match(r"(?:ollama|pypi|https?):", model.source) or model.source.lower().endswith((".gguf", "/model.bin")):
        yield "source", "must name a folder of safetensors: hf:OWNER/REPO, or file:FOLDER"


def _problems(model: Model) -> Iterator[Remark]:
    yield from for_folders(model)
    yield from no_media(model)
    if lacking := [kind for kind in ("embeddings", "rerank") if kind in model.capabilities]:
        yield "capabilities", f"mlx-lm does no {', '.join(lacking)}; use `backend: llamacpp`, or list chat alone"


def trusting(model: Model) -> Iterator[Remark]:
    """What lets programs run that come with the weights."""
    if any(word.partition("=")[0] == "--trust-remote-code" for word in model.args):
        yield "args", "--trust-remote-code runs programs that come with the weights; only for weights of yours"


def _doubts(model: Model) -> Iterator[Remark]:
    yield from trusting(model)
    if any(word.partition("=")[0] in ("--host", "--port", "--model") for word in model.args):
        yield "args", "say where to listen or what to load, which the settings say; take --host, --port and --model out"


class Mlx(Plain):
    """`backend: mlx`."""

    about = About(
        slots=SLOTS,
        needs={"source": "say where the model is, such as hf:mlx-community/Qwen3-4B-4bit or file:FOLDER"},
        unused=(*RUN_ELSEWHERE, *COMMAND, "script", *(name for name in RUN_HERE if name not in USED)),
        problems=_problems,
        doubts=_doubts,
        folders=True,
    )
    named_tools = False
    stops_streams_only = True
    usage: Literal["inject"] = "inject"
    renames: Mapping[str, str] = {"repeat_penalty": "repetition_penalty"}
    spawns = True
    several = False

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Launch:
        """The command of a worker on a socket. Raises ConfigError without weights, SourceError for what is none."""
        if weights is None:
            raise ConfigError([f"models.{model_id}.source: mlx needs a folder of safetensors; name it"])
        require_folder(weights, "mlx")
        options = Options(
            id=model_id,
            socket=listen.socket,
            folder=str(weights.parent),
            context=weights_of.context(model, weights),
            parallel=model.parallel,
            cache_bytes=_cache_bytes(model),
            template=json.dumps(model.chat_template_kwargs, sort_keys=True),
            args=tuple(model.args),
        )
        return Launch(
            argv=(sys.executable, "-P", "-m", WORKER, msgspec.json.encode(options).decode()),
            endpoint=Endpoint(uds=listen.socket, idle_s=IDLE_S),
            env=(*OFFLINE, *secrets.variables(model.environment, f"models.{model_id}.environment")),
            own_watch=True,
            kept_output=rf"serving {re.escape(model_id)}$|{_DIED}",
        )

    def can(self, model: Model, weights: Path | None, need: str) -> bool | None:
        """What its chat template writes: tools and thoughts. Of the rest nobody knows more than the configuration."""
        if need == "insert":
            return False
        if need not in ("tools", "thinking", "base") or weights is None or not folder.is_one(weights):
            return None
        template = folder.template(weights)
        if need == "base":
            return not template
        return "tools" in template if need == "tools" else "think" in template

    def tells_apart(self, model: Model) -> bool:
        """It knows the marks of the families that it runs."""
        return True

    def missing(self, model: Model) -> str | None:
        """The engine that is not installed. On Linux mlx-lm comes without it."""
        if any(importlib.util.find_spec(name) is None for name in ("mlx_lm", "mlx")):
            return "the MLX engine is not installed; run `pip install 'rolecast[mlx]'`"
        return secrets.unset(model.environment)

    def counting(self, body: bytes) -> tuple[bytes, bytes] | None:
        """Its server has no such question."""
        return None

    def estimate(self, model: Model, weights: Path | None) -> Estimate | None:
        """By the headers of the files in its folder."""
        if weights is None:
            return None
        try:
            return folder_estimate(weights.parent, weights_of.context(model, weights), model.parallel)
        except SourceError:
            return None

    def engine(self, model: Model) -> str:
        """The package."""
        return versions.of_package("mlx-lm")

    def explain(self, status: int, said: Failure) -> RolecastError:
        """The refusal in words that hold nothing of the request: a chat template may quote it."""
        if TOO_LONG in said.message:
            return BadRequest(said.message, code="context_length_exceeded")
        if _FACT.fullmatch(said.message.rstrip(".")):
            return BadRequest(f"The model refuses this request: {said.message.rstrip('.')}.", code="worker_refused")
        text = "The model refuses this request: its chat template cannot write these messages, or a field is wrong."
        return BadRequest(text, code="worker_refused")


OFFLINE = (
    ("HF_HUB_OFFLINE", "1"),
    ("TRANSFORMERS_OFFLINE", "1"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ("DO_NOT_TRACK", "1"),
)
"""Weights are brought by `rolecast pull`; an engine asks nobody."""


def require_folder(weights: Path, who: str) -> None:
    """Raises SourceError for weights that are no complete folder of safetensors."""
    if not folder.is_one(weights):
        raise SourceError(
            f"{weights} is no model for {who}; name a folder of safetensors, hf:OWNER/REPO or file:FOLDER."
        )
    if lacking := folder.lacks(weights.parent):
        raise SourceError(f"{lacking}.")


def _cache_bytes(model: Model) -> int:
    if model.prompt_cache == "auto":
        return hardware().memory_bytes // CACHE_SHARE
    return int(Bytes.parse(model.prompt_cache))
