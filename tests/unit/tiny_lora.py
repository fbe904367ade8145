"""Writes a LoRA of random weights over the model of `tiny_gguf`, as the engine reads it."""

from pathlib import Path

import gguf
import numpy as np
from tiny_gguf import LAYERS, WIDTH

RANK = 4


def write(path: Path, *, seed: int, strength: float = 2.0) -> Path:
    """Writes the adapter to `path` and returns it; another seed is another person."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_v", "attn_output"):
            tensor = f"blk.{layer}.{name}.weight"
            writer.add_tensor(f"{tensor}.lora_a", rng.standard_normal((RANK, WIDTH)).astype(np.float32) * strength / 8)
            writer.add_tensor(f"{tensor}.lora_b", rng.standard_normal((WIDTH, RANK)).astype(np.float32) * strength / 2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
