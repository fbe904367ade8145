"""What the worker of the built-in engine is told, and what it settles itself once it sees its devices.

Pure, and light on purpose: it is imported at each start of a worker. Knows no file and no engine.
"""

from typing import Any

import msgspec

CPU_UBATCH = 128
"""Tokens that are computed at once on a processor: as fast as 512, with a quarter of the memory."""
GPU_UBATCH = 512
BATCH = 2048
"""Tokens that are given to the engine at a time; it computes them in pieces of `ubatch`."""


class Options(msgspec.Struct, frozen=True):
    """One worker's settings, as JSON in its argument; '' and 0 = the engine's own unless said otherwise."""

    id: str
    weights: str
    socket: str
    context: int
    """Tokens of one slot."""
    parallel: int
    threads: int
    gpu_layers: int
    """-1 = as many as fit."""
    embeddings: bool
    """Whether it gives vectors, or scores, which are made of them."""
    pooling: str
    """How an embedding is made of its tokens: mean, cls, last; rank = it scores; '' = as the weights say."""
    whole_inputs: bool
    """Whether an input must be computed in one batch, as nearly all embeddings must."""
    chat_template_kwargs: dict[str, Any]
    cache_type_k: str
    cache_type_v: str
    flash_attn: bool | None
    projector: str
    ubatch: int
    """0 = by device."""
    mmap: bool | None
    """None = by device."""
    repacked: bool
    """Whether a processor keeps most of the weights in an order of its own, beside a mapped file."""
    fit: bool | None
    """None = by device."""
    prompt_cache_mib: int
    """Memory for prompts of idle slots; 0 = none."""
    checkpoints: int
    cache_reuse: int
    slot_similarity: float
    guess: bool
    """Whether words that stand in the prompt are guessed."""
    adapters: tuple[str, ...] = ()
    """LoRA adapters that are loaded besides, without effect until a request names one."""
    slots: str = ""
    """Folder in which what a slot has read may be kept; '' = nowhere."""
    sleep_s: int = 0
    """It falls asleep after so many seconds without any task; 0 = never."""


class Settled(msgspec.Struct, frozen=True):
    """What depends on the devices that the engine sees."""

    fit: bool
    """Whether the engine tries out, before it loads, what fits. That reads header and tokenizer twice."""
    mmap: bool
    ubatch: int
    batch: int


def settle(options: Options, *, gpu: bool) -> Settled:
    """The rest of the settings, for an engine that has a GPU or none."""
    on_gpu = gpu and options.gpu_layers != 0
    ubatch = options.ubatch or (GPU_UBATCH if on_gpu else CPU_UBATCH)
    if options.whole_inputs:
        ubatch = max(ubatch, options.context or BATCH)
    return Settled(
        fit=on_gpu and options.gpu_layers < 0 if options.fit is None else options.fit,
        mmap=on_gpu or not options.repacked if options.mmap is None else options.mmap,
        ubatch=ubatch,
        batch=ubatch if options.embeddings else max(BATCH, ubatch),  # the engine wants them equal there
    )
