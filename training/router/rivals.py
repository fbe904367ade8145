"""What a decision costs elsewhere: a linear classifier on MiniLM's vector, and an LLM that is asked for a label.

Both run in the llama.cpp engine that the gateway uses, on one thread. Only their time is of interest here.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xllamacpp as engine
from corpus import written

ASKED = (
    "Answer with one word, the kind of this request: code, maths, translation, summary, law, story, picture, chat or "
    "question.\n\n"
)


def asker(title: str, path: Path) -> Callable[[str], object]:
    """A function that decides about one text."""
    return minilm(path) if title == "MiniLM" else llm(path)


def _server(path: Path, embedding: bool) -> engine.Server:
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
    server = _server(path, embedding=True)

    def embed(text: str) -> np.ndarray:
        short = text if len(text) <= 1200 else text[:600] + "\n" + text[-600:]
        found = server.handle_embeddings({"input": short})
        data = found if isinstance(found, dict) else json.loads(found)
        return np.array(data["data"][0]["embedding"], np.float32)

    rows = [r for r in written() if r.get("category")][::200]
    weights = np.stack([embed(r["text"]) for r in rows])
    return lambda text: int(np.argmax(weights @ embed(text)))


def llm(path: Path) -> Callable[[str], object]:
    """Asks for a word under a bound of six tokens."""
    server = _server(path, embedding=False)

    def ask(text: str) -> object:
        messages = [{"role": "user", "content": ASKED + text}]
        return server.handle_chat_completions(
            {"messages": messages, "max_tokens": 6, "temperature": 0, "cache_prompt": False}
        )

    return ask
