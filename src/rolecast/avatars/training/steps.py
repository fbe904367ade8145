"""The steps that a layer of a Llama is made of, in the way that suits a device.

On a processor each is one step of autograd (`layers.py`, `adapted.py`). Elsewhere, and where torch.compile joins them,
they are PyTorch's own: sums of an index come in an order that a GPU leaves to chance.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rolecast.avatars.training import adapted, attention, layers


class Steps(NamedTuple):
    """See `layers` for shapes."""

    look_up: Callable[[Tensor, Tensor], Tensor]
    linear: Callable[[Tensor, Tensor], Tensor]
    gated: Callable[[Tensor, Tensor, Tensor], Tensor]
    opened: Callable[[Tensor, Tensor], Tensor]
    normed: Callable[[Tensor, Tensor, float], Tensor]
    turned: Callable[[Tensor, Tensor, Tensor], Tensor]
    attention: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    adapted: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


def steps(where: torch.device, *, compiled: bool) -> Steps:
    """Those for a device."""
    if where.type == "cpu" and not compiled:
        return Steps(
            look_up=layers.look_up,
            linear=layers.linear,
            gated=layers.gated,
            opened=layers.opened,
            normed=layers.normed,
            turned=layers.turned,
            attention=attention.attention,
            adapted=adapted.linear,
        )
    apart: Callable[..., Tensor] = torch.compiler.disable(attention.attention)  # type: ignore[no-untyped-call]
    return Steps(
        look_up=lambda weight, tokens: functional.embedding(tokens, weight),
        linear=functional.linear,
        gated=lambda gate, up, weight: functional.linear(_opened(gate, up), weight),
        opened=_opened,
        normed=lambda x, weight, epsilon: functional.rms_norm(x, (x.shape[-1],), weight, epsilon),
        turned=_turned,
        attention=apart if where.type == "cpu" else _attention,
        adapted=adapted.linear,
    )


def _opened(gate: Tensor, up: Tensor) -> Tensor:
    return functional.silu(gate) * up


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def _attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)
