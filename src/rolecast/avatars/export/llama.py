"""One Llama in its two writings: Hugging Face's config and tensor names, and those of GGUF. Reads and writes no file.

They differ in names and in one order: llama.cpp turns neighbouring pairs of a head in its rotary positions, Hugging
Face turns the first half of a head against the second, so the rows of the query and key matrices are reordered.
"""

import re
from typing import TYPE_CHECKING, Any, Self

import msgspec

from rolecast.errors import UNREADABLE, Invalid

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ARCHITECTURE = "llama"
_WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_BACK = {v: k for k, v in _WHOLE.items()} | {v: k for k, v in _LAYER.items()}
_THEIRS = re.compile(r"model\.layers\.(\d{1,4})\.([a-z_.]+?)\.weight")
_OURS = re.compile(r"blk\.(\d{1,4})\.([a-z_]+)\.weight")


class Shape(msgspec.Struct, frozen=True):
    """The sizes of a Llama, as both writings know them."""

    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    context: int
    theta: float
    """Base of the rotary positions."""
    epsilon: float
    tied: bool
    """Whether the embedding is also the output matrix."""

    @classmethod
    def of_config(cls, config: dict[str, Any]) -> Self:
        """From Hugging Face's config.json. Raises Invalid for what llama.cpp's `llama` cannot compute alike."""
        try:
            said = msgspec.convert(config, _Config, strict=False)
        except UNREADABLE as error:
            raise Invalid(f"config.json is not that of a Llama model ({error}); export a folder of ours.") from error
        rope = said.rope_parameters or said.rope_scaling or {}
        kind = str(rope.get("rope_type", rope.get("type", "default")))
        odd = [
            *([f"the architecture {said.model_type!r}"] if said.model_type != ARCHITECTURE else []),
            *([f"the activation {said.hidden_act!r}"] if said.hidden_act != "silu" else []),
            *([f"scaled positions ({kind})"] if kind != "default" else []),
            *(["biases"] if said.attention_bias or said.mlp_bias else []),
        ]
        if odd:
            raise Invalid(f"This model has {' and '.join(odd)}, which the export does not know; train a plain Llama.")
        return cls(
            width=said.hidden_size,
            hidden=said.intermediate_size,
            layers=said.num_hidden_layers,
            heads=said.num_attention_heads,
            kv_heads=said.num_key_value_heads or said.num_attention_heads,
            head_width=said.head_dim or said.hidden_size // said.num_attention_heads,
            vocabulary=said.vocab_size,
            context=said.max_position_embeddings,
            # transformers 5 moved it into rope_parameters; a reader that looks at the old place gets another model
            theta=float(rope.get("rope_theta") or said.rope_theta or 10000.0),
            epsilon=said.rms_norm_eps,
            tied=said.tie_word_embeddings,
        )

    def config(self) -> dict[str, Any]:
        """The arguments of transformers' LlamaConfig."""
        return {
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_width,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.context,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.theta},
            "rms_norm_eps": self.epsilon,
            "tie_word_embeddings": self.tied,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
        }

    def heads_of(self, name: str) -> int:
        """Heads by which the rows of a matrix of GGUF are reordered; 0 = they are not."""
        part = name.split(".")[2] if name.startswith("blk.") else ""
        return {"attn_q": self.heads, "attn_k": self.kv_heads}.get(part, 0)


class _Config(msgspec.Struct):
    """The part of config.json that matters here."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    model_type: str = ARCHITECTURE
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    rope_theta: float | None = None
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False


def to_gguf(name: str) -> str:
    """A tensor's name in GGUF. Raises Invalid for one that a plain Llama does not have."""
    if (found := _THEIRS.fullmatch(name)) and found[2] in _LAYER:
        return f"blk.{found[1]}.{_LAYER[found[2]]}.weight"
    if name.endswith(".weight") and (whole := _WHOLE.get(name.removesuffix(".weight"))):
        return f"{whole}.weight"
    raise Invalid(f"The tensor {name[:100]!r} is none of a plain Llama; this model cannot be exported.")


def to_hf(name: str) -> str:
    """A tensor's name in transformers. Raises Invalid for one that a plain Llama does not have."""
    if (found := _OURS.fullmatch(name)) and found[2] in _BACK:
        return f"model.layers.{found[1]}.{_BACK[found[2]]}.weight"
    if name.endswith(".weight") and (whole := _BACK.get(name.removesuffix(".weight"))):
        return f"{whole}.weight"
    raise Invalid(f"The tensor {name[:100]!r} is none of a plain Llama; nothing can be trained over this model.")


def paired(rows: "Array", heads: int) -> "Array":
    """The rows of a query or key matrix in llama.cpp's order: halves of a head become neighbours.

    `rows` is (heads * width, anything): a weight, or the B matrix of a LoRA, whose rows are those of the weight.
    """
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)


def halved(rows: "Array", heads: int) -> "Array":
    """The way back from `paired`."""
    split = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)
