"""GGUF models on llama.cpp: the built-in engine in a worker of ours, or a `llama-server` of the user's.

Plans the command and checks that the engine is there; the worker itself is `llamacpp_worker`.
"""

import ctypes
import functools
import importlib.util
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from rolecast import weights
from rolecast.backends import (
    llamacpp_bounds,
    llamacpp_defaults,
    llamacpp_errors,
    llamacpp_form,
    llamacpp_log,
    llamacpp_memory,
    llamacpp_slots,
    versions,
)
from rolecast.backends.hardware import hardware
from rolecast.backends.llamacpp_devices import devices
from rolecast.backends.llamacpp_memory import Beside
from rolecast.backends.llamacpp_options import CPU_UBATCH, GPU_UBATCH, Options, settle
from rolecast.backends.plain import Plain
from rolecast.backends.sleepers import ByTimer
from rolecast.config import paths, secrets
from rolecast.config.about import COMMAND, RUN_ELSEWHERE, About, Remark, no_media
from rolecast.config.schema import Model
from rolecast.errors import ConfigError, RolecastError, SourceError
from rolecast.footprint import Estimate
from rolecast.values import KINDS, Endpoint, Failure, Launch, Listen
from rolecast.weights import gguf

WORKER = "rolecast.backends.llamacpp_worker"
# The engine closes a connection after 100 requests or 5 s without one; we leave first.
MAX_REQUESTS = 99
IDLE_S = 4.0
SUMS_TO_ONE = ("qwen3", "qwen3vl")
"""The engine brings the scores of these architectures to the range of 0 to 1 itself."""
ENGINE_CHECKPOINTS = 32
"""What a `llama-server` keeps per slot that is not told otherwise."""
ENGINE_CACHE_MIB = 8192
"""And for prompts of idle slots: much, and nobody sees it who only counts weights."""
MAX_SLOTS = 256
"""What the built-in engine was compiled for."""


def _problems(model: Model) -> Iterator[Remark]:
    if not model.binary and model.parallel > MAX_SLOTS:
        yield "parallel", f"the built-in engine has at most {MAX_SLOTS} slots; lower it, and let requests wait in line"
    yield from no_media(model)
    if model.adapters and not llamacpp_defaults.generates(model):
        yield "adapters", "are for models that write; take them out, or list chat among the capabilities"
    if model.adapters and model.prompt_cache not in ("auto", 0, "0"):
        yield "prompt_cache", "must be 0 with adapters: what one of them has read would be used for another"
    if len(set(model.adapters)) < len(model.adapters):
        yield "adapters", "names a file twice"
    if model.enabled and llamacpp_defaults.ranks(model) and {*KINDS} & {*model.capabilities} != {"rerank"}:
        yield (
            "capabilities",
            "an engine that ranks does nothing else; list rerank alone",
        )


def _doubts(model: Model) -> Iterator[Remark]:
    if model.args and not model.binary:
        yield "args", "does nothing without binary: the built-in engine takes no arguments"
    if model.pooling and not {"embeddings", "rerank"} & set(model.capabilities):
        yield "pooling", "does nothing without the capability embeddings"
    if model.sleep and model.adapters:
        yield "sleep", "does nothing with adapters: a worker proves that it keeps them apart only when it loads"


