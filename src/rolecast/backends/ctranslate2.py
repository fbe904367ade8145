"""Translation models of the NLLB family on CTranslate2, in a worker of ours.

Plans the command and checks that the engine is there; the worker itself is `ctranslate2_worker`.
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from rolecast.backends import versions
from rolecast.backends.hardware import hardware
from rolecast.backends.plain import Plain
from rolecast.config import secrets
from rolecast.config.about import COMMAND, RUN_ELSEWHERE, RUN_HERE, About, Remark, no_media
from rolecast.config.schema import Model
from rolecast.errors import ConfigError, SourceError
from rolecast.footprint import Estimate, Footprint
from rolecast.values import Endpoint, Failure, Launch, Listen
from rolecast.weights import converted

WORKER = "rolecast.backends.ctranslate2_worker"
ENGINE_BYTES = 48 << 20
"""The worker with its engine and a tokenizer, before there are weights."""
SLOT_BYTES = 64 << 20
"""What one translation computes in, at most: its beams, and the scores of all words of a large vocabulary."""
IDLE_S = 4.0  # its server closes a connection after 5 s without a request; we leave first
PRECISIONS: Mapping[str, str] = {
    "": "int8",
    "8-bit": "int8",
    "4-bit": "int8",
    "int8": "int8",
    "q8_0": "int8",
    "int8_float16": "int8_float16",
    "int16": "int16",
    "fp16": "float16",
    "float16": "float16",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp32": "float32",
    "float32": "float32",
}
"""What `quantization` says as the engine calls it; it has nothing below 8 bits."""


class Options(msgspec.Struct, frozen=True):
    """What the worker is told, as JSON in its argument."""

    id: str
    socket: str
    folder: str
    compute: str
    threads: int
    parallel: int
    gpu: bool


def _problems(model: Model) -> Iterator[Remark]:
    yield from no_media(model)
    if lacking := [kind for kind in ("embeddings", "rerank") if kind in model.capabilities]:
        yield "capabilities", f"a translation model does no {', '.join(lacking)}; list chat alone"


def _doubts(model: Model) -> Iterator[Remark]:
    if model.quantization.lower() not in PRECISIONS:
        yield "quantization", f"is not known to the engine, which computes with int8; write one of {_known()}"
    elif model.quantization == "4-bit":
        yield "quantization", "the engine has nothing below 8 bits and computes with int8"


def _known() -> str:
    return ", ".join(dict.fromkeys(PRECISIONS.values()))


class CTranslate2(Plain):
    """`backend: ctranslate2`."""

    about = About(
        needs={"source": "say where the converted model is, such as file:FOLDER or hf:OWNER/REPO/model.bin"},
        unused=(
            *RUN_ELSEWHERE,
            *COMMAND,
            "script",
            *(name for name in RUN_HERE if name not in ("threads", "gpu_layers", "environment")),
        ),
        problems=_problems,
        doubts=_doubts,
    )
    named_tools = False
    usage: Literal["timings"] = "timings"
    renames: Mapping[str, str] = {}
    spawns = True
    translates = True
    several = False

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Launch:
        """The command of a worker on a socket. Raises ConfigError without weights, SourceError for what is none."""
        if weights is None:
            raise ConfigError([f"models.{model_id}.source: ctranslate2 needs a converted model; name its folder"])
        if not converted.is_one(weights):
            raise SourceError(f"{weights} is no model for ctranslate2; name the folder that its converter wrote.")
        if lacking := converted.lacks(weights.parent):
            raise SourceError(f"{lacking}.")
        options = Options(
            id=model_id,
            socket=listen.socket,
            folder=str(weights.parent),
            compute=PRECISIONS.get(model.quantization.lower(), "int8"),
            threads=model.threads or hardware().cores,
            parallel=model.parallel,
            gpu=model.gpu_layers != 0,
        )
        return Launch(
            argv=(sys.executable, "-P", "-m", WORKER, msgspec.json.encode(options).decode()),
            endpoint=Endpoint(uds=listen.socket, idle_s=IDLE_S),
            env=tuple(secrets.variables(model.environment, f"models.{model_id}.environment")),
            own_watch=True,
        )

    def can(self, model: Model, weights: Path | None, need: str) -> bool | None:
        """It translates, and nothing else."""
        return False

    def missing(self, model: Model) -> str | None:
        """The engine that is not installed."""
        if any(importlib.util.find_spec(name) is None for name in ("ctranslate2", "sentencepiece")):
            return "the translation engine is not installed; run `pip install 'rolecast[translation]'`"
        return secrets.unset(model.environment)

    def counting(self, body: bytes) -> tuple[bytes, bytes] | None:
        """The worker has a path for it, which takes the very same chat."""
        return b"/chat/completions/input_tokens", body

    def estimate(self, model: Model, weights: Path | None) -> Estimate | None:
        """By the size of the converted weights, which are held in memory as they are in the file, or smaller."""
        if weights is None or not converted.is_one(weights):
            return None
        try:
            size = weights.stat().st_size
        except OSError:
            return None
        loaded = ENGINE_BYTES + size
        work = SLOT_BYTES * model.parallel
        parts = (("engine", ENGINE_BYTES), ("weights", size), ("buffers", work))
        return Estimate(parts, Footprint(loaded), Footprint(loaded + work))

    def engine(self, model: Model) -> str:
        """The package."""
        return versions.of_package("ctranslate2")

    def explain(self, status: int, said: Failure) -> None:
        """Its worker is ours, and quotes nothing."""
        return
