"""Folders of safetensors on vLLM, which lives in an environment of its own: its requirements fit nobody else's.

Plans `vllm serve` with flags that its documentation has, and finds the program. How it is asked is as with a remote.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from rolecast import weights as weights_of
from rolecast.backends import versions
from rolecast.backends.mlx import OFFLINE, for_folders, require_folder, trusting
from rolecast.backends.plain import Plain
from rolecast.backends.sleepers import ByCommand
from rolecast.config import secrets
from rolecast.config.about import COMMAND, RUN_HERE, About, Remark
from rolecast.config.schema import Model
from rolecast.errors import ConfigError
from rolecast.values import MEDIA, Endpoint, Failure, Launch, Listen

PROGRAM = "vllm"
SLOTS = 16
IDLE_S = 4.0  # its server closes a connection after 5 s without a request; we leave first
PARTING_S = 5.0
"""Its own children must be told that they shall end, also when the gateway died."""
USED = ("binary", "args", "chat_template_kwargs", "environment", "sleep")
"""Settings of an engine that it heeds."""
INSTALL = "uv venv ~/vllm && uv pip install --python ~/vllm vllm"
_DIED = r"(?:torch\.(?:cuda\.)?OutOfMemoryError|MemoryError|Killed|Segmentation fault|Aborted)\b"
_STARTED = r"INFO:? .{0,40}Application startup complete\.$"
PASSED = ("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
"""Variables that tell it where the GPUs and their libraries are; none holds a secret."""
SLEEPS = (("VLLM_SERVER_DEV_MODE", "1"),)
"""Without it the server has no paths for sleep. It opens others, too, on a socket that only the gateway reaches."""


def _problems(model: Model) -> Iterator[Remark]:
    yield from for_folders(model)
    if model.enabled and (lacking := [kind for kind in MEDIA if kind in model.capabilities]):
        yield "capabilities", f"this backend does no {', '.join(lacking)}; a `command` with vllm serve can"


def _doubts(model: Model) -> Iterator[Remark]:
    if any(word.partition("=")[0] in ("--host", "--port", "--uds") for word in model.args):
        yield "args", "say where to listen, which is the fleet's to say; take --host, --port and --uds out"
    yield from trusting(model)
    if model.tools and "--tool-call-parser" not in {word.partition("=")[0] for word in model.args}:
        yield "tools", "vLLM calls tools only with --enable-auto-tool-choice and --tool-call-parser NAME in args"


class Vllm(Plain):
    """`backend: vllm`."""

    about = About(
        slots=SLOTS,
        needs={"source": "say where the model is, such as hf:Qwen/Qwen3-8B-AWQ or file:FOLDER"},
        unused=("url", "key", "stream_usage", *COMMAND, "script", *(name for name in RUN_HERE if name not in USED)),
        problems=_problems,
        doubts=_doubts,
        folders=True,
    )
    usage: Literal["inject"] = "inject"
    renames: Mapping[str, str] = {"repeat_penalty": "repetition_penalty"}
    spawns = True

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Launch:
        """The command of a server on a socket. Raises ConfigError without weights, SourceError for what is none."""
        if weights is None:
            raise ConfigError([f"models.{model_id}.source: vllm needs a folder of safetensors; name it"])
        require_folder(weights, "vllm")
        argv = [_find(model.binary) or PROGRAM, "serve", str(weights.parent), "--uds", listen.socket]
        argv += ["--served-model-name", model.remote_model or model_id, "--max-num-seqs", str(model.parallel)]
        if context := weights_of.context(model, weights):
            argv += ["--max-model-len", str(context)]
        argv += _kind(model)
        argv += ["--enable-sleep-mode"] if model.sleep else []
        passed = tuple((name, os.environ[name]) for name in PASSED if name in os.environ)
        return Launch(
            argv=(*argv, *model.args),
            endpoint=Endpoint(uds=listen.socket, idle_s=IDLE_S),
            env=(
                *OFFLINE,
                *(SLEEPS if model.sleep else ()),
                *passed,
                *secrets.variables(model.environment, f"models.{model_id}.environment"),
            ),
            parting_s=PARTING_S,
            kept_output=f"{_STARTED}|{_DIED}",
        )

    def can(self, model: Model, weights: Path | None, need: str) -> bool | None:
        """It depends on the model and its arguments, which nobody here reads."""
        return False if need == "insert" else None

    def tells_apart(self, model: Model) -> bool:
        """Only with a parser, which its arguments name."""
        return any(word.partition("=")[0] == "--reasoning-parser" for word in model.args)

    def logits(self, model: Model, weights: Path | None) -> bool:
        """Its scores go from 0 to 1."""
        return False

    def missing(self, model: Model) -> str | None:
        """The program that is not here, or the variable that is not set."""
        if _find(model.binary) is None:
            if model.binary:
                return f"{model.binary} is not an executable file; set `binary` to the path of vllm: ~/vllm/bin/vllm"
            return f"vllm is not on the PATH; run `{INSTALL}`, then set `binary` to ~/vllm/bin/vllm"
        return secrets.unset(model.environment)

    def counting(self, body: bytes) -> tuple[bytes, bytes] | None:
        """It has such a question beside its API only, with another form."""
        return None

    def estimate(self, model: Model, weights: Path | None) -> None:
        """It takes what `--gpu-memory-utilization` allows, whatever the model."""
        return

    def engine(self, model: Model) -> str:
        """The program."""
        found = _find(model.binary)
        return versions.of_program(Path(found) if found else None)

    def sleeper(self, model: Model) -> ByCommand:
        """Its server is told, on paths that it has for developers."""
        return ByCommand()

    def explain(self, status: int, said: Failure) -> None:
        """Its refusals tell numbers and names of fields."""
        return


def _kind(model: Model) -> list[str]:
    """What the model is for, where it does not write."""
    if {"chat", "completion"} & set(model.capabilities):
        return []
    return ["--runner", "pooling"] if {"embeddings", "rerank"} & set(model.capabilities) else []


def _find(binary: str) -> str | None:
    """The program; of a folder that holds an environment, the one in it."""
    if not binary:
        return shutil.which(PROGRAM)
    path = os.path.expanduser(binary)  # noqa: PTH111 - a Path would drop a leading ./
    inside = Path(path) / "bin" / PROGRAM
    return shutil.which(str(inside)) if inside.is_file() else shutil.which(path)
