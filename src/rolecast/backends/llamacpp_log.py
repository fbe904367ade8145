"""What may be kept of llama.cpp's output once requests come: lines that cannot hold any of their content.

An allow-list, because the engine quotes requests in many of its warnings. Knows the engine's words only.
"""

import re

_STAMP = r"(?:\d+\.\d\d\.\d{3}\.\d{3} [EWID] )?"
_SLOT = rf"{_STAMP}slot +[a-z_]*(?:\(\))?: id +\d+ \| task -?\d+ \| "
_NUMBER = r"-?\d+(?:\.\d+)?"
_LINES = (
    # a request's course, in numbers
    rf"{_SLOT}(?:processing task|new prompt, n_ctx_slot = \d+, n_keep = \d+, task\.n_tokens = \d+)$",
    rf"{_SLOT}(?:stop processing: n_tokens = \d+, truncated = \d|n_past was set to \d+)$",
    rf"{_STAMP}(?:slot [^|]*\| task -?\d+ \| )?(?: *(?:prompt eval|eval|total) time = +{_NUMBER} ms / +\d+ tokens\b)",
    rf"{_STAMP}srv +[a-z_]*: (?:cancel task, id_task = \d+|all slots are idle)$",
    (
        rf"{_STAMP}srv +send_error: task id = \d+, error: request \(\d+ tokens\) exceeds the available context size "
        r"\(\d+ tokens\)"
    ),
    rf"{_STAMP}srv +send_error: task id = \d+, error: input \(\d+ tokens\) is too large to process",
    # trouble of the engine itself
    (
        rf"{_STAMP}(?:srv +|slot +)?[a-z_]*: (?:failed to (?:decode|find free space in the KV cache|find a memory slot)"
        r"|decode: failed|out of memory|Invalid input batch|Compute error)"
    ),
    (
        r"(?:ggml|llama)_\w+: (?:failed to allocate|out of memory"
        rf"|allocating {_NUMBER} MiB on device \d+: cudaMalloc failed: out of memory)"
    ),
    r"(?:CUDA|ROCm|HIP|MUSA|SYCL|Vulkan) error: out of memory",
    # its end: where it was, not the text, which may show values
    r"(?:/?[\w.+-]+/)*[\w-]+\.(?:c|cc|cpp|cu|cuh|h|hpp|m|mm|metal):\d+:",
    r"terminate called (?:without an active exception|after throwing an instance of '[\w:]+')",
    r"  what\(\):  (?:std::bad_alloc|std::bad_function_call|bad allocation)$",
    r"(?:malloc|free|realloc|munmap_chunk|corrupted)[^:]{0,40}: (?:invalid|corrupted|unaligned|double free)\b",
    r"Fatal Python error: (?:Aborted|Segmentation fault|Bus error|Illegal instruction)",
    # anything else that it warns of: that there was something
    r"\d+\.\d\d\.\d{3}\.\d{3} [EW] (?:(?:srv|slot|que|res|cmn|init) )?",
)


def kept(model_id: str) -> str:
    """A regular expression of what may be kept at the start of a line."""
    return "|".join((rf"serving {re.escape(model_id)} at unix:///[\w./-]+\.sock$", *_LINES))
