"""Which workers take the same memory: the key of what was learnt about them. Pure, but for the size of a file.

A key is text that people can read: engine and version, machine, weights, quantisation, context and slots, types of the
cache. All other settings that memory depends on are a digest, because some of them may hold a secret.
"""

import hashlib
import json
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rolecast import weights as of_weights
from rolecast.config.model import Model
from rolecast.telemetry.gpus import Gpu

OTHERS = (
    "adapters",
    "args",
    "binary",
    "capabilities",
    "checkpoints",
    "command",
    "environment",
    "fit",
    "flash_attn",
    "gpu_layers",
    "mmap",
    "pooling",
    "projector",
    "prompt_cache",
    "script",
    "speculative",
    "ubatch",
)
"""Settings of a model that its memory depends on besides those in plain sight."""
DIGEST_CHARACTERS = 12
NAME_CHARACTERS = 120


def key(model: Model, engine: str, weights: str, machine: str) -> str:
    """What a worker's memory depends on. `engine` is its name with its version, `weights` as by `identity`, `machine`
    as by `this_machine`."""
    quantization = model.quantization or quantization_in(weights)
    caches = f"{model.cache_type_k or 'auto'}/{model.cache_type_v or 'auto'}"
    plain = (
        f"{model.backend} {engine}".rstrip(),
        machine,
        weights or model.source,
        quantization,
        f"{model.context}x{model.parallel}",
        f"kv {caches}",
    )
    others = {name: getattr(model, name) for name in OTHERS}
    digest = hashlib.sha256(json.dumps((plain, others), sort_keys=True).encode()).hexdigest()
    return " | ".join((*map(_printable, plain), digest[:DIGEST_CHARACTERS]))


def identity(path: Path | None) -> str:
    """Name and size of weights, of all their parts together; '' = there are none. The name alone when they are gone."""
    if path is None:
        return ""
    try:
        files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else of_weights.parts(path)
        return f"{path.name} {sum(each.stat().st_size for each in files)}"
    except OSError:
        return path.name


def this_machine(cards: Sequence[Gpu]) -> str:
    """What kind it is: a model takes its memory elsewhere where there is a GPU, and other buffers on another system."""
    names = sorted({gpu.name for gpu in cards})
    counted = (f"{sum(gpu.name == name for gpu in cards)} {name}" for name in names)
    return ", ".join((f"{sys.platform} {platform.machine()}", *counted))


def quantization_in(weights: str) -> str:
    """The quantisation that a file's name tells, such as Q4_K_M; '' = none."""
    found = re.search(r"(?i)(?<![a-z0-9])(i?q\d(?:_[a-z0-9]+)*|b?f(?:16|32)|mxfp4)(?![a-z0-9])", weights)
    return found[1].upper() if found else ""


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)[:NAME_CHARACTERS]