class LlamaCpp(Plain):
    """`backend: llamacpp`."""

    about = About(
        needs={"source": "say where the weights are, such as hf:OWNER/REPO/FILE or file:PATH"},
        unused=(*RUN_ELSEWHERE, *COMMAND, "script"),
        problems=_problems,
        doubts=_doubts,
        benched=True,
    )
    named_tools = False
    stops_streams_only = True
    usage: Literal["timings"] = "timings"
    renames: Mapping[str, str] = {
        "repetition_penalty": "repeat_penalty",
        "thinking_budget": "thinking_budget_tokens",
    }
    asks_stop: Mapping[str, Any] = {"verbose": True, "response_fields": ["stopping_word"]}
    spawns = True
    several = False

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Launch:
        """The command of a worker on a socket.

        Raises ConfigError when the model has no weights, SourceError when they cannot be a model.
        """
        if weights is None:
            raise ConfigError([f"models.{model_id}.source: llamacpp needs weights; name a GGUF file"])
        options = _options(model_id, model, weights, Path(listen.socket))
        _check_adapters(model_id, options)
        endpoint = Endpoint(uds=listen.socket, max_requests=MAX_REQUESTS, idle_s=IDLE_S)
        return Launch(
            # -P: a file named like one of our modules in the current folder must not be run instead.
            argv=_server_command(model, options)
            if model.binary
            else (sys.executable, "-P", "-m", WORKER, msgspec.json.encode(options).decode()),
            endpoint=endpoint,
            env=(
                *llamacpp_defaults.environment(model, os.environ, hardware()),
                *secrets.variables(model.environment, f"models.{model_id}.environment"),
            ),
            own_watch=not model.binary,
            forkable=not model.binary,
            kept_output=llamacpp_log.kept(model_id),
        )

    def can(self, model: Model, weights: Path | None, need: str) -> bool | None:
        """What the header of the weights says: tools if its chat template writes them, images with a projector."""
        header = gguf.known(weights) if weights else None
        if need in ("tools", "thinking", "base"):
            own_template = any(arg.startswith("--chat-template") for arg in model.args)
            if header is None or own_template:
                return None
            if need == "base":
                return not header.has_chat_template
            return header.template_tools if need == "tools" else header.template_thinks
        if need == "insert":
            return None if header is None else bool(header.marks)
        projector = _projector(model, weights) if weights else None
        parts = gguf.known(projector) if projector else None
        if parts is not None and (parts.sees or parts.hears) and need in ("vision", "audio"):
            return parts.sees if need == "vision" else parts.hears
        if projector or model.binary or (header is None and need in model.capabilities):
            return None
        return False

    def marks(self, model: Model, weights: Path | None) -> tuple[str, ...]:
        """Those in the vocabulary: the engine reads them in a prompt, and cuts what it is told to surround itself."""
        header = gguf.known(weights) if weights else None
        return header.marks if header else ()

    def tells_apart(self, model: Model) -> bool:
        """The engine reads the marks that the chat template writes; other models have none."""
        return True

    def logits(self, model: Model, weights: Path | None) -> bool:
        """A ranking head gives its number as it is, but in a family whose two are brought to 1."""
        header = gguf.known(weights) if weights else None
        return header is None or header.architecture not in SUMS_TO_ONE

    def refuse(self, body: bytes) -> None:
        """For bounds of an answer's form that would take all memory."""
        llamacpp_bounds.refuse(body)

    def form(self, model: Model, fields: dict[str, Any]) -> None:
        """As `json_schema`, in which the built-in engine is held to little white space."""
        llamacpp_form.write(fields, built_in=not model.binary)

    def missing(self, model: Model) -> str | None:
        """The engine that is not installed, or the binary that cannot be run."""
        if not model.binary:
            if importlib.util.find_spec("xllamacpp") is None:
                return "the llama.cpp engine is not installed; run `pip install 'rolecast[llamacpp]'`"
            if not _has_openmp():
                return "the library libgomp is missing; run `apt-get install libgomp1` (or your system's like)"
        elif _find(model.binary) is None:
            return f"{model.binary} is not an executable file; set `binary` to the path of a llama-server"
        return secrets.unset(model.environment)

    def counting(self, body: bytes) -> tuple[bytes, bytes] | None:
        """The engine has a path for it, which takes the very same chat."""
        return b"/chat/completions/input_tokens", body

    def estimate(self, model: Model, weights: Path | None) -> Estimate | None:
        """By the headers of the weights and of what is loaded with them."""
        return _estimate(model, weights) if weights else None

    def engine(self, model: Model) -> str:
        """The package of the built-in engine, or the binary."""
        if model.binary:
            found = _find(model.binary)
            return versions.of_program(Path(found) if found else None)
        return versions.of_package("xllamacpp")

    def slot_files(self, model: Model, weights: Path | None) -> llamacpp_slots.LlamaCppSlots | None:
        """Its own, of models that only read and write text, each for itself."""
        if weights is None:
            return None
        options = _options("", model, weights, Path())
        known = gguf.known(weights)
        return llamacpp_slots.slots(model, options, known, _engine_files(model)) if options.slots else None

    def sleeper(self, model: Model) -> ByTimer | None:
        """Its timer; not with adapters, which a worker proves to be kept apart once, before it serves."""
        timer_s = llamacpp_defaults.sleep_timer_s(model)
        return ByTimer(timer_s) if timer_s else None

    def explain(self, status: int, said: Failure) -> RolecastError:
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


def _engine_files(model: Model) -> list[Path]:
    """The program or the libraries that run it."""
    if model.binary:
        return [Path(_find(model.binary) or model.binary)]
    spec = importlib.util.find_spec("xllamacpp")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    return sorted(each for each in folder.iterdir() if each.suffix in (".so", ".pyd")) if folder else []


def _find(binary: str) -> str | None:
    return shutil.which(os.path.expanduser(binary))  # noqa: PTH111 - a Path would drop a leading ./


def _options(model_id: str, model: Model, path: Path, socket: Path) -> Options:
    header = gguf.known(path)
    if header is None and path.is_file():
        gguf.read(path)  # says why; an engine may spend minutes and gigabytes before it does
    options = llamacpp_defaults.options(
        model_id,
        model,
        path,
        socket,
        header=header,
        hardware=hardware(),
        context=weights.context(model, path),
        projector=_projector(model, path),
    )
    if llamacpp_slots.carried(model, options):
        return msgspec.structs.replace(options, slots=str(paths.conversations()))
    return options


