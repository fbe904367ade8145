"""The process that runs one GGUF model: llama.cpp's own HTTP server on a unix socket, driven from Python.

Takes its `Options` as a JSON argument. Knows the engine's parameters and how it fails; what it answers, and
every HTTP path, is llama.cpp's. Holds one model for its whole life: the engine may hang when one server is
made while another is taken down.
"""

import json
import os
import re
import signal
import socket
import sys
from typing import Any

import msgspec

from rolecast.backends.lifeline import end_with_gateway
from rolecast.backends.llamacpp import Options

IDLE_CACHE_MIB = 256
"""Memory for prompts of idle slots; the engine's own 8 GiB would not fit next to other models."""
SPARE_CONNECTIONS = 8
"""The engine has one thread per connection; these are for health, metrics and connections that end."""
LOG_WARNINGS = 2
"""Ten lines for each request, the next level, would cost the gateway more than the request itself."""
LOADED = b"\x00loaded\n"
FLASH = {None: "AUTO", True: "ENABLED", False: "DISABLED"}


def parameters(options: Options) -> Any:
    """The engine's parameters. Raises ValueError naming a cache type it does not know."""
    import xllamacpp as engine

    p = engine.CommonParams()
    p.model.path = options.weights
    p.model_alias = {options.id}
    p.hostnames = [options.socket]
    p.n_ctx = options.context * options.parallel
    p.n_parallel = options.parallel
    p.n_threads_http = options.parallel + SPARE_CONNECTIONS
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = options.threads
    p.n_gpu_layers = options.gpu_layers
    p.embedding = options.embeddings
    if options.embeddings and options.chat:  # a chat model's file names no pooling
        p.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    for field in ("cache_type_k", "cache_type_v"):
        if name := getattr(options, field):
            setattr(p, field, _cache_type(engine.ggml_type, name))
    p.flash_attn_type = engine.llama_flash_attn_type[f"LLAMA_FLASH_ATTN_TYPE_{FLASH[options.flash_attn]}"]
    p.default_template_kwargs = {k: json.dumps(v) for k, v in options.chat_template_kwargs.items()}
    p.endpoint_metrics = p.endpoint_slots = True
    p.ui = False
    p.cache_ram_mib = IDLE_CACHE_MIB
    p.verbosity = LOG_WARNINGS
    return p


def _cache_type(types: Any, name: str) -> Any:
    try:
        return types[f"GGML_TYPE_{name.upper()}"]
    except KeyError:
        raise ValueError(f"cache type {name!r} is unknown; use f16, q8_0 or q4_0") from None


def report_failing_load(weights: str) -> int:
    """Lets a small process read what the engine prints while it loads, and say in one line why it failed.

    The engine gives its reason only on standard error, and a crash or a kill for memory leaves no other
    witness. Must be called before any thread exists. Returns the descriptor that stands for the old output.
    """
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        _relay(reading, weights)
        os._exit(0)
    os.close(reading)
    previous = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    return previous


def _relay(reading: int, weights: str) -> None:
    reason = "the engine ended without giving a reason; is there enough memory?"
    found = False
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if line == LOADED:
                return
            os.write(2, line)
            if not found and (error := re.match(rb"[\d.]+ E .*?: (.*)", line)):
                found, reason = True, error[1].decode(errors="replace")
    os.write(2, f"cannot load {weights}: {reason}\n".encode())


def end_report(previous: int, *, loaded: bool) -> None:
    """Takes standard error back and waits until the reporting process has written its last line."""
    if loaded:
        os.write(2, LOADED)
    os.dup2(previous, 2)
    os.close(previous)
    os.wait()


def wait_for_signal() -> None:
    """Returns at the first SIGTERM or SIGINT, whichever of the engine's threads the system gives it to."""
    waking, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    waking.recv(1)


def main() -> None:
    os.umask(0o177)  # the socket is for its owner alone
    options = msgspec.json.decode(sys.argv[1], type=Options)
    previous = report_failing_load(options.weights)
    end_with_gateway()
    try:
        import xllamacpp

        server = xllamacpp.Server(parameters(options))
    except Exception as e:
        if not isinstance(e, RuntimeError):  # the engine's own says nothing that it did not print
            os.write(2, f"0.0 E {type(e).__name__}: {e}\n".encode())
        end_report(previous, loaded=False)
        os._exit(1)
    end_report(previous, loaded=True)
    print(f"serving {options.id} at {server.listening_address}", flush=True)  # noqa: T201 - the worker's log
    wait_for_signal()
    os._exit(0)  # taking the engine down in order can hang; the system frees everything


if __name__ == "__main__":
    main()
