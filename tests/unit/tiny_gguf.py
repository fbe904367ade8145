"""Writes a llama GGUF with two layers of random weights: half a megabyte, loads at once, obeys grammars.

It knows a vocabulary of common words, printable ASCII and all bytes, and a ChatML template. What it says
has no meaning; that it says it through the real engine is the point.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = """
    the of and to in is you that it he was for on are as with his they at be this have from or one had by
    word but not what all were we when your can said there use an each which she do how their if will up
    other about out many then them these so some her would make like him into time has look two more write
    go see number no way could people my than first water been call who oil its now find long down day did
    get come made may part user assistant system hello true false null name
"""
WIDTH, HEADS, LAYERS, HIDDEN = 64, 4, 2, 128
MEAN_POOLING = 1
UINT32 = 4
FIRST_MARK = 5
"""The number of its token."""


def write(
    path: Path,
    *,
    context: int = 65536,
    seed: int = 7,
    pooled: bool = False,
    template: str = CHAT_TEMPLATE,
    marks: Sequence[str] = (),
    phrases: Sequence[str] = (),
) -> Path:
    """Writes the model to `path` and returns it; `pooled` marks it as a mean-pooled embedding model.

    `marks` are more tokens that stand for themselves, such as those around a gap to be filled; `phrases` follow them
    and are written as text: a bias of `FIRST_MARK` or a number behind it makes the model say one.
    """
    import gguf

    tokens, kinds = _vocabulary(marks, phrases)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    if pooled:
        writer.add_uint32("llama.pooling_type", MEAN_POOLING)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(
        [0.0 if kind != gguf.TokenType.NORMAL else float(len(t)) for t, kind in zip(tokens, kinds, strict=True)]
    )
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)  # a space in front of the answer would not fit a grammar
    writer.add_chat_template(template)
    _add_weights(writer, len(tokens), silent=sum(kind != gguf.TokenType.NORMAL for kind in kinds), seed=seed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def with_number(content: bytes, key: str, number: int) -> bytes:
    """The same file with another 32-bit number in its header; one that lacks the key is given it."""
    name = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", UINT32)
    at = content.find(name)
    if at >= 0:
        at += len(name)
        return content[:at] + struct.pack("<I", number) + content[at + 4 :]
    pairs = struct.unpack_from("<Q", content, 16)[0]
    return content[:16] + struct.pack("<Q", pairs + 1) + name + struct.pack("<I", number) + content[24:]


def _vocabulary(marks: Sequence[str], phrases: Sequence[str]) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", *marks, *phrases]
    kinds = [TokenType.UNKNOWN, *[TokenType.CONTROL] * (4 + len(marks)), *[TokenType.USER_DEFINED] * len(phrases)]
    raw = [f"<0x{byte:02X}>" for byte in range(256)]
    text = ["▁", *(chr(c) for c in range(33, 127)), *(f"▁{word}" for word in WORDS.split())]
    kinds += [TokenType.BYTE] * len(raw) + [TokenType.NORMAL] * len(text)
    return special + raw + text, [int(kind) for kind in kinds]


def _add_weights(writer: "gguf.GGUFWriter", vocabulary: int, *, silent: int, seed: int) -> None:  # noqa: F821
    import numpy as np

    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    head = random(vocabulary, WIDTH) * 4
    head[:silent] = 0  # no byte or end token by itself: answers are readable and end at max_tokens
    writer.add_tensor("token_embd.weight", random(vocabulary, WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", head)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", random(WIDTH, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_gate.weight", random(HIDDEN, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", random(HIDDEN, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", random(WIDTH, HIDDEN))
