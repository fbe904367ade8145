"""A trained folder through PyTorch, one token at a time over a cache of keys and values."""

import inspect
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from rolecast.avatars.export import parity, tokenizer
from rolecast.avatars.export.base import Base
from rolecast.avatars.inference.engine import folder_words
from rolecast.avatars.inference.pieces import Pieces
from rolecast.avatars.inference.sampling import Sampling, choose


class TorchSide:
    """See `engine.Side`. Threads take turns, a token each: PyTorch uses all of the processor for one."""

    def __init__(self, folder: Path, base: Base | None, *, threads: int = 0) -> None:
        import torch
        from transformers import LlamaForCausalLM

        if threads:
            torch.set_num_threads(threads)
        self._model, _ = parity.load(folder, base)
        lora = (folder / "adapter_config.json").exists()
        self.words = folder_words(base.hf if lora and base is not None else folder)
        self._ends = self.words.ends
        words = inspect.signature(LlamaForCausalLM.forward).parameters
        self._cache = "cache" if "cache" in words else "past_key_values"  # until transformers 5.30
        self._tokenizer = tokenizer.tokenizer(self.words)
        self.context = int(self._model.config.max_position_embeddings)
        self._turn = threading.Lock()

    def tokens(self, prompt: Sequence[int], how: Sampling, limit: int) -> Iterator[int]:
        import numpy as np
        import torch
        from transformers import DynamicCache

        chance = np.random.default_rng(how.seed)
        kept = DynamicCache(config=self._model.config)
        seen, given = list(prompt), torch.tensor([list(prompt)])
        for _ in range(limit):
            with self._turn, torch.inference_mode():
                said = self._model(input_ids=given, use_cache=True, logits_to_keep=1, **{self._cache: kept})
                logits = said.logits[0, -1].float().numpy()
            token = choose(logits, seen, how, chance)
            if token in self._ends:
                return
            yield token
            seen.append(token)
            given = torch.tensor([[token]])

    def text(self, prompt: Sequence[int], how: Sampling, limit: int) -> Iterator[str]:
        pieces = Pieces(self._tokenizer)
        for token in self.tokens(prompt, how, limit):
            if piece := pieces.add(token):
                yield piece
        if piece := pieces.end():
            yield piece

    def close(self) -> None:
        del self._model
