"""A language model of random Q4_0 weights, for measuring what an engine makes of a file. What it says is noise."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gguf

WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, CONTEXT = 1536, 4608, 16, 24, 4, 8192
BLOCK, BLOCK_BYTES, SCALE = 32, 18, 0.002
WORDS = ("the", "of", "and", "to", "in", "is", "that", "it", "he", "was", "for", "on", "are", "as", "with", "his")


def parameters() -> int:
    """Weights of the model, but for its tiny vocabulary."""
    return LAYERS * WIDTH * (2 * WIDTH + 2 * WIDTH * KV_HEADS // HEADS + 3 * HIDDEN)


def write(path: Path) -> Path:
    """Writes the model, about 240 MB, and returns its path."""
    import gguf
    import numpy as np

    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(path), "llama")
    _describe(writer)
    vocabulary = _add_vocabulary(writer)

    def add(name: str, rows: int, columns: int) -> None:
        blocks = random.integers(0, 256, (rows, columns // BLOCK * BLOCK_BYTES), np.uint8)
        scale = np.frombuffer(np.float16(SCALE).tobytes(), np.uint8)
        blocks.reshape(rows, -1, BLOCK_BYTES)[:, :, :2] = scale
        writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    add("token_embd.weight", vocabulary, WIDTH)
    add("output.weight", vocabulary, WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_output"):
            add(f"blk.{layer}.{name}.weight", WIDTH, WIDTH)
        for name in ("attn_k", "attn_v"):
            add(f"blk.{layer}.{name}.weight", WIDTH * KV_HEADS // HEADS, WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            add(f"blk.{layer}.{name}.weight", HIDDEN, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: "gguf.GGUFWriter") -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def _add_vocabulary(writer: "gguf.GGUFWriter") -> int:
    from gguf import TokenType

    special = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    raw = [(f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)]
    words = [("▁", TokenType.NORMAL), *((f"▁{word}", TokenType.NORMAL) for word in WORDS)]
    tokens = [*special, *raw, *words]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    return len(tokens)
