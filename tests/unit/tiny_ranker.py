"""Writes rerankers with random weights, which load at once: a decoder with scores up to 1, an encoder with logits.

What they score has no meaning; that the real engine scores with them is the point.
"""

from pathlib import Path
from typing import Any

import tiny_gguf

WIDTH, HEADS, HIDDEN, CONTEXT = 64, 4, 128, 512
RANK_POOLING = 4


def decoder(path: Path) -> Path:
    """One layer of `qwen3` with the head of its rerankers."""
    import gguf

    writer = _begun(path, "qwen3")
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(WIDTH // HEADS)
    writer.add_value_length(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_array("qwen3.classifier.output_labels", ["yes", "no"])
    tokens, kinds = tiny_gguf._vocabulary((), ())
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    normal = gguf.TokenType.NORMAL
    writer.add_token_scores([float(len(t)) if k == normal else 0.0 for t, k in zip(tokens, kinds, strict=True)])
    writer.add_token_types(kinds)
    writer.add_vocab_size(len(tokens))
    shapes = {"token_embd": (len(tokens), WIDTH), "output": (len(tokens), WIDTH), "cls.output": (2, WIDTH)}
    shapes |= {f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate": (HIDDEN, WIDTH), "blk.0.ffn_up": (HIDDEN, WIDTH), "blk.0.ffn_down": (WIDTH, HIDDEN)}
    norms = {"output_norm": WIDTH, "blk.0.attn_norm": WIDTH, "blk.0.ffn_norm": WIDTH}
    norms |= {"blk.0.attn_q_norm": WIDTH // HEADS, "blk.0.attn_k_norm": WIDTH // HEADS}
    return _written(path, writer, shapes, norms, biased=())


def encoder(path: Path) -> Path:
    """One layer of `bert` with a ranking head."""
    writer = _begun(path, "bert")
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    writer.add_token_type_count(2)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"▁{word}" for word in tiny_gguf.WORDS.split())]
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 2, 3, 3] + [1] * (len(tokens) - 4))
    writer.add_vocab_size(len(tokens))
    for name, number in (("cls", 2), ("seperator", 3), ("padding", 0), ("unknown", 1), ("bos", 2), ("eos", 3)):
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    shapes = {"token_embd": (len(tokens), WIDTH), "position_embd": (CONTEXT, WIDTH), "token_types": (2, WIDTH)}
    layers = {f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    layers |= {"blk.0.ffn_up": (HIDDEN, WIDTH), "blk.0.ffn_down": (WIDTH, HIDDEN)}
    layers |= {"cls": (WIDTH, WIDTH), "cls.output": (1, WIDTH)}
    norms = dict.fromkeys(("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"), WIDTH)
    return _written(path, writer, shapes | layers, norms, biased=(*layers, *norms))


def _begun(path: Path, architecture: str) -> Any:
    import gguf

    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("ranker")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_uint32(f"{architecture}.pooling_type", RANK_POOLING)
    return writer


def _written(
    path: Path, writer: Any, shapes: dict[str, tuple[int, int]], norms: dict[str, int], *, biased: tuple[str, ...]
) -> Path:
    import numpy as np

    rng = np.random.default_rng(3)
    for name, shape in shapes.items():
        drawn = rng.standard_normal(shape) * (4.0 if name == "cls.output" else 1.0) / np.sqrt(shape[-1])
        writer.add_tensor(f"{name}.weight", drawn.astype(np.float32))
    for name, size in norms.items():
        writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))
    for name in biased:
        size = shapes[name][0] if name in shapes else norms[name]
        writer.add_tensor(f"{name}.bias", np.zeros(size, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
