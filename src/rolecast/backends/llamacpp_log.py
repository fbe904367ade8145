"""What may be kept of llama.cpp's output once requests come: lines that cannot hold any of their content.

An allow-list, because the engine quotes requests in many of its warnings, line for line: any line of a request may
stand at the start of one of its own, also one that looks like the engine's. So whatever differs from line to line is
a number or one of the engine's own words, never just any word. Knows the engine's words only.
"""

import re


def _words(text: str) -> str:
    return f"(?:{'|'.join(map(re.escape, text.split()))})"


_STAMP = r"(?:\d+\.\d\d\.\d{3}\.\d{3} [EWID] )?"
_STEP = _words("launch_slot_ update_slots print_timing print_timings release operator() stop init_sampler")
_SLOT = rf"{_STAMP}slot +{_STEP}: id +\d+ \| task -?\d+ \| "
_NUMBER = r"-?\d{1,12}(?:\.\d{1,6})?"
_FILE = (
    r"(?:ggml(?:-(?:alloc|backend(?:-(?:meta|reg))?|blas|cann|cpu|cuda|hip|impl|metal(?:-(?:context|device|ops))?|musa"
    r"|opencl|opt|quants|rpc|sycl|threading|vulkan))?|gguf|llama(?:-(?:adapter|arch|batch|chat|context|cparams|grammar"
    r"|graph|hparams|impl|io|kv-cache(?:-iswa)?|memory(?:-(?:hybrid|recurrent))?|mmap|model(?:-loader|-saver)?|quant"
    r"|sampler|sampling|vocab))?|(?:unary-|binary-)?ops|quants|repack|sgemm|vec|arg|chat|common|log|sampling"
    r"|speculative|clip|mtmd(?:-(?:audio|helper|image))?|server(?:-(?:common|context|http|queue|task))?|fattn(?:-common)?"
    r"|mmq|mmvq|mmf|mmvf|convert|cpy|getrows|norm|rope|softmax)\.(?:c|cpp|cu|cuh|h|hpp|m|mm|metal)"
)
_FAILED = _words(
    "update_slots operator() decode llama_decode process_ubatch init_batch find_slot prepare batch.init encode"
    " process_sing send_error server_decode llama_encode"
)
_BACKEND = (
    r"(?:ggml_(?:aligned_malloc|gallocr_(?:reserve_n|reserve_n_impl|needs_realloc|alloc_graph)|vk_create_buffer"
    r"|backend_(?:cuda|cpu|hip|metal|musa|vk|sycl|cann|opencl)_(?:host_|split_)?buffer_type_alloc_buffer)"
    r"|alloc_tensor_range|llama_(?:decode|encode|kv_cache|init_from_model))"
)
_STD = _words(
    "bad_alloc bad_function_call bad_array_new_length exception future_error invalid_argument length_error logic_error"
    " out_of_range overflow_error range_error regex_error runtime_error system_error"
)
_LINES = (
    # a request's course, in numbers
    rf"{_SLOT}(?:processing task|new prompt, n_ctx_slot = \d+, n_keep = \d+, task\.n_tokens = \d+)$",
    rf"{_SLOT}(?:stop processing: n_tokens = \d+, truncated = \d|n_past was set to \d+)$",
    (
        rf"{_STAMP}(?:slot +{_STEP}: (?:id +\d+ \| )?task -?\d+ \| )?"
        rf"(?: *(?:prompt eval|eval|total) time = +{_NUMBER} ms / +\d+ tokens\b)"
    ),
    rf"{_STAMP}srv +{_STEP}: (?:cancel task, id_task = \d+|all slots are idle)$",
    (
        rf"{_STAMP}srv +send_error: task id = \d+, error: request \(\d+ tokens\) exceeds the available context size "
        r"\(\d+ tokens\)"
    ),
    rf"{_STAMP}srv +send_error: task id = \d+, error: input \(\d+ tokens\) is too large to process",
    # trouble of the engine itself
    (
        rf"{_STAMP}(?:srv +|slot +)?{_FAILED}: (?:failed to (?:decode|find free space in the KV cache"
        r"|find a memory slot)|decode: failed|out of memory|Invalid input batch|Compute error)"
    ),
    (
        rf"{_BACKEND}: (?:failed to allocate|out of memory"
        rf"|allocating {_NUMBER} MiB on device \d+: cudaMalloc failed: out of memory)"
    ),
    r"(?:CUDA|ROCm|HIP|MUSA|SYCL|Vulkan) error: out of memory",
    # its end: where it was, without folders, and not the text, which may show values
    rf"(?:/?[\w.+-]+/)*(?P<file>{_FILE}:\d{{1,6}}:)",
    rf"terminate called (?:without an active exception|after throwing an instance of 'std::{_STD}')",
    r"  what\(\):  (?:std::bad_alloc|std::bad_function_call|bad allocation)$",
    (
        r"(?:malloc|free|realloc|munmap_chunk)\(\): (?:invalid|corrupted|unaligned|double free)\b"
        r"|corrupted (?:size vs\. prev_size|double-linked list)"
    ),
    r"Fatal Python error: (?:Aborted|Segmentation fault|Bus error|Illegal instruction)",
    # anything else that it warns of: that there was something
    r"\d+\.\d\d\.\d{3}\.\d{3} [EW] (?:(?:srv|slot|que|res|cmn|init) )?",
)


def kept(model_id: str) -> str:
    """A regular expression of what may be kept at the start of a line, or of that what its named group holds."""
    return "|".join((rf"(?P<serving>serving {re.escape(model_id)}) at unix:///[\w./-]+\.sock$", *_LINES))
