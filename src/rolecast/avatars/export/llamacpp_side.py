"""A process that loads one GGUF with llama.cpp and says what it makes of texts, chats and prompts; for `parity`.

Run as `python -m rolecast.avatars.export.llamacpp_side`, with its questions as JSON on standard input; answers with one
line of JSON. Apart, because the engine may crash on a damaged file, and may hang when a second one is made.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

SOCKET = "engine.sock"


class Questions(msgspec.Struct, frozen=True):
    """What is asked. Texts are cut into tokens, chats written by the template, prompts answered greedily."""

    weights: str
    adapters: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    chats: tuple[tuple[dict[str, str], ...], ...] = ()
    prompts: tuple[tuple[int, ...], ...] = ()
    count: int = 24
    """Tokens of an answer."""
    context: int = 1024
    threads: int = 1


class Answers(msgspec.Struct, frozen=True):
    """What llama.cpp says."""

    tokens: tuple[tuple[int, ...], ...] = ()
    written: tuple[str, ...] = ()
    replies: tuple[tuple[int, ...], ...] = ()
    """With the token that ended it, where one did."""
    likelihoods: tuple[tuple[float, ...], ...] = ()
    """log p of each token of the replies; () where the engine does not tell it for all, because of tokens that are no
    whole characters."""


def parameters(weights: str, adapters: tuple[str, ...], context: int, threads: int, parallel: int = 1) -> Any:
    """The engine's parameters for one model in this process: on the CPU, nothing kept between prompts."""
    import xllamacpp as engine

    p = engine.CommonParams()
    p.model.path = weights
    p.lora_adapters = [engine.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
    p.n_ctx, p.n_parallel = context * parallel, parallel
    p.kv_unified = False
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
    p.n_gpu_layers = 0
    p.cache_ram_mib = 0  # it would take what another adapter made
    p.cache_idle_slots = False
    p.ui = False
    p.verbosity = 0
    p.warmup = False
    p.fit_params = False
    return p


def exactly(p: Any) -> Any:
    """The same, without the shortcuts by which the engine rounds: keys and values in float32, plain attention."""
    import xllamacpp as engine

    p.cache_type_k = p.cache_type_v = engine.ggml_type.GGML_TYPE_F32
    p.flash_attn_type = engine.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return p


def answer(questions: Questions, folder: Path) -> Answers:
    """Ask llama.cpp, over a socket in that folder."""
    import httpx2
    import xllamacpp

    p = exactly(parameters(questions.weights, questions.adapters, questions.context, questions.threads))
    p.hostnames = [str(folder / SOCKET)]
    server = xllamacpp.Server(p)
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(folder / SOCKET)), timeout=300) as client:

        def ask(path: str, body: dict[str, Any]) -> Any:
            response = client.post(f"http://engine{path}", json=body)
            response.raise_for_status()
            return response.json()

        special = {"add_special": True, "parse_special": True}
        tokens = tuple(tuple(ask("/tokenize", {"content": text, **special})["tokens"]) for text in questions.texts)
        written = tuple(ask("/apply-template", {"messages": list(chat)})["prompt"] for chat in questions.chats)
        greedy = {"n_predict": questions.count, "temperature": 0, "repeat_penalty": 1.0, "n_probs": 1}
        plain = {"cache_prompt": False, "ignore_eos": False, "return_tokens": True}
        said = [ask("/completion", {"prompt": list(each), **greedy, **plain}) for each in questions.prompts]
    del server
    return Answers(
        tokens,
        written,
        tuple(tuple(each["tokens"]) for each in said),
        tuple(_likelihoods(each) for each in said),
    )


def _likelihoods(said: dict[str, Any]) -> tuple[float, ...]:
    told = said.get("completion_probabilities", ())  # none of a reply that ends at once
    return tuple(each["logprob"] for each in told) if [each["id"] for each in told] == said["tokens"] else ()


def main() -> None:
    questions = msgspec.json.decode(sys.stdin.buffer.read(), type=Questions)
    out = os.dup(1)
    os.dup2(2, 1)  # the engine prints
    with tempfile.TemporaryDirectory(prefix="rolecast-") as folder:
        said = answer(questions, Path(folder))
    os.write(out, msgspec.json.encode(said) + b"\n")
    os._exit(0)  # taking the engine down in order can hang


if __name__ == "__main__":
    main()
