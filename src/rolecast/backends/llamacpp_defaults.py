"""How llama.cpp runs best by default: every setting of a worker, from the model, its weights and the machine.

Pure: values in, `Options` out. What only the engine can see, its devices, is settled by the worker
(`llamacpp_options.settle`). The reasons are measured; `rolecast bench --engine` measures them again.
"""

from collections.abc import Mapping
from pathlib import Path

from rolecast.backends.hardware import Hardware
from rolecast.backends.llamacpp_options import Options
from rolecast.config import paths
from rolecast.config.schema import Bytes, Model
from rolecast.weights.gguf import Header

MIB = 1 << 20
CONVERSATIONS = 8
"""Conversations whose prompts are kept, at least: those that take turns on one machine."""
CACHE_SHARE = 16
"""The prompt cache may grow to one part in so many of the memory. An engine drops the oldest when it is full."""
SMALLEST_CACHE_MIB = 256
CHECKPOINTS = 4
"""Snapshots of a sliding window or a recurrent state per slot. Two to four reuse as much as the engine's 32, each
of which may take many MiB; with none such a model reads its whole prompt again on every turn."""
REPACKED_SHARE = 0.25
"""Part of the weights from which on a second copy of them costs more than sharing the mapped file saves."""
OFFLINE = (("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_DISABLE_TELEMETRY", "1"))
"""The weights are here: whatever an engine is built with, it has nothing to fetch and nothing to tell."""
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
"""What is allocated may lie in pages of 2 MiB where the system gives them on request. Of weights that are rearranged
tokens are written 10 to 20 % faster. Other C libraries do not read it."""
BITS = {"f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5, "q5_1": 6.0, "q5_0": 5.5, "q4_1": 5.0, "q4_0": 4.5}
RANK = "rank"
"""llama.cpp's name of the pooling that scores."""
LAST = 3
"""llama.cpp's number of the pooling that takes the last token."""


def options(
    model_id: str,
    model: Model,
    weights: Path,
    socket: Path,
    *,
    header: Header | None,
    hardware: Hardware,
    context: int,
    projector: Path | None = None,
) -> Options:
    """All that a worker is told. `context` is tokens of one slot; without a header the model's settings decide."""
    chosen = pooling(model, header)
    return Options(
        id=model_id,
        weights=str(weights),
        socket=str(socket),
        context=context,
        parallel=model.parallel,
        threads=model.threads or hardware.cores,
        gpu_layers=model.gpu_layers,
        embeddings=embeds(model) or ranks(model),
        pooling=chosen,
        whole_inputs=ranks(model) or (embeds(model) and not _splits(chosen, header)),
        chat_template_kwargs=model.chat_template_kwargs,
        cache_type_k=model.cache_type_k,
        cache_type_v=model.cache_type_v,
        flash_attn=model.flash_attn,
        projector=str(projector or ""),
        ubatch=model.ubatch,
        mmap=model.mmap,
        repacked=header is not None and header.repacked_bytes > REPACKED_SHARE * header.tensor_bytes,
        fit=model.fit,
        prompt_cache_mib=prompt_cache_mib(model, header, hardware, context),
        checkpoints=CHECKPOINTS if model.checkpoints is None else model.checkpoints,
        cache_reuse=model.cache_reuse,
        slot_similarity=model.slot_similarity,
        guess=guesses(model, header) and projector is None,
        adapters=tuple(str(paths.expanded(each) or each) for each in model.adapters),
        sleep_s=sleep_timer_s(model),
    )


def sleep_timer_s(model: Model) -> int:
    """The engine's timer: a little more than half of `sleep`, in whole seconds; 0 = it does not sleep.

    What it has read must be saved before, and that sets the timer back. So it is saved when half of the time is over, a
    second or two before the engine would sleep, and the timer runs out again when all of it is.
    """
    return int(model.sleep // 2) + 1 if model.sleep and not model.adapters else 0


def embeds(model: Model) -> bool:
    return "embeddings" in model.capabilities


def ranks(model: Model) -> bool:
    return "rerank" in model.capabilities


def generates(model: Model) -> bool:
    return "chat" in model.capabilities or "completion" in model.capabilities


def pooling(model: Model, header: Header | None) -> str:
    """How an embedding is made of its tokens; '' = as the weights say, or no embeddings at all.

    Decoders that were trained to embed put it into the last token, though their files do not always say so; of a
    model that also chats the mean of all tokens says more. Encoders whose file is silent were trained on the mean.
    """
    if ranks(model):
        return RANK
    if not embeds(model) or model.pooling:
        return model.pooling if embeds(model) else ""
    if header is not None and header.pooling:
        return ""
    if header is None:
        return "mean" if generates(model) else ""
    return "last" if header.causal and not generates(model) else "mean"


def _splits(chosen: str, header: Header | None) -> bool:
    """Whether the engine may read an input of an embedding piece by piece: where only the last token counts."""
    if header is None or not header.causal:
        return False
    return chosen == "last" or (not chosen and header.pooling == LAST)


def prompt_cache_mib(model: Model, header: Header | None, hardware: Hardware, context: int) -> int:
    """What the cache for prompts of idle slots may grow to: it is worth nothing when all prompts do not fit.

    With adapters there is none: the engine finds a prompt in it by its tokens alone, whoever's adapter read them, and
    would let one person's avatar go on with what another one's has read (ggml-org/llama.cpp#26207).
    """
    if model.adapters:
        return 0
    if model.prompt_cache != "auto":
        return -(-Bytes.parse(model.prompt_cache) // MIB)
    if not generates(model):
        return 0
    share = hardware.memory_bytes // CACHE_SHARE // MIB
    conversations = max(CONVERSATIONS, 2 * model.parallel)
    needed = int(_conversation_bytes(model, header, context) * conversations) // MIB if header is not None else 0
    return min(max(needed, SMALLEST_CACHE_MIB), share)


def _conversation_bytes(model: Model, header: Header, context: int) -> float:
    """What is kept of a conversation of full length: all tokens of some layers, the window of others, and snapshots."""
    keys, values = (BITS.get(name or "f16", 16.0) / 8 for name in (model.cache_type_k, model.cache_type_v))
    kept = header.layout
    tokens = kept.keys * keys + kept.values * values
    window = (kept.window_keys * keys + kept.window_values * values) * min(context, kept.window)
    checkpoints = CHECKPOINTS if model.checkpoints is None else model.checkpoints
    return tokens * context + (window + 4 * kept.states) * (1 + checkpoints)


def guesses(model: Model, header: Header | None) -> bool:
    """Whether words are guessed from the prompt: by default where a wrong guess costs next to nothing to take back."""
    if model.speculative != "auto":
        return model.speculative == "ngram"
    if header is None or header.sliding_window or not header.kv_heads or not all(header.kv_heads):
        return False
    return header.causal and generates(model) and not embeds(model)


def takes_large_pages(ours: Mapping[str, str], hardware: Hardware) -> bool:
    """Whether what an engine with these variables allocates lies in pages of 2 MiB."""
    return hardware.large_pages == "always" or (
        hardware.large_pages == "asked" and f"{HUGE_PAGES}:" in f"{_tunables(ours)}:"
    )


def _tunables(ours: Mapping[str, str]) -> str:
    given = ours.get(TUNABLES, "")
    if HUGE_PAGES.partition("=")[0] in given:
        return given
    return f"{given}:{HUGE_PAGES}" if given else HUGE_PAGES


def environment(model: Model, ours: Mapping[str, str], hardware: Hardware) -> tuple[tuple[str, str], ...]:
    """Variables of the engine's process. Those of the user win: who sets one knows OpenMP, or the C library.

    The engine's threads wait for each other by spinning. Without a limit one busy neighbour on the same cores
    makes each token ten times slower; with it a quiet machine loses nothing.
    """
    found = [*OFFLINE]
    if model.spin_count is not None and not ours.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        found.append(("GOMP_SPINCOUNT", str(model.spin_count)))
    if hardware.large_pages == "asked" and (tunables := _tunables(ours)) != ours.get(TUNABLES):
        found.append((TUNABLES, tunables))
    return tuple(found)
