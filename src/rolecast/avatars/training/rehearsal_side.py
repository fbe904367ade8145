"""A process in which a base answers plain questions with llama.cpp; for `rehearsal`.

Run as `python -m rolecast.avatars.training.rehearsal_side GGUF COUNT THREADS`; prints a line of JSON for each answer.
Apart, because the engine may crash on a damaged file, and may hang when it is taken down.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from rolecast.avatars.training.rehearsal import Answer, questions
from rolecast.processes.lifeline import end_with_gateway

LONGEST = 96
"""Tokens of an answer."""
PARALLEL = 4
CONTEXT = 384


def _server(gguf: str, socket: Path, threads: int) -> Any:
    import xllamacpp as engine

    p = engine.CommonParams()
    p.model.path = gguf
    p.hostnames = [str(socket)]
    p.n_ctx, p.n_parallel = CONTEXT * PARALLEL, PARALLEL
    p.n_threads_http = PARALLEL + 2
    p.kv_unified = False
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
    p.cpuparams.poll = p.cpuparams_batch.poll = 0  # waiting threads take no time from others
    p.cache_ram_mib = 0
    p.cache_idle_slots = False
    p.ui = False
    p.verbosity = 0
    p.warmup = False
    p.fit_params = False
    return engine.Server(p)


def answers(gguf: str, count: int, threads: int, folder: Path) -> Iterator[Answer]:
    """What it says to the first `count` questions, the likeliest words each time, in order."""
    import httpx2

    server = _server(gguf, folder / "engine.sock", threads)
    with (
        httpx2.Client(transport=httpx2.HTTPTransport(uds=str(folder / "engine.sock")), timeout=300) as client,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):

        def ask(question: str) -> Answer:
            body = {
                "messages": [{"role": "user", "content": question}],
                "max_tokens": LONGEST,
                "temperature": 0,
                "cache_prompt": False,
            }
            response = client.post("http://engine/v1/chat/completions", json=body)
            response.raise_for_status()
            said = response.json()["choices"][0]
            return Answer(question, said["message"]["content"] or "", said["finish_reason"] == "stop")

        yield from pool.map(ask, questions()[:count])
    del server


def main() -> None:
    gguf, count, threads = sys.argv[1:]
    end_with_gateway()
    out = os.dup(1)
    os.dup2(2, 1)  # the engine prints
    with tempfile.TemporaryDirectory(prefix="rolecast-") as folder:
        for each in answers(gguf, int(count), int(threads), Path(folder)):
            os.write(out, msgspec.json.encode(each) + b"\n")
        os.close(out)
    os._exit(0)  # taking the engine down in order can hang


if __name__ == "__main__":
    main()
