"""What the head of a Llama sees, of the places that are learnt alone: beyond its keys and values the last layer is
computed for those, and for no others.

For processors, over the modules of transformers, whose layers `layers.replace` has made quick; causal, without padding
before a token and without a cache.
"""

from typing import Any

import torch
from torch import Tensor

from rolecast.avatars.training.attention import attention


class _Turned(torch.autograd.Function):
    """Rotary positions (Su et al.): of each pair (a, b) from the two halves of a head, (a c - b s, b c + a s)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(above, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    turned = torch.empty_like(x)
    torch.mul(a, cos, out=turned[..., :half]).addcmul_(b, sin, value=-way)
    torch.mul(b, cos, out=turned[..., half:]).addcmul_(a, sin, value=way)
    return turned


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (batch, heads, length, width); cos, sin (length, width / 2). The shape of x."""
    found: Tensor = _Turned.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return found


def attended(module: Any, hidden: Tensor, both: tuple[Tensor, Tensor]) -> Tensor:
    """A layer's attention before its last product: hidden (batch, length, width) to (batch, length, heads * width).
    `both`: cosines and sines as transformers has them, (1, length, width of a head), the second half as the first."""
    cos, sin = (each[0, :, : each.shape[-1] // 2] for each in both)
    shape = (*hidden.shape[:-1], -1, module.head_dim)
    query, key, value = (
        each(hidden).view(shape).transpose(1, 2) for each in (module.q_proj, module.k_proj, module.v_proj)
    )
    query, key = turned(query, cos, sin), turned(key, cos, sin)
    return attention(query, key, value, module.scaling).transpose(1, 2).flatten(2)


def seen(model: Any, tokens: Tensor, places: Tensor) -> Tensor:
    """Of a LlamaModel: tokens (batch, length) to (places, width); `places` count through all rows."""
    hidden = model.embed_tokens(tokens)
    both = model.rotary_emb(hidden, position_ids=torch.arange(tokens.shape[1], device=tokens.device)[None])
    *before, last = model.layers
    for layer in before:
        hidden = layer(hidden, position_embeddings=both)
    found = attended(last.self_attn, last.input_layernorm(hidden), both)
    found, hidden = (each.flatten(0, 1).index_select(0, places) for each in (found, hidden))
    hidden = hidden + last.self_attn.o_proj(found)
    hidden = hidden + last.mlp(last.post_attention_layernorm(hidden))
    norm: Tensor = model.norm(hidden)
    return norm


def replace(model: Any) -> None:
    """Let the layers of a LlamaModel attend so, whoever runs them."""
    for layer in model.layers:
        layer.self_attn.forward = _forward(layer.self_attn)


def _forward(module: Any) -> Any:
    def forward(hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any) -> tuple[Tensor, None]:
        return module.o_proj(attended(module, hidden_states, position_embeddings)), None

    return forward
