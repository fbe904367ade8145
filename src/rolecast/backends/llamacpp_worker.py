"""The process that runs one GGUF model: llama.cpp's own HTTP server on a unix socket, driven from Python.

Takes its `Options` as a JSON argument. Knows the engine's parameters and how it fails; what it answers, and
every HTTP path, is llama.cpp's. Imports next to nothing of ours, because each start pays for it. Holds one model
for its whole life: the engine may hang when one server is made while another is taken down.
"""

import json
import os
import re
import signal
import socket
import sys
import time
from typing import Any

import msgspec

from rolecast.backends.llamacpp_options import Options, settle
from rolecast.processes.lifeline import end_with_gateway

NICENESS = 5
"""The gateway has to get a processor for each token while the engine keeps all of them busy."""
SPARE_CONNECTIONS = 8
"""The engine has one thread per connection; these are for health, metrics and connections that end."""
LOG_WARNINGS = 2
"""Ten lines for each request, the next level, would cost the gateway more than the request itself."""
NO_PINGS = -1
"""The server's threads would send them while the one that generates hangs, and that must show as silence."""
LOADED = b"\x00loaded\n"
FAILED = b"\x00failed\n"
ENGINE_GAVE_UP = b"exiting due to"
"""In the last line of the engine's log when it does not start."""
FLASH = {None: "AUTO", True: "ENABLED", False: "DISABLED"}


def import_all() -> None:
    """What `main` imports later than this module; see `processes/zygote.py`."""
    import xllamacpp  # noqa: F401


def may_be_copied() -> bool:
    """Whether the engine sees no GPU: what a driver of one was told does not survive a copy."""
    import xllamacpp

    return not _has_gpu(xllamacpp)


def parameters(options: Options) -> Any:
    """The engine's parameters. Raises ValueError naming a cache type it does not know."""
    import xllamacpp as engine

    p = engine.CommonParams()
    p.model.path = options.weights
    p.mmproj.path = options.projector
    p.model_alias = {options.id}
    p.hostnames = [proving(options)]
    p.n_ctx = options.context * options.parallel
    p.n_parallel = options.parallel
    p.n_threads_http = options.parallel + SPARE_CONNECTIONS
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = options.threads
    p.n_gpu_layers = options.gpu_layers
    p.embedding = options.embeddings
    if options.whole_inputs:  # with a cache for each slot, a decoder mixes inputs that are computed together
        p.kv_unified = True
    if options.pooling:
        p.pooling_type = engine.llama_pooling_type[f"LLAMA_POOLING_TYPE_{options.pooling.upper()}"]
    p.default_template_kwargs = {k: json.dumps(v) for k, v in options.chat_template_kwargs.items()}
    p.endpoint_metrics = p.endpoint_slots = True
    p.ui = False
    p.sse_ping_interval = NO_PINGS
    p.verbosity = LOG_WARNINGS
    p.sleep_idle_seconds = options.sleep_s or -1
    if options.adapters:
        p.lora_adapters = [engine.CommonAdapterLoraInfo(path, 0.0) for path in options.adapters]
        p.lora_init_without_apply = True
    _set_memory(p, options, engine)
    _set_reuse(p, options, engine)
    return p


def _set_memory(p: Any, options: Options, engine: Any) -> None:
    settled = settle(options, gpu=_has_gpu(engine))
    p.fit_params = settled.fit
    mode = "MMAP" if settled.mmap else "NONE"
    p.load_mode = engine.llama_load_mode[f"LLAMA_LOAD_MODE_{mode}"]
    p.n_batch, p.n_ubatch = settled.batch, settled.ubatch
    for field in ("cache_type_k", "cache_type_v"):
        if name := getattr(options, field):
            setattr(p, field, _cache_type(engine.ggml_type, name))
    p.flash_attn_type = engine.llama_flash_attn_type[f"LLAMA_FLASH_ATTN_TYPE_{FLASH[options.flash_attn]}"]


