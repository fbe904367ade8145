"""A LoRA of peft's format: read, multiplied into its base, or written as an adapter for llama.cpp.

What a module adds to its weight W is scale * B A (Hu et al., LoRA); A is (rank, columns of W), B (rows of W, rank).
"""

import re
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.avatars.export import llama
from rolecast.avatars.export.tensors import Source, read_json, sources
from rolecast.avatars.export.writing import Precision, Tensor, reordered, write_file
from rolecast.errors import UNREADABLE, Invalid

if TYPE_CHECKING:
    from gguf import GGUFWriter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_KEY = "rolecast.base.digest"
"""In the GGUF: the base that it belongs over. Over another one it gives noise, and no engine would notice."""
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


class _Config(msgspec.Struct):
    """The part of adapter_config.json that decides what is added."""

    r: int
    lora_alpha: float
    peft_type: str = "LORA"
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    bias: str = "none"
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}


class Pair(msgspec.Struct, frozen=True):
    """What is added to one weight."""

    a: Source
    b: Source
    scale: float


class Lora(msgspec.Struct, frozen=True):
    """All that is added, by the name of the weight as transformers has it."""

    pairs: dict[str, Pair]
    rank: int

    def merged(self, name: str, weight: Source) -> Source:
        """That weight with what is added to it, in float32. Raises Invalid when they do not fit."""
        pair = self.pairs.get(name)
        if pair is None:
            return weight
        if (pair.b.shape[0], pair.a.shape[1]) != weight.shape:
            raise Invalid(f"The adapter does not fit its base ({name}); was it trained over another one?")
        return Source(weight.shape, lambda: weight.get() + pair.scale * (pair.b.get() @ pair.a.get()))


def read(folder: Path) -> Lora:
    """The LoRA of a folder. Raises Invalid for kinds that are more than B A, and for damaged files."""
    try:
        config = msgspec.convert(read_json(folder / CONFIG), _Config, strict=False)
    except UNREADABLE as error:
        raise Invalid(f"{folder / CONFIG} is not that of a LoRA ({error}).") from error
    if (
        config.peft_type != "LORA"
        or config.use_dora
        or config.fan_in_fan_out
        or config.bias != "none"
        or config.modules_to_save
    ):
        raise Invalid("Only a plain LoRA can be exported (no DoRA, no biases, no modules saved whole).")
    halves: dict[str, dict[str, Source]] = {}
    for name, source in sources(folder / WEIGHTS).items():
        if not (found := _NAME.fullmatch(name)):
            raise Invalid(f"The adapter has {name[:100]!r}, which is none of a plain LoRA; it cannot be exported.")
        halves.setdefault(f"{found[1]}.weight", {})[found[2]] = source
    pairs = {name: _pair(name, both, config) for name, both in halves.items()}
    if not pairs:
        raise Invalid(f"{folder / WEIGHTS} is empty; train again.")
    return Lora(pairs, max(pair.a.shape[0] for pair in pairs.values()))


def _pair(name: str, both: dict[str, Source], config: _Config) -> Pair:
    if set(both) != {"A", "B"} or both["A"].shape[0] != both["B"].shape[1]:
        raise Invalid(f"The adapter has only half of {name[:100]}; its file is damaged, train again.")
    llama.to_gguf(name)
    module = name.removesuffix(".weight")
    rank = both["A"].shape[0]
    alpha = _matching(config.alpha_pattern, module, config.lora_alpha)
    return Pair(both["A"], both["B"], alpha / (sqrt(rank) if config.use_rslora else rank))


def _matching(patterns: dict[str, Any], module: str, default: float) -> float:
    """As peft decides: a pattern is the end of a module's path, or a regular expression for it."""
    for pattern, value in patterns.items():
        if module == pattern or module.endswith(f".{pattern}"):
            return float(value)
    return default


def write(path: Path, lora: Lora, shape: llama.Shape, *, name: str, base: str, precise: bool = False) -> None:
    """Write an adapter for llama.cpp: float16, or float32 when `precise`; `base` = the digest of what it belongs over.

    llama.cpp multiplies B A by alpha / rank, with one alpha for all of the file: B carries what a module's own scale
    differs by.
    """
    first = next(iter(lora.pairs.values()))
    alpha = first.scale * first.a.shape[0]

    def describe(writer: "GGUFWriter") -> None:
        import gguf

        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_name(name)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        if base:
            writer.add_string(BASE_KEY, base)

    tensors = []
    for theirs, pair in lora.pairs.items():
        ours = llama.to_gguf(theirs)
        rest = pair.scale * pair.a.shape[0] / alpha
        b = reordered(pair.b if rest == 1.0 else _scaled(pair.b, rest), shape.heads_of(ours))
        precision: Precision = "f32" if precise else "f16"
        tensors += [Tensor(f"{ours}.lora_a", pair.a, precision), Tensor(f"{ours}.lora_b", b, precision)]
    write_file(path, describe, tensors)


def _scaled(source: Source, by: float) -> Source:
    return Source(source.shape, lambda: source.get() * by)