def _estimate(model: Model, path: Path) -> Estimate | None:
    """What a worker of these weights takes; None when one of their files is no usable GGUF."""
    headers = [header for part in weights.parts(path) if (header := gguf.known(part)) is not None]
    if len(headers) < len(weights.parts(path)) or headers[0].side:
        return None
    options = _options("", model, path, Path())
    if model.binary:  # what it is not told, it does its own way
        options = msgspec.structs.replace(
            options,
            ubatch=options.ubatch or GPU_UBATCH,
            mmap=options.mmap is not False,
            guess=model.speculative == "ngram",
            checkpoints=ENGINE_CHECKPOINTS if model.checkpoints is None else model.checkpoints,
            prompt_cache_mib=_engine_cache_mib(model, options),
        )
    found = devices(model)
    beside = Beside(
        adapters=sum(_tensor_bytes(Path(each)) for each in options.adapters),
        projector=_tensor_bytes(Path(options.projector)) if options.projector else 0,
    )
    large_pages = llamacpp_defaults.takes_large_pages(os.environ, hardware())
    return llamacpp_memory.estimate(
        headers, options, settle(options, gpu=found.any), found, beside, large_pages=large_pages
    )


def _engine_cache_mib(model: Model, options: Options) -> int:
    """What a `llama-server` lets its cache for prompts grow to, which it is told only where somebody wants it."""
    named = [after for flag, after in itertools.pairwise(model.args) if flag in ("--cache-ram", "-cram")]
    if named and re.fullmatch(r"\d+", named[-1]):
        return int(named[-1])
    return options.prompt_cache_mib if model.prompt_cache != "auto" or options.adapters else ENGINE_CACHE_MIB


def _tensor_bytes(path: Path) -> int:
    header = gguf.known(path)
    return header.tensor_bytes if header else 0


def _check_adapters(model_id: str, options: Options) -> None:
    """Raises SourceError for a file that is no adapter: the engine would end without a word that helps."""
    for name in options.adapters:
        path = Path(name)
        header = gguf.known(path)
        if header is None and not path.is_file():
            raise SourceError(f"models.{model_id}.adapters: {name} is not there; put it there, or take it out.")
        if header is None:
            gguf.read(path)  # says why
        elif header.kind != "adapter":
            raise SourceError(f"models.{model_id}.adapters: {name} is a GGUF, but no adapter (LoRA); take it out.")


def _projector(model: Model, path: Path) -> Path | None:
    """What lets the model see or hear; None for one that writes no text or has nothing of the kind."""
    if model.projector == "none" or not llamacpp_defaults.generates(model):
        return None
    if model.projector == "auto":
        return weights.projector(path)
    return paths.expanded(model.projector) or Path(model.projector)


def _server_command(model: Model, options: Options) -> tuple[str, ...]:
    """The user's own llama-server, with flags that versions of the last years know: it ends at any other."""
    command = [_find(model.binary) or model.binary, "--model", options.weights, "--alias", options.id]
    command += ["--host", options.socket]  # a host that ends in .sock is a unix socket
    command += ["--ctx-size", str(options.context * options.parallel), "--parallel", str(options.parallel)]
    command += ["--threads", str(options.threads)]
    if options.gpu_layers >= 0:  # by itself it offloads what fits
        command += ["--n-gpu-layers", str(options.gpu_layers)]
    command += _embedding_flags(options)
    if options.projector:
        command += ["--mmproj", options.projector]
    if options.chat_template_kwargs:
        command += ["--chat-template-kwargs", json.dumps(options.chat_template_kwargs, separators=(",", ":"))]
    for flag, value in (("--cache-type-k", options.cache_type_k), ("--cache-type-v", options.cache_type_v)):
        command += [flag, value] if value else []
    if options.flash_attn is not None:
        command += ["--flash-attn", "on" if options.flash_attn else "off"]
    command += ["--slot-prompt-similarity", f"{options.slot_similarity:g}"]
    if options.slots and Path(options.slots).is_dir():  # it would end where there is none
        command += ["--slot-save-path", options.slots]
    command += ["--sleep-idle-seconds", str(options.sleep_s)] if options.sleep_s else []
    return (*command, *_asked_flags(model, options), *model.args)


def _embedding_flags(options: Options) -> list[str]:
    if not options.embeddings:
        return []
    flags = ["--embedding", *(["--reranking"] if options.pooling == llamacpp_defaults.RANK else [])]
    flags += [*(["--pooling", options.pooling] if options.pooling else [])]
    if options.whole_inputs and options.context:
        size = str(max(options.context, options.ubatch or CPU_UBATCH))
        flags += ["--batch-size", str(max(2048, int(size))), "--ubatch-size", size]
    return flags


def _asked_flags(model: Model, options: Options) -> Iterator[str]:
    """Newer flags: only for settings that the user made, who knows what the binary can."""
    if model.ubatch and not options.whole_inputs:
        yield from ("--ubatch-size", str(model.ubatch))
    if model.mmap is False:
        yield "--no-mmap"
    if model.fit is not None:
        yield from ("--fit", "on" if model.fit else "off")
    if model.prompt_cache != "auto" or options.adapters:
        yield from ("--cache-ram", str(options.prompt_cache_mib))
    if model.checkpoints is not None:
        yield from ("--ctx-checkpoints", str(model.checkpoints))
    if model.cache_reuse:
        yield from ("--cache-reuse", str(model.cache_reuse))
    if options.adapters:
        yield "--lora-init-without-apply"
        for path in options.adapters:
            yield from ("--lora", path)
    if model.speculative == "ngram":
        yield from ("--spec-type", "ngram-map-k")