def _set_reuse(p: Any, options: Options, engine: Any) -> None:
    """What is kept of earlier prompts, and what is guessed of coming words."""
    p.cache_ram_mib = options.prompt_cache_mib
    p.cache_idle_slots = options.prompt_cache_mib > 0
    p.n_ctx_checkpoints = options.checkpoints
    p.n_cache_reuse = options.cache_reuse
    p.slot_prompt_similarity = options.slot_similarity
    if options.slots:
        p.slot_save_path = f"{options.slots}/"  # the engine puts a name behind it as it is
    if options.guess:
        p.speculative.types = [engine.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_MAP_K]


def _has_gpu(engine: Any) -> bool:
    kinds = engine.ggml_backend_dev_type
    gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    return any(device["type"] in gpus for device in engine.get_device_info())


def _cache_type(types: Any, name: str) -> Any:
    try:
        return types[f"GGML_TYPE_{name.upper()}"]
    except KeyError:
        raise ValueError(f"cache type {name!r} is unknown; use f16, q8_0 or q4_0") from None


def proving(options: Options) -> str:
    """Where it listens at first: beside its place while it has to prove itself, so that nobody can ask it before."""
    return f"{options.socket.removesuffix('.sock')}~.sock" if options.adapters else options.socket


class LoadReport:
    """Has a small process read what the engine prints while it loads, and say in one line why it failed.

    The engine gives its reason only on standard error, and a crash or a kill for memory leaves no other
    witness. Must be made before any thread exists.
    """

    def __init__(self, weights: str) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(writing)
            _relay(reading, weights)
            os._exit(0)
        os.setpgid(self._pid, self._pid)  # our group is killed when we end, and then it has yet to speak
        os.close(reading)
        self._previous = os.dup(2)
        os.dup2(writing, 2)
        os.close(writing)

    def loaded(self) -> None:
        """Ends the report; standard error is the old one again."""
        os.write(2, LOADED)
        self._end()

    def failed(self, reason: str) -> None:
        """Ends the report with that reason, or with the engine's own when it is empty."""
        if reason:
            os.write(2, f"0 E worker: {reason}\n".encode() + FAILED)
        else:
            self._await_last_line()
        self._end()

    def _await_last_line(self) -> None:
        # A thread of the engine writes its log; ending now would cut it off, perhaps before the reason.
        for _ in range(100):
            if os.waitpid(self._pid, os.WNOHANG)[0]:
                return
            time.sleep(0.01)

    def _end(self) -> None:
        os.dup2(self._previous, 2)
        os.close(self._previous)
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass  # already waited for


def _relay(reading: int, weights: str) -> None:
    reason = ""
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if line.endswith(LOADED):
                return
            if line.endswith(FAILED):
                break
            os.write(2, line if line.endswith(b"\n") else line + b"\n")
            if not reason and (error := re.match(rb"[\d.]+ E .*?: (.*)", line)):
                reason = error[1].decode(errors="replace")
            if ENGINE_GAVE_UP in line:
                break
    reason = reason or "the engine ended without giving a reason; is there enough memory?"
    os.write(2, f"cannot load {weights}: {reason}\n".encode())


def catch_signals() -> socket.socket:
    """A byte is there to read after the first SIGTERM or SIGINT, whichever of the engine's threads the system gives it
    to."""
    waking, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return waking


def main() -> None:
    os.umask(0o177)  # the socket is for its owner alone
    options = msgspec.json.decode(sys.argv[1], type=Options)
    report = LoadReport(options.weights)
    end_with_gateway()
    os.nice(NICENESS)
    try:
        import xllamacpp

        server = xllamacpp.Server(parameters(options))
        address = server.listening_address
        if options.adapters:
            from rolecast.backends.llamacpp_proof import prove

            prove(server.handle_completions, len(options.adapters))
            os.rename(proving(options), options.socket)  # noqa: PTH104  # pathlib costs time at each start
            address = f"unix://{options.socket}"
    except Exception as e:
        report.failed("" if isinstance(e, RuntimeError) else str(e))
        os._exit(1)
    report.loaded()
    ended = catch_signals()  # before anybody can know that it serves, and end it
    print(f"serving {options.id} at {address}", flush=True)  # noqa: T201 - the worker's log
    ended.recv(1)
    os._exit(0)  # taking the engine down in order can hang; the system frees everything


if __name__ == "__main__":
    main()
