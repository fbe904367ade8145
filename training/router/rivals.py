"""What a decision costs elsewhere: a linear classifier on MiniLM's vector, and an LLM that is asked for a label.

Both run in the llama.cpp engine that the gateway uses, on one thread. Only their cost is of interest here.
Run by the benchmark as `rivals.py TITLE GGUF` with a list of prompts as JSON on standard input.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

RIVALS = {"MiniLM": 20, "LLM": 4}
"""So many prompts each is asked about."""
FILES = {"MiniLM": "*minilm*.gguf", "LLM": "*smollm2-135m*.gguf"}
LABELS = ("code", "maths", "translation", "summary", "law", "story", "picture", "chat", "question")
ASKED = f"Answer with one word, the kind of this request: {', '.join(LABELS)}.\n\n"


def weights(title: str) -> Path | None:
    """The GGUF file of a rival: the one that is named, else one of the store of tests."""
    if named := os.environ.get(f"ROUTER_{title.upper()}"):
        return Path(named)
    store = os.environ.get("ROLECAST_TEST_STORE")
    if not store:
        return None
    return next((p for p in sorted(Path(store).rglob("*.gguf")) if fnmatch(p.name.lower(), FILES[title])), None)


def asker(title: str, path: Path) -> Callable[[str], object]:
    """A function that decides about one text."""
    return minilm(path) if title == "MiniLM" else llm(path)


def _server(path: Path, embedding: bool) -> Any:
    import xllamacpp as engine

    params = engine.CommonParams()
    params.model.path = str(path)
    params.n_parallel = 1
    params.n_ctx = 512 if embedding else 2048
    params.n_batch = params.n_ubatch = 512
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.embedding = embedding
    if embedding:
        params.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return engine.Server(params)


def minilm(path: Path) -> Callable[[str], object]:
    """Embeds a text (its head and tail, since MiniLM reads 512 tokens) and takes the nearest category."""
    from corpus import written

    server = _server(path, embedding=True)

    def embed(text: str) -> np.ndarray:
        short = text if len(text) <= 1200 else text[:600] + "\n" + text[-600:]
        found = server.handle_embeddings({"input": short})
        data = found if isinstance(found, dict) else json.loads(found)
        return np.array(data["data"][0]["embedding"], np.float32)

    rows = [r for r in written() if r.get("category")][::200]
    known = np.stack([embed(r["text"]) for r in rows])
    return lambda text: rows[int(np.argmax(known @ embed(text)))]["category"]


def llm(path: Path) -> Callable[[str], object]:
    """Asks for a word under a grammar that allows no other than the labels."""
    server = _server(path, embedding=False)
    grammar = "root ::= " + " | ".join(json.dumps(label) for label in LABELS)

    def ask(text: str) -> object:
        messages = [{"role": "user", "content": ASKED + text}]
        asked = {"messages": messages, "max_tokens": 6, "temperature": 0, "cache_prompt": False, "grammar": grammar}
        found = server.handle_chat_completions(asked)
        data = found if isinstance(found, dict) else json.loads(found)
        word = data["choices"][0]["message"]["content"].strip()
        if word not in LABELS:
            raise ValueError(f"the grammar was not kept: {word[:40]!r}")
        return word

    return ask


def main() -> None:
    """One rival over the prompts of standard input: milliseconds of each and what it keeps in memory, as JSON."""
    import psutil
    import xllamacpp  # noqa: F401 - the gateway has the engine already

    texts = json.loads(sys.stdin.read())
    before = psutil.Process().memory_info().rss
    ask = asker(sys.argv[1], Path(sys.argv[2]))
    took = []
    for text in texts:
        began = time.perf_counter()
        ask(text)
        took.append((time.perf_counter() - began) * 1e3)
    print(json.dumps({"ms": took, "mb": (psutil.Process().memory_info().rss - before) / 2**20}))


if __name__ == "__main__":
    main()
