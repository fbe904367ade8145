"""MiniLM as a teacher: reads the GGUF file and embeds texts with plain torch, on the CPU.

Only training and the benchmark use it. The gateway never does: it ships what was distilled here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from torch.nn import functional as fn

HEADS = 12
LAYERS = 6


class MiniLM:
    """all-MiniLM-L6-v2: texts in, unit vectors of 384 numbers out."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)
        self.w = {t.name: torch.tensor(np.array(t.data).astype(np.float32)) for t in reader.tensors}
        field = reader.fields["tokenizer.ggml.tokens"]
        raw = [bytes(field.parts[i]).decode() for i in field.data]
        # llama.cpp marks the start of a word; BERT marks what goes on with one.
        self.vocab = [t[1:] if t.startswith("▁") else t if _special(t) else f"##{t}" for t in raw]
        self.ids = {t: i for i, t in enumerate(self.vocab)}

    def tokenizer(self) -> Any:
        """A WordPiece tokenizer over the file's own vocabulary."""
        from tokenizers import BertWordPieceTokenizer

        made = BertWordPieceTokenizer(self.ids, lowercase=True)
        made.enable_truncation(256)
        return made

    def embed(self, texts: list[str], batch: int = 64, report: int = 0) -> np.ndarray:
        """Unit vectors, float32 (n, 384), of texts; the longest are cut at 256 tokens."""
        tokens = [e.ids for e in self.tokenizer().encode_batch(texts)]
        order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        found = np.zeros((len(texts), 384), np.float32)
        for k in range(0, len(order), batch):
            some = order[k : k + batch]
            found[some] = self.forward([tokens[i] for i in some])
            if report and k // batch % report == 0:
                print(f"{k}/{len(order)}", flush=True)
        return found

    @torch.inference_mode()
    def forward(self, tokens: list[list[int]]) -> np.ndarray:
        """Unit vectors of one batch of token ids that begin with [CLS] and end with [SEP]."""
        longest = max(map(len, tokens))
        ids = torch.zeros((len(tokens), longest), dtype=torch.long)
        mask = torch.zeros((len(tokens), longest))
        for row, each in enumerate(tokens):
            ids[row, : len(each)] = torch.tensor(each)
            mask[row, : len(each)] = 1
        w = self.w
        x = (
            w["token_embd.weight"][ids]
            + w["position_embd.weight"][:longest]
            + w["token_types.weight"].reshape(-1, 384)[0]
        )
        x = self._norm(x, "token_embd_norm")
        hide = (mask[:, None, None, :] - 1) * 1e9
        for i in range(LAYERS):
            x = self._layer(x, f"blk.{i}.", hide)
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return fn.normalize(mean, dim=1).numpy()

    def _layer(self, x: torch.Tensor, name: str, hide: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        q, k, v = (
            self._linear(x, f"{name}attn_{c}").view(n, length, HEADS, width // HEADS).transpose(1, 2) for c in "qkv"
        )
        seen = fn.scaled_dot_product_attention(q, k, v, attn_mask=hide.expand(n, HEADS, length, length))
        seen = self._linear(seen.transpose(1, 2).reshape(n, length, width), f"{name}attn_output")
        x = self._norm(x + seen, f"{name}attn_output_norm")
        wide = fn.gelu(self._linear(x, f"{name}ffn_up"))
        return self._norm(x + self._linear(wide, f"{name}ffn_down"), f"{name}layer_output_norm")

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return fn.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return fn.layer_norm(x, (384,), self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-12)


def _special(token: str) -> bool:
    return token.startswith("[") and token.endswith("]")
