"""A GGUF through llama.cpp in this process."""

import queue
import secrets
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rolecast.avatars.export import llamacpp_side, tokenizer
from rolecast.avatars.inference.sampling import Sampling
from rolecast.errors import Invalid, RolecastError
from rolecast.weights import gguf as header

CONTEXT = 2048


class GgufSide:
    """See `engine.Side`. `parallel` replies are made at the same time, each in a place of its own; more wait."""

    def __init__(
        self, path: Path, adapters: Sequence[Path], *, parallel: int, context: int, threads: int, exact: bool
    ) -> None:
        import os

        import gguf
        import xllamacpp

        try:
            said = header.read(path)
        except RolecastError as error:
            raise Invalid(f"{path} cannot be used: {error.message}", param="model_path") from error
        self.words = tokenizer.of_gguf(gguf.GGUFReader(path))
        self._ends = self.words.ends  # which looks through all of them
        self.context = min(context or CONTEXT, said.context_length or CONTEXT)
        threads = threads or max(1, os.cpu_count() or 1)
        self._folder = tempfile.TemporaryDirectory(prefix="rolecast-")
        p = llamacpp_side.parameters(str(path), tuple(map(str, adapters)), self.context, threads, parallel)
        self._socket = str(Path(self._folder.name) / llamacpp_side.SOCKET)  # not a port, which others could ask
        p.hostnames = [self._socket]
        if exact:
            p = llamacpp_side.exactly(p)
        p.cache_prompt = True
        try:
            self._server = xllamacpp.Server(p)
        except RuntimeError as error:
            raise Invalid(f"llama.cpp cannot load {path}: {error}", param="model_path") from error

    def tokens(self, prompt: Sequence[int], how: Sampling, limit: int) -> Iterator[int]:
        import httpx2

        # only the engine's HTTP tells tokens, and in a stream it leaves out those that are no whole characters
        body = self._body(prompt, how, limit) | {"return_tokens": True, "stream": False}
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=self._socket), timeout=None) as client:
            response = client.post("http://engine/completion", json=body)
        if response.status_code != 200:
            raise Invalid(f"llama.cpp could not reply: {response.text[:300]}")
        for token in response.json()["tokens"]:
            if token not in self._ends:
                yield int(token)

    def text(self, prompt: Sequence[int], how: Sampling, limit: int) -> Iterator[str]:
        for chunk in self._chunks(prompt, how, limit):
            if piece := chunk["choices"][0].get("text"):
                yield piece

    def _body(self, prompt: Sequence[int], how: Sampling, limit: int) -> dict[str, Any]:
        """A request, in the words of llama.cpp."""
        chance = ["penalties", "temperature", "top_k", "top_p"]  # our order; its own has the temperature last
        return {
            "prompt": list(prompt),
            "n_predict": limit,
            "max_tokens": limit,
            "stream": True,
            "temperature": how.temperature,
            "top_k": how.top_k if how.temperature else 1,
            "top_p": how.top_p,
            "min_p": 0.0,
            "repeat_penalty": how.repetition_penalty,
            "repeat_last_n": self.context,  # all of prompt and reply
            "samplers": chance if how.temperature else ["penalties", "top_k"],
            "seed": how.seed if how.seed is not None else secrets.randbits(31),
        }

    def _chunks(self, prompt: Sequence[int], how: Sampling, limit: int) -> Iterator[Any]:
        body = self._body(prompt, how, limit)
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        ended = threading.Event()

        def hear(chunk: Any) -> bool:
            told.put(chunk)
            return ended.is_set()  # True = no more of it

        def work() -> None:
            try:
                self._server.handle_completions(body, hear)
            except Exception as error:  # it goes on in the thread that waits
                told.put(error)
            told.put(None)

        worker = threading.Thread(target=work, name="llama.cpp", daemon=True)
        worker.start()
        try:
            while (chunk := told.get()) is not None:
                if isinstance(chunk, Exception):
                    raise Invalid(f"llama.cpp could not reply: {chunk}") from chunk
                if "error" in chunk:
                    raise Invalid(f"llama.cpp could not reply: {str(chunk['error'])[:300]}")
                if chunk.get("choices"):
                    yield chunk
        finally:
            ended.set()
            worker.join()

    def close(self) -> None:
        """Its threads end with it, without waiting for their order."""
        del self._server
        self._folder.cleanup()
